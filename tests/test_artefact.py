"""Artefacts are whole or absent, and a stage is skipped just where its inputs, settings and outputs stand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moviebot.artefact import (
    hash_path,
    is_current,
    read_jsonl,
    read_report,
    write_jsonl,
    write_stage_report,
    write_whole,
)
from moviebot.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


class TestWriteWhole:
    def test_leaves_the_old_file_when_the_block_fails(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")

        def fail_midway() -> None:
            with write_whole(target) as temporary:
                temporary.write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail_midway()
        assert target.read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]

    def test_replaces_a_file_and_a_folder(self, tmp_path: Path) -> None:
        for name in ("file", "folder"):
            for content in ("one", "two"):
                with write_whole(tmp_path / name) as temporary:
                    if name == "folder":
                        temporary.mkdir()
                        (temporary / content).write_text(content)
                    else:
                        temporary.write_text(content)
        assert (tmp_path / "file").read_text() == "two"
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]

    def test_removes_what_a_killed_process_left_and_nothing_else(self, tmp_path: Path) -> None:
        program = (
            "import os, signal, sys; from pathlib import Path; from moviebot.artefact import write_whole\n"
            "with write_whole(Path(sys.argv[1])) as temporary:\n"
            "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
        )
        target = tmp_path / "a.txt"
        subprocess.run([sys.executable, "-c", program, str(target)], check=False, cwd=ROOT)
        (debris,) = tmp_path.iterdir()
        living = target.with_name(f".a.txt.{os.getppid()}.tmp")
        unrelated = [living, tmp_path / ".a.txt.notes.tmp", tmp_path / debris.name.replace("a.txt", "b.txt")]
        for path in unrelated:
            path.touch()
        with write_whole(target) as temporary:
            temporary.write_text("whole")
        assert sorted(tmp_path.iterdir()) == sorted([target, *unrelated])


class TestReadJsonl:
    def test_gives_back_what_was_written(self, tmp_path: Path) -> None:
        rows = [{"a": "é"}, {"a": "line\nbreak"}]
        write_jsonl(tmp_path / "x.jsonl", rows)
        assert read_jsonl(tmp_path / "x.jsonl") == rows

    @pytest.mark.parametrize(("line", "message"), [("{", "line 2: not JSON"), ("[1]", "line 2: a list")])
    def test_names_the_bad_line(self, tmp_path: Path, line: str, message: str) -> None:
        (tmp_path / "x.jsonl").write_text('{"a": 1}\n' + line + "\n")
        with pytest.raises(UserError, match=message):
            read_jsonl(tmp_path / "x.jsonl")

    def test_says_what_to_do_about_an_absent_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="run the stage that writes it"):
            read_jsonl(tmp_path / "none.jsonl")


class TestIsCurrent:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "in.txt").write_text("in")
        (tmp_path / "out.txt").write_text("out")
        write_stage_report(
            tmp_path,
            "stage",
            counts={"in": 1, "kept": 1, "rejected": {}},
            seconds=0.1,
            settings={"limit": 3},
            inputs=[tmp_path / "in.txt"],
            outputs=[tmp_path / "out.txt"],
            seed=0,
        )
        return tmp_path

    def current(self, folder: Path, limit: int = 3, seed: int = 0) -> bool:
        return is_current(
            folder,
            "stage",
            settings={"limit": limit},
            inputs=[folder / "in.txt"],
            outputs=[folder / "out.txt"],
            seed=seed,
        )

    def test_is_true_while_nothing_changes(self, folder: Path) -> None:
        assert self.current(folder)

    @pytest.mark.parametrize("name", ["in.txt", "out.txt"])
    def test_is_false_when_a_file_changes_or_goes(self, folder: Path, name: str) -> None:
        (folder / name).write_text("other")
        assert not self.current(folder)
        (folder / name).unlink()
        assert not self.current(folder)

    def test_is_false_for_other_settings_or_another_seed(self, folder: Path) -> None:
        assert not self.current(folder, limit=4)
        assert not self.current(folder, seed=1)

    def test_survives_a_damaged_report(self, folder: Path) -> None:
        (folder / "report.json").write_text("{")
        assert read_report(folder) == {}
        assert not self.current(folder)

    def test_keeps_the_other_stages(self, folder: Path) -> None:
        write_stage_report(folder, "next", counts={"in": 0}, seconds=0, settings={}, inputs=[], outputs=[])
        report = json.loads((folder / "report.json").read_text())
        assert set(report) == {"stage", "next"}
        assert report["stage"]["versions"]["python"]


def test_hash_of_a_folder_depends_on_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = hash_path(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    assert hash_path(tmp_path / "d") != first
