"""Artefacts read back as they were written; damaged ones get one clear line."""

from pathlib import Path

import pandas as pd
import pytest

from moviebot.artefact import write_jsonl
from moviebot.data.schemas import Movie, read_catalogue, read_qa, read_recommendations, write_catalogue
from moviebot.errors import UserError


def test_catalogue_reads_back_equal(tmp_path: Path, movies: list[Movie]) -> None:
    write_catalogue(tmp_path / "catalogue.parquet", movies)
    assert read_catalogue(tmp_path / "catalogue.parquet") == movies


def test_absent_facts_are_null_not_text(tmp_path: Path, movies: list[Movie]) -> None:
    write_catalogue(tmp_path / "catalogue.parquet", movies)
    frame = pd.read_parquet(tmp_path / "catalogue.parquet")
    assert frame["year"].isna().sum() == 1
    assert not frame.astype(str).isin(["nan", "\\N"]).to_numpy()[frame.notna().to_numpy()].any()


def test_an_absent_catalogue_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="moviebot catalogue"):
        read_catalogue(tmp_path / "catalogue.parquet")


def test_a_cut_catalogue_says_so(tmp_path: Path, movies: list[Movie]) -> None:
    path = tmp_path / "catalogue.parquet"
    write_catalogue(path, movies)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="not a whole Parquet file"):
        read_catalogue(path)


def test_a_missing_column_is_named(tmp_path: Path, movies: list[Movie]) -> None:
    path = tmp_path / "catalogue.parquet"
    write_catalogue(path, movies)
    pd.read_parquet(path).drop(columns=["votes"]).to_parquet(path)
    with pytest.raises(UserError, match="votes"):
        read_catalogue(path)


def test_qa_rows_lacking_a_field_are_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "qa.jsonl", [{"tconst": "tt1", "question": "q"}])
    with pytest.raises(UserError, match="moviebot clean"):
        read_qa(tmp_path / "qa.jsonl")


def test_unknown_fields_are_passed_over(tmp_path: Path) -> None:
    row = {"tconst": "tt1", "recommended": ["tt2"], "source": "x", "split": "train", "note": 1}
    write_jsonl(tmp_path / "r.jsonl", [row])
    assert read_recommendations(tmp_path / "r.jsonl")[0].recommended == ("tt2",)
