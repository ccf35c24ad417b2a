"""Ctrl-C and a full disk, as they happen: real processes, real signals, a real limit; then the same command again."""

import os
import pty
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from moviebot.artefact import hash_path
from moviebot.data.schemas import Movie, write_catalogue

ROOT = Path(__file__).resolve().parents[1]


def start(arguments: list[str], limit_bytes: int | None = None) -> "subprocess.Popen[str]":
    """Start a command as a terminal would, optionally unable to write a file longer than ``limit_bytes``."""

    def prepare() -> None:
        # A shell's background job ignores Ctrl-C, and so would all it starts: this suite may itself be one.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.Popen(
        [sys.executable, "-m", "moviebot", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=prepare,
        start_new_session=True,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=240)
    return process.returncode, errors


def interrupt_when(process: "subprocess.Popen[str]", is_due: Callable[[], bool]) -> tuple[int, str]:
    deadline = time.monotonic() + 120
    while not is_due() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, f"it ended before it was interrupted: {finish(process)}"
    os.killpg(process.pid, signal.SIGINT)
    return finish(process)


def has_open(pid: int, path: Path) -> bool:
    """Say whether a process reads a file now: what it is at, whatever the machine's speed."""
    try:
        return any(Path(link).resolve() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:  # a descriptor was closed, or the process ended, while we looked
        return False


def fit_command(data: Path, base: Path, out: Path) -> list[str]:
    return [
        "fit", "--config", "configs/llm/smollm2_135m_qlora.yaml", "--config", "configs/hardware/cpu.yaml",
        "--model.init_args.base", str(base), "--data.init_args.data_dir", str(data),
        "--data.init_args.max_length", "2048", "--trainer.default_root_dir", str(out),
        "--trainer.accumulate_grad_batches", "1", "--trainer.max_epochs", "20",
        "--trainer.check_val_every_n_epoch", "10",
    ]  # fmt: skip


def read_lora(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


@pytest.mark.slow
class TestCtrlC:
    def test_fit_goes_on_to_the_same_weights(self, qa_data_dir: Path, tiny_llama: Path, tmp_path: Path) -> None:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        code, errors = finish(start(fit_command(qa_data_dir, tiny_llama, whole)))
        assert code == 0, errors
        last = cut / "checkpoints" / "last.ckpt"
        code, errors = interrupt_when(start(fit_command(qa_data_dir, tiny_llama, cut)), last.exists)
        assert code == 130, errors
        assert "Traceback" not in errors
        assert errors.strip().splitlines()[-1] == (
            "moviebot: interrupted; what was finished is kept: run the same command to go on"
        )
        code, errors = finish(start([*fit_command(qa_data_dir, tiny_llama, cut), "--ckpt_path", str(last)]))
        assert code == 0, errors
        weights, resumed = read_lora(whole / "checkpoints" / "last.ckpt"), read_lora(last)
        assert weights
        assert all(torch.equal(weights[name], resumed[name]) for name in weights)

    def test_catalogue_leaves_nothing_half_and_runs_again(self, tmp_path: Path) -> None:
        whole, cut, table = tmp_path / "whole", tmp_path / "cut", tmp_path / "movies.tsv"
        rows = [f"tt{number:07d}\tFilm {number}\t{1950 + number % 70}" for number in range(60_000)]  # seconds of work
        table.write_text("\n".join(["tconst\ttitle\tyear", *rows, ""]), encoding="utf-8")
        assert finish(start(["catalogue", "--table", str(table), "--out", str(whole)]))[0] == 0
        process = start(["catalogue", "--table", str(table), "--out", str(cut)])
        code, errors = interrupt_when(process, lambda: has_open(process.pid, table))
        assert code == 130, errors
        assert not (cut / "catalogue.parquet").exists()
        assert not list(cut.glob(".*.tmp"))
        assert finish(start(["catalogue", "--table", str(table), "--out", str(cut)]))[0] == 0
        assert hash_path(cut / "catalogue.parquet") == hash_path(whole / "catalogue.parquet")


class TestFullDisk:
    """A limit on a file's length stands in for the disk's end: the same call fails, at the same place."""

    def check(self, arguments: list[str], limit_bytes: int) -> None:
        code, errors = finish(start(arguments, limit_bytes))
        assert code == 2, errors
        assert "Traceback" not in errors
        last = errors.strip().splitlines()[-1]
        assert last.startswith("moviebot: the disk is full")
        assert "run the same command again" in last

    @pytest.mark.slow
    @pytest.mark.parametrize("stage", ["catalogue", "teach", "clean"])
    def test_a_data_stage_says_so_and_runs_again(self, stage: str, tmp_path: Path) -> None:
        chain = [
            ["catalogue", "--sample", "--out", str(tmp_path)],
            ["teach", "--limit", "200", "--out", str(tmp_path)],
            ["clean", "--out", str(tmp_path)],
        ]
        for arguments in chain:
            if arguments[0] == stage:
                kept = {path.name: hash_path(path) for path in tmp_path.iterdir()}
                self.check(arguments, 20_000)
                now = {path.name: hash_path(path) for path in tmp_path.iterdir() if not path.name.startswith(".")}
                unchanged = {name for name in kept if now.get(name) == kept[name]}
                assert unchanged >= kept.keys() - {"teacher_raw.jsonl", "rejects.jsonl", "report.json"}
                assert not list(tmp_path.glob(".*.tmp"))
                assert finish(start(arguments))[0] == 0
                return
            assert finish(start(arguments))[0] == 0

    @pytest.mark.slow
    def test_a_fit_says_so(self, qa_data_dir: Path, tiny_llama: Path, tmp_path: Path) -> None:
        self.check(fit_command(qa_data_dir, tiny_llama, tmp_path), 50_000)

    @pytest.mark.slow
    def test_a_bundle_says_so(self, movies: list[Movie], tiny_encoder: Path, tiny_llama: Path, tmp_path: Path) -> None:
        write_catalogue(tmp_path / "catalogue.parquet", movies)
        self.check(
            ["bundle", "--data", str(tmp_path), "--question_retriever", str(tiny_encoder), "--recommend_retriever",
             str(tiny_encoder), "--base", str(tiny_llama), "--out", str(tmp_path / "bundle")],
            10_000,
        )  # fmt: skip
        assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
class TestCtrlCWithModels:
    def test_bundle_is_absent_and_is_built_again(
        self, movies: list[Movie], tiny_encoder: Path, tiny_llama: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out" / "bundle"
        out.parent.mkdir()
        write_catalogue(tmp_path / "catalogue.parquet", movies)
        arguments = [
            "bundle", "--data", str(tmp_path), "--question_retriever", str(tiny_encoder), "--recommend_retriever",
            str(tiny_encoder), "--base", str(tiny_llama), "--out", str(out),
        ]  # fmt: skip
        code, errors = interrupt_when(start(arguments), lambda: any(out.parent.iterdir()))
        assert code == 130, errors
        assert list(out.parent.iterdir()) == []
        assert finish(start(arguments))[0] == 0
        assert (out / "bundle.yaml").is_file()

    def test_evaluate_leaves_no_report_and_runs_again(
        self, bundle_folder: Path, evaluation_data: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        arguments = ["evaluate", str(bundle_folder), "--data", str(evaluation_data), "--out", str(out)]
        code, errors = interrupt_when(start(arguments), (out / "answers_untuned.jsonl").exists)
        assert code == 130, errors
        assert not (out / "report.md").exists()
        code, errors = finish(start(arguments))
        assert code == 0, errors
        assert (out / "report.md").is_file()


class Terminal:
    """A process with a terminal of its own: it sees a person's keys and we see what a person would see."""

    def __init__(self, arguments: list[str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:  # the child: nothing but becoming the command
            os.chdir(ROOT)
            os.environ.update(TERM="xterm", COLUMNS="100", LINES="40", OMP_NUM_THREADS="1", PROMPT_TOOLKIT_NO_CPR="1")
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execv(sys.executable, [sys.executable, "-m", "moviebot", *arguments])
        self.seen = ""

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Read until a text is shown; what was read before counts no more."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode(errors="replace")
                except OSError:  # the process has ended
                    raise AssertionError(f"ended without {text!r}: {self.seen!r}") from None
        self.seen = self.seen.partition(text)[2]

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def finish(self) -> int:
        """Read to the end and return the exit code."""
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:  # Linux says so at the end
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.slow
def test_chat_in_a_terminal(bundle_folder: Path) -> None:
    chat = Terminal(["chat", str(bundle_folder)])
    chat.wait_for("leaves (so does Ctrl-D)")
    chat.wait_for("you>")
    chat.type("half a thought\x03")  # Ctrl-C drops the line, not the chat
    chat.wait_for("you>")
    chat.type("movies like Night Ferry\r")
    chat.wait_for("If you liked Night Ferry (1962)")
    chat.wait_for("you>")
    chat.type("who directed Winter Wheat?\r")
    chat.wait_for("you>")
    chat.type("\x04")  # Ctrl-D
    assert chat.finish() == 0
