"""The folder under construction: whole or absent, resumed, never two at a time."""

import contextlib
import multiprocessing
from pathlib import Path

import pytest

from moviebot.errors import UserError
from moviebot.export.workplace import check_out, is_exported, open_workplace

MADE_FROM = {"adapter": "abc"}


def write(path: Path, text: str = "one") -> dict[str, int]:
    path.write_text(text)
    return {"length": len(text)}


def fail(path: Path) -> None:
    path.write_text("half")
    raise UserError("it diverges")


def interrupt(out: Path) -> None:
    """Make one part, and stop before the export is whole."""
    with contextlib.suppress(KeyboardInterrupt), open_workplace(out, MADE_FROM) as place:
        place.make("safetensors", write)
        raise KeyboardInterrupt


def build(out: Path, text: str = "one", made_from: dict[str, str] = MADE_FROM) -> dict[str, object]:
    with open_workplace(out, made_from) as place:
        found = place.make("safetensors", lambda path: write(path, text))
        place.write_report({"finished": True})
    return found


def test_whole_folder_takes_its_place(tmp_path: Path) -> None:
    assert build(tmp_path / "out") == {"length": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no lock, no partial folder
    assert is_exported(tmp_path / "out", MADE_FROM)
    assert not is_exported(tmp_path / "out", {"adapter": "other"})
    (tmp_path / "out/safetensors").write_text("changed")
    assert not is_exported(tmp_path / "out", MADE_FROM)


def test_failure_keeps_the_earlier_export_and_no_half_part(tmp_path: Path) -> None:
    out = tmp_path / "out"
    build(out)
    with pytest.raises(UserError, match="diverges"), open_workplace(out, {"adapter": "new"}) as place:
        place.make("safetensors", fail)
    assert (out / "safetensors").read_text() == "one"
    assert is_exported(out, MADE_FROM)
    assert [path for path in (tmp_path / ".out.partial").rglob("*") if path.is_file()] == []


def test_interrupted_export_goes_on_with_what_it_lacks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    interrupt(out)
    assert not out.exists()
    assert build(out, "other") == {"length": 3}  # the first part stood
    assert (out / "safetensors").read_text() == "one"


@pytest.mark.parametrize("damaged", [False, True])
def test_other_inputs_or_a_damaged_part_begin_anew(tmp_path: Path, damaged: bool) -> None:
    out = tmp_path / "out"
    interrupt(out)
    if damaged:
        (tmp_path / ".out.partial/safetensors").write_text("cut")
    build(out, "other", MADE_FROM if damaged else {"adapter": "new"})
    assert (out / "safetensors").read_text() == "other"


def _hold(out: Path, ready: object, done: object) -> None:
    with open_workplace(out, MADE_FROM):
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_two_exports_exclude_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "out", ready, done))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UserError, match="being written by another export"):
            build(tmp_path / "out")
    finally:
        done.set()
        other.join()
    build(tmp_path / "out")


def test_places_whose_files_would_be_lost_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        check_out(tmp_path / "file", {})
    with pytest.raises(UserError, match=r"holds files that no export wrote \(file\)"):
        check_out(tmp_path, {})
    out = tmp_path / "out"
    build(out)
    check_out(out, {"adapter": tmp_path / "adapter", "data": None})
    with pytest.raises(UserError, match=r"--adapter .*vllm is inside --out"):
        check_out(out, {"adapter": out / "vllm"})
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"no export wrote \(notes.txt\)"):
        check_out(out, {})
