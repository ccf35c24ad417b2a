"""A training that is killed goes on as if nothing had happened: the same adapter, bit by bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = 200
KILLED_AFTER = 100


@pytest.mark.slow
def test_two_hundred_steps_equal_a_hundred_a_kill_and_the_rest(
    tiny_llama: Path, qa_data_dir: Path, tmp_path: Path
) -> None:
    def command(root: Path, *more: str) -> list[str]:
        return [
            sys.executable, "-m", "moviebot", "fit", "--config", "configs/llm/smollm2_135m_qlora.yaml",
            "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root), "--trainer.max_epochs", "-1",
            "--trainer.max_steps", str(STEPS), "--trainer.check_val_every_n_epoch", "100",
            "--trainer.enable_progress_bar", "false", "--trainer.logger", "false",
            "--model.init_args.base", str(tiny_llama), "--model.init_args.lora.r", "4",
            "--model.init_args.lora.dropout", "0.1", "--model.init_args.neftune_alpha", "5",
            "--data.init_args.data_dir", str(qa_data_dir), "--data.init_args.limit_train", "21",
            "--data.init_args.batch_size", "2", "--data.init_args.max_length", "1500", *more,
        ]  # fmt: skip

    environment = {**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}

    def run(root: Path, *more: str) -> None:
        done = subprocess.run(
            command(root, *more), cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]

    run(tmp_path / "whole")
    killed = tmp_path / "killed"
    last = killed / "checkpoints" / "last.ckpt"
    process = subprocess.Popen(
        command(killed), cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    step = 0
    while step < KILLED_AFTER and process.poll() is None:
        time.sleep(0.02)
        if last.is_file():
            step = int(torch.load(last, weights_only=True)["global_step"])
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # it was still at work
    step = int(torch.load(last, weights_only=True)["global_step"])
    assert KILLED_AFTER <= step < STEPS
    assert step % 11  # 21 samples, two a step: amid an epoch

    run(killed, "--ckpt_path", str(last))
    adapters = [
        (root / "adapter_last" / "adapter_model.safetensors").read_bytes() for root in (tmp_path / "whole", killed)
    ]
    assert adapters[0] == adapters[1]

    # Other settings belong to another training: nothing is overridden without a word.
    for flags, told in (
        (("--model.init_args.lr", "0.5"), "lr was 0.0015 and is 0.5"),
        (("--data.init_args.batch_size", "3"), "batch_size was 2 and is 3"),
    ):
        refused = subprocess.run(
            command(killed, "--ckpt_path", str(last), *flags), cwd=REPOSITORY, env=environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert refused.returncode == 2
        assert told in refused.stderr.strip().splitlines()[-1]
