"""The demo's machinery: it skips what stands, resumes what was cut, and passes a step's failure on."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from moviebot import demo
from moviebot.artefact import hash_path
from moviebot.cli import COMMANDS, TRAINING
from moviebot.demo import FITS, Fit, find_config
from moviebot.errors import UserError


class Recorder:
    """Stands in for the processes (each is tested on its own): keeps the command lines, leaves what a fit leaves."""

    def __init__(self, code: int = 0) -> None:
        self.commands: list[list[str]] = []
        self.code = code
        self.leaves: list[Path] = []

    def __call__(self, command: Sequence[str], check: bool) -> "subprocess.CompletedProcess[str]":
        self.commands.append(list(command[3:]))
        for folder in self.leaves:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "weights").write_text("w")
        return subprocess.CompletedProcess(list(command), self.code)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(subprocess, "run", recorder)
    return recorder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in {name for fit in FITS for name in fit.reads}:
        (folder / name).write_text(name)
    return folder


class TestFit:
    FIT = Fit("llm", "llm/smollm2_135m_qlora.yaml", ("qa.jsonl",), "adapter")

    def run(self, data: Path, seed: int = 0) -> Path:
        folder = data.parent / "llm"
        demo._fit(Console(quiet=True), "title", self.FIT, data, folder, seed)
        return folder

    def test_is_skipped_while_its_inputs_stand(self, recorder: Recorder, data: Path) -> None:
        recorder.leaves = [data.parent / "llm" / "adapter"]
        self.run(data)
        self.run(data)
        assert len(recorder.commands) == 1
        (data / "qa.jsonl").write_text("other")
        self.run(data)
        assert len(recorder.commands) == 2

    def test_goes_on_from_the_last_checkpoint_of_the_same_inputs(self, recorder: Recorder, data: Path) -> None:
        with pytest.raises(UserError, match="left no"):
            self.run(data)
        checkpoint = data.parent / "llm" / "checkpoints" / "last.ckpt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_text("state")
        with pytest.raises(UserError, match="left no"):
            self.run(data)
        assert recorder.commands[1][-2:] == ["--ckpt_path", str(checkpoint)]

    def test_starts_anew_from_other_inputs(self, recorder: Recorder, data: Path) -> None:
        recorder.leaves = [data.parent / "llm" / "adapter", data.parent / "llm" / "checkpoints"]
        folder = self.run(data)
        (folder / "checkpoints" / "last.ckpt").write_text("state")
        (data / "qa.jsonl").write_text("other")
        self.run(data)
        assert "--ckpt_path" not in recorder.commands[-1]


@pytest.mark.parametrize(("code", "error"), [(130, KeyboardInterrupt), (2, SystemExit), (1, SystemExit)])
def test_a_failed_step_ends_the_demo(recorder: Recorder, tmp_path: Path, code: int, error: type) -> None:
    recorder.code = code
    with pytest.raises(error):
        demo.run_demo(tmp_path)
    assert len(recorder.commands) == 1


def test_a_killed_step_says_so(recorder: Recorder, tmp_path: Path) -> None:
    recorder.code = -9
    with pytest.raises(UserError, match="signal 9"):
        demo.run_demo(tmp_path)


def test_every_step_is_a_command_of_ours(recorder: Recorder, tmp_path: Path, data: Path) -> None:
    recorder.leaves = [tmp_path / fit.name / fit.result for fit in FITS]
    (tmp_path / "example_answers.jsonl").write_text(json.dumps({"query": "q", "answer": "a"}) + "\n")
    demo.run_demo(tmp_path)
    assert [command[0] for command in recorder.commands] == [
        "catalogue", "teach", "clean", "fit", "fit", "fit", "bundle", "evaluate", "answer",
    ]  # fmt: skip
    assert {command[0] for command in recorder.commands} <= {*COMMANDS, *TRAINING}


def test_shipped_configs_are_found() -> None:
    for fit in FITS:
        assert hash_path(find_config(fit.config))
    with pytest.raises(UserError, match="no shipped config"):
        find_config("llm/none.yaml")
