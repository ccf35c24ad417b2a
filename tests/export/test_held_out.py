"""Held-out prompts: of test movies only, from a data folder or the embedded sample."""

import shutil
from pathlib import Path

import pytest

from moviebot.artefact import read_jsonl, write_jsonl
from moviebot.data.schemas import Movie
from moviebot.data.splits import split_movies
from moviebot.errors import UserError
from moviebot.export.held_out import read_held_out


def test_data_folder_gives_its_test_movies(qa_data_dir: Path, movies: list[Movie]) -> None:
    found = read_held_out(qa_data_dir, 100)
    assert {one.movie.tconst for one in found} == {movie.tconst for movie in movies[10:]}
    assert {one.sample.task for one in found} == {"qa", "recommend"}
    assert len(read_held_out(qa_data_dir, 3)) == 3


def test_sample_gives_its_test_movies() -> None:
    found = read_held_out(None, 16)
    assert len({one.sample.prompt for one in found}) == 16
    assert len({one.sample.group for one in found}) == 8  # every topic
    assert [one.sample.prompt for one in read_held_out(None, 16)] == [one.sample.prompt for one in found]
    from tests.rag.conftest import sample_movies

    splits = split_movies(sample_movies())
    assert {splits[one.movie.tconst] for one in found} == {"test"}


def test_folder_without_test_rows_is_one_line(qa_data_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(qa_data_dir, folder)
    for name in ("qa.jsonl", "recommendations.jsonl"):
        write_jsonl(folder / name, [row for row in read_jsonl(folder / name) if row["split"] != "test"])
    with pytest.raises(UserError, match="no row of the test split"):
        read_held_out(folder, 5)


def test_agreement_is_of_facts(qa_data_dir: Path) -> None:
    found = read_held_out(qa_data_dir, 100)
    genre = next(one for one in found if one.sample.group == "genre" and "Beekeeper" in one.sample.question)
    assert genre.agree("It is a Documentary.", "A documentary, I'd say.")
    assert not genre.agree("It is a Documentary.", "It is a Western.")
    decline = next(one for one in found if one.sample.group == "unanswerable")
    assert decline.agree("I don't know.", "I don't know: the facts don't say.")
    assert not decline.agree("I don't know.", "Ten million.")
    listed = next(one for one in found if one.sample.task == "recommend")
    assert listed.agree("Up (2009)", "up (2009) ")
    assert not listed.agree("Up (2009)", "Her (2013)")
