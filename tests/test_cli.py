"""The command line: exit codes, one-line complaints, help that is quick."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from moviebot import cli
from moviebot.cli import COMMANDS, Command, run
from moviebot.errors import UserError


def complain(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must fail with the person's mistake, and return its one line."""
    assert run(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


class TestMistakes:
    def test_unknown_command_lists_the_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "catalogue, describe, teach, clean" in complain(capsys, "tech")

    def test_unknown_flag_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "--sed" in complain(capsys, "clean", "--out", "x", "--sed", "3")

    def test_missing_flag_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "out" in complain(capsys, "clean")

    def test_wrong_value_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        line = complain(capsys, "teach", "--out", "x", "--teacher", "oracle")
        assert "oracle" in line
        assert "template" in line


class TestErrors:
    @pytest.fixture
    def fail_with(self, monkeypatch: pytest.MonkeyPatch) -> object:
        def install(error: BaseException) -> None:
            def call(*_: object) -> None:
                raise error

            monkeypatch.setattr(cli, "call_command", call)

        return install

    def test_user_error_is_one_line_and_2(self, fail_with: object, capsys: pytest.CaptureFixture[str]) -> None:
        fail_with(UserError("give\n  another file"))  # type: ignore[operator]
        assert complain(capsys, "clean") == "moviebot: give another file"

    def test_interrupt_is_130_and_says_how_to_go_on(
        self, fail_with: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fail_with(KeyboardInterrupt())  # type: ignore[operator]
        assert run(["clean"]) == 130
        assert "run the same command to go on" in capsys.readouterr().err

    def test_full_disk_is_one_line(self, fail_with: object, capsys: pytest.CaptureFixture[str]) -> None:
        fail_with(OSError(errno.ENOSPC, "No space left on device", "x.parquet"))  # type: ignore[operator]
        assert "the disk is full" in complain(capsys, "clean")

    def test_full_disk_behind_a_library_error_is_found(
        self, fail_with: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        error = RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        fail_with(error)  # type: ignore[operator]
        assert "the disk is full" in complain(capsys, "clean")

    @pytest.mark.parametrize("out", ["/etc/passwd", "/proc/nowhere"])
    def test_a_path_that_can_not_be_used_is_one_line(self, out: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["catalogue", "--sample", "--out", out]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert out in lines[-1]
        assert "give a path that you may use" in lines[-1]

    def test_our_own_faults_keep_their_traceback(self, fail_with: object) -> None:
        fail_with(RuntimeError("a bug"))  # type: ignore[operator]
        with pytest.raises(RuntimeError, match="a bug"):
            run(["clean"])


HEAVY = {
    "datasets", "duckdb", "httpx", "lightning", "matplotlib", "pandas", "peft", "scipy", "sentence_transformers",
    "sklearn", "tenacity", "torch", "transformers",
}  # fmt: skip


def find_imported(code: str) -> set[str]:
    """Return the top-level modules that a process of its own has imported when it has run some code."""
    code += "; import sys; print('imported', *(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


class TestHelp:
    def test_overview_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run([]) == 0
        text = capsys.readouterr().out
        for name in [*COMMANDS, *cli.TRAINING]:
            assert f"  {name} " in text

    @pytest.mark.parametrize("name", sorted(COMMANDS))
    def test_every_flag_is_explained(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert "usage:" in text
        # jsonargparse ends a flag's line with its type and default alone where the docstring says nothing of it.
        bare = [line for line in text.splitlines() if line.strip().startswith("--") and line.rstrip().endswith(")")]
        assert all("help" in line or len(line.split()) > 3 for line in bare), bare

    def test_overview_imports_no_library_but_the_parsers(self) -> None:
        assert find_imported("from moviebot.cli import run; run([])") & {*HEAVY, "numpy", "pyarrow", "rich"} == set()

    # The last is what worker processes import.
    @pytest.mark.parametrize("module", ["catalogue", "teacher", "cleaning", "stats", "export", "lesson", "judging"])
    def test_a_stage_imports_heavy_libraries_only_where_it_needs_them(self, module: str) -> None:
        assert find_imported(f"import moviebot.data.{module}") & HEAVY == set()

    def test_an_import_that_is_there_is_found(self) -> None:
        imported = find_imported("import moviebot.data.imdb_tables, moviebot.data.download")
        assert imported & HEAVY == {"duckdb", "httpx", "tenacity"}


@pytest.mark.parametrize("words", [["--task", "qa,recommend"], ["--task=qa,recommend"], ["--task", "[qa,recommend]"]])
def test_lists_are_written_as_people_write_them(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def stage(task: tuple[str, ...] = ()) -> None:
        """Do a thing.

        Args:
            task: which.
        """
        seen.append(task)

    module = type(sys)("fake_stage")
    module.stage = stage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stage", module)
    cli.call_command("stage", Command("fake_stage", "stage", "do"), words)
    assert seen == [("qa", "recommend")]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fast"], (True, 1)),
        (["--fast", "--limit", "3"], (True, 3)),
        (["--fast", "false"], (False, 1)),
        (["--fast=true"], (True, 1)),
        ([], (False, 1)),
    ],
)
def test_a_bare_flag_is_true(words: list[str], expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def stage(fast: bool = False, limit: int = 1) -> None:
        """Do a thing.

        Args:
            fast: whether.
            limit: how many.
        """
        seen.append((fast, limit))

    module = type(sys)("fake_stage")
    module.stage = stage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stage", module)
    cli.call_command("stage", Command("fake_stage", "stage", "do"), words)
    assert seen == [expected]


def test_arguments_reach_the_function_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def stage(out: Path, limit: int | None = None) -> None:
        """Do a thing.

        Args:
            out: where to.
            limit: how many.
        """
        seen.extend([out, limit])

    module = type(sys)("fake_stage")
    module.stage = stage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_stage", module)
    cli.call_command("stage", Command("fake_stage", "stage", "do"), ["--out", str(tmp_path), "--limit", "3"])
    assert seen == [tmp_path, 3]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_running_out_of_memory_says_what_to_change(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr("moviebot.cli._dispatch", fail)
    assert run(["fit"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("moviebot: out of memory: halve --data.init_args.batch_size")
    assert "moviebot doctor" in line
