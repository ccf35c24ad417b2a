"""doctor: what the machine can run, whether a training fits, and what makes it fit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from moviebot import doctor as module
from moviebot.cli import run
from moviebot.modules.lora import LoraSettings
from moviebot.modules.machine import GIB, Machine, describe_bf16, look_at_machine, read_host_memory
from moviebot.modules.memory_model import ModelShape, TrainingPlan
from moviebot.modules.plan_choice import choose_plan, rate_plan

CPU = Machine("cpu", "a CPU", (0, 0), (), torch.float32, 2, 8 * GIB, 6 * GIB, {"torch": "2.13.0"})
V100 = Machine(
    "cuda", "Tesla V100", (7, 0), ("sm_75", "sm_80", "sm_90"), torch.float16, 8, 16 * GIB, 15 * GIB, {"torch": "2.15.0"}
)
CONFIG = Path(__file__).resolve().parent.parent / "configs" / "llm" / "llama2_7b_qlora.yaml"


def test_the_machine_is_seen() -> None:
    machine = look_at_machine()
    assert machine.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert 0 < machine.free_bytes <= machine.total_bytes
    assert machine.find_faults() == [] or machine.device == "cuda"
    assert read_host_memory()[0] > 2**20


def test_a_gpu_without_kernels_is_a_fault() -> None:
    (fault,) = V100.find_faults()
    assert "has no kernels for Tesla V100 (sm_70; it has sm_75, sm_80, sm_90)" in fault
    assert "torch below 2.15" in fault
    assert replace(V100, architectures=("sm_70", "sm_80")).find_faults() == []
    assert replace(V100, capability=(8, 6)).find_faults() == []  # sm_80's kernels run on sm_86
    assert replace(V100, capability=(7, 5)).find_faults() == []


def test_bfloat16_is_real_or_not() -> None:
    assert "emulated" in describe_bf16(V100)
    assert describe_bf16(replace(V100, capability=(9, 0))) == "in hardware"


def test_without_a_config_it_shows_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "bfloat16" in out
    assert "GiB free of" in out


def test_a_training_that_fits_says_so(tiny_llama: Path, qa_data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--config", str(CONFIG), "--model.init_args.base", str(tiny_llama), "--data", str(qa_data_dir)]
    assert run(["doctor", *arguments, "--data.init_args.max_length=1500"]) == 0
    out = capsys.readouterr().out
    assert "the largest of the data's first epoch" in out
    assert "It fits" in out
    assert "gradient_checkpointing false" in out  # there is room to go faster


def test_a_training_that_does_not_fit_says_what_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "look_at_machine", lambda: replace(CPU, free_bytes=8 * GIB))
    arguments = ["--config", str(CONFIG), "--data", str(tmp_path), "--model.init_args.gradient_checkpointing=false"]
    assert run(["doctor", *arguments]) == 1
    captured = capsys.readouterr()
    assert "79,953,920 numbers" in captured.out
    assert "batch_size x max_length" in captured.out
    last = captured.err.strip().splitlines()[-1]
    assert "it does not fit" in last
    assert "--data.init_args.batch_size" in last
    monkeypatch.setattr(module, "look_at_machine", lambda: replace(CPU, free_bytes=2 * GIB))
    assert run(["doctor", *arguments]) == 1
    assert "nothing that doctor knows makes it fit" in capsys.readouterr().err


def test_doctor_writes_the_config_that_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "look_at_machine", lambda: replace(CPU, free_bytes=8 * GIB))
    overlay = tmp_path / "fits.yaml"
    arguments = ["--config", str(CONFIG), "--data", str(tmp_path), "--model.init_args.gradient_checkpointing=false"]
    assert run(["doctor", *arguments, "--write", str(overlay)]) == 0
    settings = yaml.safe_load(overlay.read_text(encoding="utf-8"))
    assert settings["data"]["init_args"]["batch_size"] * settings["trainer"]["accumulate_grad_batches"] == 8
    assert settings["model"]["init_args"]["quantise"] is True
    capsys.readouterr()
    assert run(["doctor", "--config", str(CONFIG), "--config", str(overlay), "--data", str(tmp_path)]) == 0
    assert "It fits" in capsys.readouterr().out
    for key in ("accelerator", "precision"):  # what the machine's overlay says stays
        assert key not in settings["trainer"]


SHAPE = ModelShape(4096, 11008, 32, 32, 32, 128, 32000, tied=False)  # Llama-2-7B
CARD = TrainingPlan(4096, 2, quantise=True, lora=LoraSettings(r=32), device="cuda")


@pytest.mark.parametrize(
    ("gib", "wanted"),
    [
        (6.0, {"gradient_checkpointing": True, "cache_dequantised": False}),
        (15.0, {"gradient_checkpointing": False, "cache_dequantised": False}),
        (80.0, {"gradient_checkpointing": False, "cache_dequantised": True}),
    ],
)
def test_the_larger_the_card_the_faster_the_way(gib: float, wanted: dict[str, bool]) -> None:
    choice = choose_plan(SHAPE, CARD, batch_size=8, accumulate=1, available=gib * GIB)
    assert choice is not None
    assert choice.peak <= gib * GIB
    assert choice.batch_size * choice.accumulate == 8
    assert choice.plan.quantise
    assert choice.plan.optimiser == "adamw"
    assert {name: getattr(choice.plan, name) for name in wanted} == wanted


def test_what_changes_the_learning_comes_last() -> None:
    dense = replace(CARD, quantise=False)
    large = choose_plan(SHAPE, dense, 8, 2, 60 * GIB)
    assert large is not None
    assert not large.plan.quantise
    assert large.batch_size * large.accumulate == 16
    small = choose_plan(SHAPE, dense, 8, 2, 10 * GIB)
    assert small is not None
    assert small.plan.quantise
    asked = rate_plan(SHAPE, dense, 8, 2, dense)
    assert "--model.init_args.quantise true" in small.flags_from(asked)
    assert choose_plan(SHAPE, CARD, 8, 1, 3 * GIB) is None


def test_bad_calls_give_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["doctor", "--data", str(tmp_path)]) == 2
    assert "give --config too" in capsys.readouterr().err
    retriever = CONFIG.parent.parent / "retriever" / "question_minilm.yaml"
    assert run(["doctor", "--config", str(retriever)]) == 2
    assert "give a config of configs/llm" in capsys.readouterr().err
