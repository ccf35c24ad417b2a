"""The benchmark of retriever training runs both sides, and says what it lacks."""

import re
from pathlib import Path

import pytest

from tools.bench_retriever_training import main

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


def test_both_sides_train_and_the_peer_is_the_measure(
    pairs_dir: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [
        "--data",
        str(pairs_dir),
        "--base",
        str(tiny_encoder),
        "--batch_size",
        "2",
        "--steps",
        "2",
        "--repeats",
        "1",
    ]
    assert main(given) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^\| (.+): (.+) \| (fp32|bf16) \| (\d+) \| ([\d.]+) \|$", printed, re.MULTILINE)
    fp32 = [row for row in rows if row[2] == "fp32"]
    assert len(fp32) == 2 * 3
    assert all(float(ratio) == 1.0 for _, name, _, _, ratio in rows if name == "sentence-transformers")
    assert all(int(speed) > 0 for *_, speed, _ in rows)


def test_too_few_movies_are_named(pairs_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(pairs_dir)]) == 2
    assert "has 8 movies to train on, 896 are needed: lower --batch_size or --steps" in capsys.readouterr().err
