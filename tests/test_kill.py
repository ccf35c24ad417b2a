"""kill -9 at twenty random moments of a data stage, then the same command: the artefacts equal an undisturbed run's."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moviebot.artefact import read_report
from moviebot.cli import run
from moviebot.data.catalogue import sample_dir

ROOT = Path(__file__).resolve().parents[1]
MOMENTS = 20
CHAIN = {
    "catalogue": ["catalogue", "--imdb_dir", str(sample_dir())],
    "teach": ["teach", "--limit", "150"],
    "clean": ["clean"],
}
# What may differ after another way to the same end: how long it took, and how much was there already.
PASSING = {"seconds", "resumed"}


def read_artefacts(folder: Path, before: Path) -> dict[str, bytes]:
    """Return the bytes of all that stands in a folder, hidden debris too; the report without its passing figures.

    Args:
        folder: where a stage ran.
        before: where the stages before it ran; the report names both.
    """
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = json.dumps(drop_passing(json.loads(found["report.json"])), sort_keys=True)
    return found | {"report.json": report.replace(str(folder), "OUT").replace(str(before), "OUT").encode()}


def drop_passing(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {key: drop_passing(value) for key, value in entry.items() if key not in PASSING}
    return entry


@pytest.mark.slow
@pytest.mark.parametrize("stage", list(CHAIN))
def test_killed_at_twenty_moments_then_the_same_bytes(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    before, whole, after = tmp_path / "before", tmp_path / "whole", tmp_path / "after"
    for out in (before, whole):
        out.mkdir()
        for name in list(CHAIN)[: list(CHAIN).index(stage) + (out == whole)]:
            assert run([*CHAIN[name], "--out", str(out)]) == 0
    process = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "kill_stage.py"), str(MOMENTS),
         str(read_report(whole)[stage]["seconds"]), str(before), str(after), *CHAIN[stage]],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert int(process.stdout.splitlines()[-1]) > 0, "every run ended before it was killed"
    undisturbed = read_artefacts(whole, before)
    for number in range(MOMENTS):
        rerun = read_artefacts(after / str(number), before)
        assert rerun.keys() == undisturbed.keys()
        assert [name for name in undisturbed if rerun[name] != undisturbed[name]] == []
