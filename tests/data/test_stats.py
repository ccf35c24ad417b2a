"""`moviebot stats` through the command line, on small sets that `clean` made, whole and one-sided."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.image import imread

from moviebot.artefact import read_jsonl, write_jsonl
from moviebot.cli import run
from moviebot.data.prompts import render_question_prompt
from moviebot.data.schemas import Movie, read_catalogue, read_qa, write_catalogue
from moviebot.data.tokenise import encode_answer, encode_prompt, load_tokenizer

HOSTILE = "\x1b[31m[red]$x_{1$ :smile: <b> [link=http://evil.example]x[/link]"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, movies: Sequence[Movie]) -> Path:
    out = tmp_path_factory.mktemp("stats")
    write_catalogue(out / "catalogue.parquet", movies)
    assert run(["teach", "--out", str(out)]) == 0
    assert run(["clean", "--out", str(out)]) == 0
    return out


def copy(data: Path, to: Path, *names: str) -> Path:
    to.mkdir()
    for name in names or [path.name for path in data.iterdir() if path.is_file()]:
        (to / name).write_bytes((data / name).read_bytes())
    return to


def show(capsys: pytest.CaptureFixture[str], data: Path, base: Path, *extra: str) -> str:
    capsys.readouterr()
    assert run(["stats", str(data), "--base", str(base), *extra]) == 0
    return capsys.readouterr().out


def complain(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["stats", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_counts_are_those_of_the_files(
    data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plots = tmp_path / "plots"
    text = show(capsys, data, tiny_llama, "--samples", "2", "--plots", str(plots))
    pairs = read_qa(data / "qa.jsonl")
    by_split = [sum(pair.split == split for pair in pairs) for split in ("train", "val", "test")]
    row = next(line for line in text.splitlines() if "questions" in line and "│" in line)
    assert [int(cell) for cell in re.findall(r"\d+", row)] == [*by_split, len(pairs)]
    assert text.count("Sample ") == 2
    assert re.search(rf"unanswerable .* {sum(pair.topic == 'unanswerable' for pair in pairs)} ", text)
    lists = read_jsonl(data / "recommendations.jsonl")
    longest = max(len(row["recommended"]) for row in lists)
    assert f"│ {longest:>6} │" in text
    assert {path.name for path in plots.iterdir()} >= {"lengths.png", "topics.png", "lists.png"}
    for path in plots.iterdir():
        assert imread(path).std() > 0.01, "an empty picture"


def test_lengths_are_those_of_training(data: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    movies = {movie.tconst: movie for movie in read_catalogue(data / "catalogue.parquet")}
    tokenizer = load_tokenizer(str(tiny_llama))
    lengths = sorted(
        len(encode_prompt(tokenizer, render_question_prompt(pair.question, movies[pair.tconst])))
        + len(encode_answer(tokenizer, pair.answer))
        for pair in read_qa(data / "qa.jsonl")
    )
    limit = lengths[len(lengths) // 2]
    text = show(capsys, data, tiny_llama, "--max_length", str(limit))
    row = next(line for line in text.splitlines() if line.startswith("│ qa ") and "%" in line)
    over = sum(length > limit for length in lengths) / len(lengths)
    assert f" {lengths[-1]} " in row
    assert f" {over:.1%} " in row
    assert 0 < over < 1


def test_the_same_seed_prints_the_same(data: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = show(capsys, data, tiny_llama)
    assert show(capsys, data, tiny_llama) == first
    assert show(capsys, data, tiny_llama, "--seed", "1") != first


def test_a_set_without_lists_or_without_questions(
    data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = copy(data, tmp_path / "q", "catalogue.parquet", "qa.jsonl")
    (questions / "stats").mkdir()
    (questions / "stats" / "lists.png").write_bytes(b"of an earlier set")
    text = show(capsys, questions, tiny_llama)
    assert "The set has no lists." in text
    assert {path.name for path in (questions / "stats").iterdir()} == {"lengths.png", "topics.png"}
    lists = copy(data, tmp_path / "r", "catalogue.parquet", "recommendations.jsonl")
    write_jsonl(lists / "qa.jsonl", [])
    text = show(capsys, lists, tiny_llama)
    assert "The set has no questions." in text
    assert "Sample" not in text
    assert {path.name for path in (lists / "stats").iterdir()} == {"lengths.png", "lists.png"}


def test_text_from_data_is_shown_as_it_is(
    data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy(data, tmp_path / "h")
    rows = read_jsonl(out / "qa.jsonl")
    write_jsonl(out / "qa.jsonl", [{**row, "answer": HOSTILE, "topic": HOSTILE, "source": HOSTILE} for row in rows])
    text = " ".join(show(capsys, out, tiny_llama, "--samples", "1").split())
    assert "[red]$x_{1$ :smile: <" in text
    assert "\x1b" not in text
    assert (out / "stats" / "topics.png").is_file()


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_narrow_terminal_and_a_pipe_cut_nothing_short(data: Path, tiny_llama: Path, columns: str) -> None:
    command = [sys.executable, "-m", "moviebot", "stats", str(data), "--base", str(tiny_llama)]
    environment = {**os.environ, "COLUMNS": columns, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, encoding="utf-8")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert "\x1b" not in done.stdout
    assert "…" not in "".join(line for line in lines if "│" in line)
    assert len(re.findall(r"^Sample \d+ of 10,", done.stdout, re.M)) == 10


def test_users_mistakes_are_one_line(
    data: Path, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "catalogue.parquet is not there: run `moviebot catalogue" in complain(capsys, str(tmp_path / "nowhere"))
    assert "--widht" in complain(capsys, str(data), "--widht", "3")
    line = complain(capsys, str(data), "--max_length", "0", "--measured", "0", "--samples", "-1")
    assert all(flag in line for flag in ("--max_length 0", "--measured 0", "--samples -1"))
    empty = copy(data, tmp_path / "e", "catalogue.parquet")
    assert "no questions and no lists: run `moviebot clean" in complain(capsys, str(empty))
    (empty / "qa.jsonl").write_text(json.dumps({"tconst": "tt1"}) + "\n", encoding="utf-8")
    assert "lacks a field" in complain(capsys, str(empty))
