"""Sweeps: the command W&B's agent would run really runs, and the local tool ranks and resumes."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from matplotlib.image import imread
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from moviebot.errors import UserError
from tools import sweep

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "configs/sweeps/lora.yaml"
VALUES = {
    "model.init_args.lora.r": 4,
    "model.init_args.lora.alpha": 8,
    "model.init_args.lora.dropout": 0.05,
    "model.init_args.lora.targets": "qv",
    "model.init_args.lora.use_rslora": True,
    "model.init_args.lora.use_dora": True,
    "model.init_args.lora.init": "default",
    "model.init_args.lora_plus_ratio": 4.0,
    "model.init_args.neftune_alpha": 5.0,
    "model.init_args.lr": 0.0005,
}


def tiny_settings(base: Path, data: Path, out: Path) -> list[str]:
    return [
        f"--model.init_args.base={base}",
        "--model.init_args.max_new_tokens=2",
        f"--data.init_args.data_dir={data}",
        "--data.init_args.max_length=1500",
        "--data.init_args.limit_train=8",
        "--data.init_args.limit_val=4",
        f"--trainer.default_root_dir={out}",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]


def agent_command(config: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Build a command as wandb_agent.py does, from W&B's own functions."""
    flags = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${args}": flags["args"]}
    command = create_sweep_command(list(config["command"]))
    return [part for piece in command for part in macros.get(piece, [piece])]


def test_agents_command_runs(
    tiny_llama: Path, qa_data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sweep.read_sweep(FILE)
    assert set(config["parameters"]) == set(VALUES)
    command = agent_command(config, VALUES)
    assert command == sweep.build_command(config, VALUES, [])
    # Only the sizes are made small: before the sampled flags, which come last and win.
    first = command.index("--model.init_args.lora.r=4")
    command[first:first] = tiny_settings(tiny_llama, qa_data_dir, tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "run1")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run1/adapter/adapter_config.json").is_file()
    adapter = json.loads((tmp_path / "run1/adapter/adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (4, 8, 0.05)
    assert sorted(adapter["target_modules"]) == ["q_proj", "v_proj"]
    saved = yaml.safe_load((tmp_path / "run1/config.yaml").read_text())
    settings = saved["model"]["init_args"]
    assert (settings["lr"], settings["lora_plus_ratio"], settings["neftune_alpha"]) == (0.0005, 4.0, 5.0)
    assert (adapter["use_rslora"], adapter["use_dora"]) == (True, True)
    losses = sweep.read_metric(tmp_path / "run1/metrics.jsonl", config["metric"]["name"])
    assert len(losses) == 2  # 8 samples, a validation every 4 steps


# A program in the training's place: it logs the metric as often as it is told, slowly where it is told.
PROGRAM = """\
import json, os, pathlib, signal, sys, time
values = dict(arg.lstrip('-').split('=') for arg in sys.argv[1:] if '=' in arg)
folder = pathlib.Path(values['trainer.default_root_dir'], os.environ['MOVIEBOT_TRIAL'])
kind, lr = values['model.kind'], float(values['model.lr'])
(folder / 'pid').write_text(str(os.getpid()))
(folder / 'env.json').write_text(json.dumps(dict(os.environ)))
if kind == 'bad': sys.exit(1)
if kind == 'stubborn': signal.signal(signal.SIGTERM, signal.SIG_IGN)
number = int(folder.name[-3:])
slow = number > 0 and kind in ('slow', 'stubborn')
with (folder / 'metrics.jsonl').open('w') as handle:
    for step in range(4):
        loss = 9 - step + number if slow else (lr - 0.5) ** 2
        handle.write(json.dumps({'step': step, 'train/loss': 1.0}) + '\\n')
        handle.write(json.dumps({'step': step, 'val/loss': float('nan') if kind == 'nan' else loss}) + '\\n')
        handle.flush()
        if slow: time.sleep(0.5 if step < 1 else 60)
(folder / 'done').touch()
"""


@pytest.fixture
def write_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a sweep file over the program, whose trials are of these kinds."""
    monkeypatch.setattr(sweep, "POLL_S", 0.05)
    monkeypatch.setattr(sweep, "STOP_S", 0.5)

    def write(*kinds: str, name: str = "fake", **more: object) -> Path:
        script = tmp_path / "train.py"
        script.write_text(PROGRAM)
        path = tmp_path / f"{name}.yaml"
        config = {
            "parameters": {"model.lr": {"min": 0.0, "max": 1.0}, "model.kind": {"values": list(kinds)}},
            "metric": {"name": "val/loss", "goal": "minimize"},
            "command": ["${interpreter}", str(script), "${args}"],
        }
        path.write_text(yaml.safe_dump({**config, **more}))
        return path

    return write


def read_ranking(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "ranking.json").read_text())
    return rows


HYPERBAND = {"type": "hyperband", "min_iter": 2, "eta": 2}


class TestLocalSweep:
    def test_ranks_resumes_and_survives_failures(
        self, write_sweep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, out = write_sweep("good", "bad"), tmp_path / "out"
        assert sweep.main([str(file), "--trials", "4", "--out", str(out)]) == 0
        first = {row["trial"]: row for row in read_ranking(out)}
        assert sweep.main([str(file), "--trials", "7", "--out", str(out)]) == 0
        ranking = read_ranking(out)
        assert len(list(out.glob("trial_*"))) == len(ranking) == 7
        assert {row["trial"]: row for row in ranking if row["trial"] in first} == first
        assert len({row["model.lr"] for row in ranking}) == 7  # going on draws nothing a second time
        states = [row["state"] for row in ranking]
        failed = states.count("failed")
        assert 0 < failed < 7
        assert states == ["finished"] * (7 - failed) + ["failed"] * failed
        losses = [row["val/loss"] for row in ranking]
        assert losses[:-failed] == sorted(losses[:-failed])
        assert losses[-failed:] == [None] * failed
        assert f"{failed} trial(s) failed" in capsys.readouterr().out.replace("\n", " ")
        environment = json.loads((out / ranking[0]["trial"] / "env.json").read_text())
        assert environment["WANDB_MODE"] == "offline"
        assert environment["WANDB_RUN_GROUP"] == "fake"

    def test_all_failed_ends_with_1_and_a_plot(self, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert sweep.main([str(write_sweep("nan", "bad")), "--trials", "3", "--out", str(out)]) == 1
        assert [row["state"] for row in read_ranking(out)] == ["failed"] * 3
        assert all(row["val/loss"] is None for row in read_ranking(out))
        assert imread(out / "parallel.png").std() > 0.01

    @pytest.mark.parametrize("kind", ["slow", "stubborn"])
    def test_a_trial_outside_the_band_is_ended(
        self, kind: str, write_sweep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, started = tmp_path / "out", time.monotonic()
        file = write_sweep(kind, early_terminate=HYPERBAND, run_cap=3)
        assert sweep.main([str(file), "--out", str(out)]) == 0
        assert time.monotonic() - started < 50  # a trial that is left alone takes two minutes
        ranking = read_ranking(out)
        assert [row["state"] for row in ranking] == ["finished", "stopped early", "stopped early"]
        assert [row["trial"] for row in ranking] == ["trial_000", "trial_001", "trial_002"]
        assert [row["validations"] for row in ranking] == [4, 2, 2]  # at the first band
        assert [row["val/loss"] for row in ranking[1:]] == [9.0, 10.0]  # the last values they had
        assert (out / "trial_000/done").exists()
        assert not (out / "trial_001/done").exists()
        assert "stopped early" in capsys.readouterr().out

    def test_without_bands_no_trial_is_ended(self, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
        assert sweep.main([str(write_sweep("good")), "--trials", "4", "--out", str(tmp_path / "out")]) == 0
        assert {row["state"] for row in read_ranking(tmp_path / "out")} == {"finished"}

    def test_a_good_trial_passes_the_bands(self, write_sweep: Callable[..., Path], tmp_path: Path) -> None:
        file = write_sweep("good", early_terminate=HYPERBAND)
        assert sweep.main([str(file), "--trials", "6", "--out", str(tmp_path / "out")]) == 0
        ranking = read_ranking(tmp_path / "out")
        assert ranking[0]["state"] == "finished"
        assert ranking[0]["validations"] == 4

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
    def test_an_interrupted_sweep_goes_on(
        self, number: int, write_sweep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The trial that ran is tried again with its values, and counts once."""
        out = tmp_path / "out"
        command = [sys.executable, str(ROOT / "tools/sweep.py"), str(write_sweep("slow")), "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([*command, "--trials", "2"], env=environment, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not (out / "trial_001/metrics.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(number)
        if number == signal.SIGKILL:  # the trial goes on alone, and does no harm
            os.kill(int((out / "trial_001/pid").read_text()), signal.SIGKILL)
        assert process.wait(30) == (130 if number == signal.SIGTERM else -number)
        assert sweep.main([str(tmp_path / "fake.yaml"), "--trials", "1", "--out", str(out)]) == 0  # trial 0 stands
        assert [row["trial"] for row in read_ranking(out)] == ["trial_000"]
        (tmp_path / "train.py").write_text(PROGRAM.replace("number > 0", "False"))
        assert sweep.main([str(tmp_path / "fake.yaml"), "--trials", "2", "--out", str(out)]) == 0
        printed = re.findall(r"trial 2 \(2 of 2\): (\{.*?\})", capsys.readouterr().out.replace("\n", " "))
        ranking = read_ranking(out)
        assert sorted(row["trial"] for row in ranking) == ["trial_000", "trial_002"]
        study = optuna.load_study(
            study_name="fake", storage=JournalStorage(JournalFileBackend(str(out / "optuna.journal")))
        )
        assert study.trials[1].params == study.trials[2].params
        assert len(printed) == 1

    def test_another_sweep_in_the_folder_is_one_line(
        self, write_sweep: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out, file = tmp_path / "out", write_sweep("good")
        out.mkdir()
        with sweep._hold(out):
            assert sweep.main([str(file), "--trials", "1", "--out", str(out)]) == 2
        assert "another sweep runs in" in capsys.readouterr().err
        assert sweep.main([str(file), "--trials", "1", "--out", str(out)]) == 0
        write_sweep("good", "bad")
        assert sweep.main([str(file), "--trials", "2", "--out", str(out)]) == 2
        assert "of a sweep file that has changed since" in capsys.readouterr().err


class TestFile:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("parameters: {}\n", "lacks metric, command"),
            ("- a\n", "holds no mapping"),
            ("a: [\n", "is no YAML"),
            ("parameters: {lr: {min: 1e-5, max: 1}}\n%", "lr, min: 1e-5 is a string"),
            ("parameters: {lr: {values: [0.1, 1e-5]}}\n%", "lr, values: 1e-5 is a string"),
            ("parameters: {lr: {values: [0.1, null]}}\n%", "lr, values: null would be given as the text None"),
            ("parameters: {}\nmetric: {name: x}\ncommand: [fit]\n", "args} is absent"),
            ("parameters: {}\nearly_terminate: {type: median}\n%", "type 'median': only hyperband"),
            ("parameters: {}\nearly_terminate: {type: hyperband}\n%", "give min_iter, or max_iter and s"),
            ("parameters: {}\nearly_terminate: {type: hyperband, min_iter: 0}\n%", "min_iter 0: give a whole number"),
            (
                "parameters: {}\nearly_terminate: {type: hyperband, min_iter: 1, eta: 1.5, a: 1}\n%",
                "a is not known.*eta 1.5: give a whole number from 2",
            ),
        ],
    )
    def test_bad_file_is_one_line(self, tmp_path: Path, text: str, message: str) -> None:
        text = text.replace("%", "metric: {name: x}\ncommand: ['${args}']\n")
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            sweep.read_sweep(tmp_path / "s.yaml")

    def test_missing_file_exits_with_2(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert sweep.main([str(tmp_path / "no.yaml")]) == 2
        assert "is not there" in capsys.readouterr().err

    def test_unknown_distribution_is_one_line(self) -> None:
        trial = optuna.trial.FixedTrial({})
        with pytest.raises(UserError, match="the distribution 'beta' is not known"):
            sweep.sample(trial, "x", {"distribution": "beta", "min": 0.0, "max": 1.0})

    @pytest.mark.parametrize("stop", [{"min_iter": 3, "eta": 3}, {"max_iter": 27, "s": 2, "eta": 3}, {"min_iter": 3}])
    def test_bands_are_those_of_wandb(self, stop: dict[str, int]) -> None:
        """A trial that gets worse and worse is stopped at the first, never before."""
        study = optuna.create_study(pruner=sweep.build_pruner({"type": "hyperband", **stop}))
        asked = []
        for score in (1.0, 2.0):
            trial = study.ask()
            for step in range(1, 10):
                trial.report(score, step)
                asked.append((score, step, trial.should_prune()))
            study.tell(trial, score)
        stopped = [(score, step) for score, step, prune in asked if prune]
        assert stopped[0] == (2.0, 3)
        assert all(score == 2.0 for score, _ in stopped)


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"val/loss": 2.0}\n{"val/acc": 1.0}\n{"val/loss": NaN}\n{"val/lo')
    first, second = sweep.read_metric(path, "val/loss")
    assert first == 2.0
    assert math.isnan(second)
    assert sweep.read_metric(tmp_path / "absent", "val/loss") == []
