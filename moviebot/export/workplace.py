"""A folder that is built part by part beside its place, and takes it when everything is whole.

An interrupted export goes on with the parts it lacks; a failed one leaves the earlier folder as it was. Two exports to
one place exclude each other.
"""

import fcntl
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moviebot.artefact import hash_path, remove, write_whole
from moviebot.errors import UserError

REPORT_NAME = "export.json"
CARD_NAME = "README.md"
_OURS = {REPORT_NAME, CARD_NAME, "NOTICE", "safetensors", "gguf", "vllm"}
logger = logging.getLogger(__name__)


class Workplace:
    """The folder under construction.

    Attributes:
        folder: where parts are written.
        made_from: what decides the export: settings, and hashes of the inputs.
        parts: what is whole, by its path in the folder: its hash, and what was found out while it was made.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self.folder = folder
        self.made_from = dict(made_from)
        self.parts: dict[str, dict[str, Any]] = {}
        report = read_export(folder)
        if report.get("made_from") == self.made_from:
            self.parts = {name: part for name, part in report["parts"].items() if _is_whole(folder / name, part)}
        else:
            remove(folder)
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, name: str, write: Callable[[Path], Mapping[str, Any] | None]) -> dict[str, Any]:
        """Make a part, unless it is there.

        Args:
            name: its path in the folder.
            write: writes it to a temporary path, and returns what is to be reported of it. It raises where the part is
                not as it should be: nothing is kept then.

        Returns:
            What was reported.
        """
        if name in self.parts:
            logger.info("%s: stands", name)
        else:
            with write_whole(self.folder / name) as temporary:
                found = dict(write(temporary) or {})
            self.parts[name] = {**found, "sha256": hash_path(self.folder / name)}
            self.write_report()
        return {key: value for key, value in self.parts[name].items() if key != "sha256"}

    def write_report(self, extra: Mapping[str, Any] | None = None) -> None:
        """Write ``export.json``: what stands so far."""
        report = {"made_from": self.made_from, "parts": self.parts, **(extra or {})}
        with write_whole(self.folder / REPORT_NAME) as temporary:
            temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def open_workplace(out: Path, made_from: Mapping[str, Any]) -> Iterator[Workplace]:
    """Build ``out`` in a folder beside it, which takes its place when the block ends well, and is kept otherwise.

    Args:
        out: the place.
        made_from: plain values that decide what is built; a change begins anew.

    Yields:
        The folder under construction.

    Raises:
        UserError: another process is building the same place.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = out.with_name(f".{out.name}.lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it when the process ends
        except BlockingIOError as error:
            raise UserError(f"--out {out} is being written by another export: wait for it, or give another") from error
        place = Workplace(out.with_name(f".{out.name}.partial"), made_from)
        yield place
        remove(out)
        place.folder.replace(out)
        lock.unlink(missing_ok=True)


def read_export(folder: Path) -> dict[str, Any]:
    """Return a folder's ``export.json``, or an empty dict where there is none or it is damaged."""
    try:
        report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    whole = isinstance(report, dict) and isinstance(report.get("parts"), dict) and "made_from" in report
    return report if whole else {}


def is_exported(out: Path, made_from: Mapping[str, Any]) -> bool:
    """Say whether a whole export of just these inputs stands."""
    report = read_export(out)
    if report.get("made_from") != made_from or not report.get("finished"):
        return False
    return all(_is_whole(out / name, part) for name, part in report["parts"].items())


def check_out(out: Path, inputs: Mapping[str, Path | None]) -> None:
    """Refuse a place whose files would be lost.

    Args:
        out: the place.
        inputs: what is read, by its flag.

    Raises:
        UserError: it is a file, holds what no export wrote, or holds an input.
    """
    if out.is_file():
        raise UserError(f"--out {out} is a file: give a folder that is not there yet")
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(found - _OURS)
    if foreign or (found and REPORT_NAME not in found):
        shown = ", ".join((foreign or sorted(found))[:5])
        raise UserError(f"--out {out} holds files that no export wrote ({shown}): give a folder that is not there yet")
    for flag, path in inputs.items():
        if path is not None and path.resolve().is_relative_to(out.resolve()):
            raise UserError(f"--{flag} {path} is inside --out {out}, which is replaced: give another --out")


def _is_whole(path: Path, part: Mapping[str, Any]) -> bool:
    return path.exists() and hash_path(path) == part.get("sha256")
