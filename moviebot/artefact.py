"""Files that are whole or absent, and the report that says how each came to be.

Every stage writes to a temporary name beside its target and renames when whole, so that Ctrl-C, a full disk or a crash
never leaves half an artefact. ``report.json`` holds one entry a stage: its counts, and the hashes of what went in and
came out, so that a stage whose inputs have not changed is skipped.
"""

import contextlib
import glob
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from moviebot.errors import UserError

REPORT_NAME = "report.json"
METRICS_NAME = "metrics.jsonl"  # what a training run logs, one JSON object a line, in its folder
_VERSIONED = (
    "moviebot",
    "pandas",
    "pyarrow",
    "duckdb",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "lightning",
    "sentence-transformers",
)


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block ends well, remove it otherwise.

    Works for a file and for a folder: the block creates whichever it wants at the temporary path. What a killed
    process left of an earlier try is removed.

    Args:
        path: the artefact's final place. Its parent folder is made where absent.

    Yields:
        The temporary path, on the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _remove_orphans(path)
    remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)  # a rename refuses a folder that is not empty
        temporary.replace(path)
    finally:
        remove(temporary)


def _remove_orphans(path: Path) -> None:
    for other in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = other.name.split(".")[-2]
        try:
            os.kill(int(pid), 0)  # asks whether the process is there; sends nothing
        except ProcessLookupError:
            remove(other)
        except (ValueError, OverflowError, PermissionError):  # not of our making, or another person's process
            continue


def remove(path: Path) -> None:
    """Remove a file or a folder where it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, whole or not at all."""
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_jsonl(path: Path, *, skip_half_line: bool = False) -> list[dict[str, Any]]:
    """Read one JSON object a line; blank lines are passed over.

    Args:
        path: the file.
        skip_half_line: pass over a last line without its newline that is not JSON: a kill left it.

    Raises:
        UserError: the file is absent, or a line is not a JSON object (the message names the line).
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: run the stage that writes it first")
    rows = []
    with path.open("rb") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or a number too long
                if skip_half_line and not line.endswith(b"\n"):
                    break
                fault = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "not JSON"
                why = error.reason if isinstance(error, UnicodeDecodeError) else getattr(error, "msg", error)
                raise UserError(f"{path}, line {number}: {fault} ({why}): mend or delete the line") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: a {type(row).__name__}, where a JSON object is wanted")
            rows.append(row)
    return rows


def hash_path(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and bytes of all files of a folder."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_report(folder: Path) -> dict[str, Any]:
    """Return ``folder/report.json`` (one entry a stage), or an empty dict where there is none or it is damaged."""
    try:
        report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return report if isinstance(report, dict) else {}


def write_stage_report(
    folder: Path,
    stage: str,
    *,
    counts: Mapping[str, Any],
    seconds: float,
    settings: Mapping[str, Any],
    inputs: Iterable[Path],
    outputs: Iterable[Path],
    seed: int | None = None,
) -> None:
    """Put one stage's entry into ``folder/report.json``, leaving the other stages' as they are.

    Args:
        folder: the data folder (``--out``).
        stage: the stage's name, for example ``"catalogue"``.
        counts: at least ``in``, ``kept`` and ``rejected`` (a count by reason).
        seconds: wall-clock seconds the stage took.
        settings: plain values that decide the output; a change makes the stage run again.
        inputs: files or folders read.
        outputs: files or folders written.
        seed: the random seed used, if any.
    """
    report = read_report(folder)
    report[stage] = {
        **counts,
        "seconds": round(seconds, 3),
        "seed": seed,
        "settings": dict(settings),
        "versions": _read_versions(),
        "inputs": {str(path): hash_path(path) for path in inputs},
        "outputs": {path.name: hash_path(path) for path in outputs},
    }
    _write_report(folder, report)


def is_current(
    folder: Path,
    stage: str,
    *,
    settings: Mapping[str, Any],
    inputs: Iterable[Path],
    outputs: Iterable[Path],
    seed: int | None = None,
) -> bool:
    """Say whether a stage's outputs stand and were made from just these inputs and settings.

    Args: as :func:`write_stage_report`.

    Returns:
        True where the stage can be skipped.
    """
    entry = read_report(folder).get(stage)
    if not isinstance(entry, dict) or entry.get("settings") != json.loads(json.dumps(dict(settings))):
        return False
    if entry.get("seed") != seed:
        return False
    inputs, outputs = list(inputs), list(outputs)
    if any(not path.exists() for path in [*inputs, *outputs]):
        return False
    return entry.get("inputs") == {str(path): hash_path(path) for path in inputs} and entry.get("outputs") == {
        path.name: hash_path(path) for path in outputs
    }


def accept_output(folder: Path, stage: str, name: str, before: str, after: str) -> None:
    """Let a stage stay current though a later stage adds to its output.

    Call it before the new file takes its place: a kill in between then makes the stage run again, never be skipped
    wrongly.

    Args:
        folder: the data folder.
        stage: the stage that wrote the output first.
        name: the output's name.
        before: the output's hash; where the report has another, the output is not that stage's, and nothing is done.
        after: its hash once the later stage is through.
    """
    report = read_report(folder)
    entry = report.get(stage)
    outputs = entry.get("outputs") if isinstance(entry, dict) else None
    if not isinstance(outputs, dict) or outputs.get(name) != before or before == after:
        return
    outputs[name] = after
    _write_report(folder, report)


def _write_report(folder: Path, report: Mapping[str, Any]) -> None:
    with write_whole(folder / REPORT_NAME) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
