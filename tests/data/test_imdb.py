import gzip
import json
import logging
from pathlib import Path

import pyarrow.csv
import pytest

from moviebot.artefact import read_jsonl, read_report
from moviebot.data.catalogue import build_catalogue
from moviebot.data.schemas import read_catalogue
from moviebot.errors import UserError
from tests.conftest import SHARED_DATA
from tests.data.imdb_files import BASICS, BASICS_HEADER, write_imdb, write_tsv


def test_all_files_join(tmp_path: Path) -> None:
    build_catalogue(tmp_path / "out", imdb_dir=write_imdb(tmp_path / "imdb"))
    movies = {movie.tconst: movie for movie in read_catalogue(tmp_path / "out" / "catalogue.parquet")}
    assert list(movies) == ["tt1", "tt2", "tt5", "tt6"]
    door = movies["tt1"]
    assert door.title == 'The "Blue" Door'
    assert door.original_title == "La porte bleue"
    assert (door.year, door.runtime_minutes, door.rating, door.votes) == (1950, 90, 7.1, 1500)
    assert door.genres == ("Drama", "Crime")
    assert door.directors == ("Ann Ash", "Bo Birk")
    assert door.cast == ("Di Dahl", "Ed Elm")  # by ordering, actors only
    assert door.akas == ("La porte bleue", "Die blaue Tür")
    assert (door.description, door.description_source) == ("Ann opens a door. It is blue.", "test")
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["in"] == 6 == entry["kept"] + sum(entry["rejected"].values()) + sum(entry["filtered"].values())
    assert entry["filtered"] == {
        "adult": 1,
        "title_type": 1,
        "year": 0,
        "genres": 0,
        "exclude_genres": 0,
        "votes": 0,
        "limit": 0,
    }
    assert read_jsonl(tmp_path / "out" / "similar.jsonl") == [{"tconst": "tt1", "recommended": ["tt6", "tt2"]}]


def test_null_is_never_a_word(tmp_path: Path) -> None:
    """FACTS 23: ``\\N`` is null; years and runtimes can be missing."""
    build_catalogue(tmp_path / "out", imdb_dir=write_imdb(tmp_path / "imdb"))
    movies = {movie.tconst: movie for movie in read_catalogue(tmp_path / "out" / "catalogue.parquet")}
    bare = movies["tt2"]
    assert (bare.runtime_minutes, bare.rating, bare.votes, bare.description) == (None, None, None, None)
    assert (bare.genres, bare.directors, bare.cast, bare.akas) == ((), (), (), ())
    assert movies["tt5"].year is None
    text = (tmp_path / "out" / "catalogue.parquet").read_bytes()
    assert b"\\N" not in text
    assert b"nan" not in text


def test_unbalanced_quotes_swallow_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FACTS 22: with quoting on, the quote that tt2 opens is closed in another row, and rows are lost."""
    folder = write_imdb(tmp_path / "imdb")
    build_catalogue(tmp_path / "guarded", imdb_dir=folder)
    assert len(read_catalogue(tmp_path / "guarded" / "catalogue.parquet")) == 4

    unguarded = pyarrow.csv.ParseOptions

    def with_quotes(**options: object) -> pyarrow.csv.ParseOptions:
        return unguarded(**(options | {"quote_char": '"', "newlines_in_values": True}))

    monkeypatch.setattr(pyarrow.csv, "ParseOptions", with_quotes)
    try:
        build_catalogue(tmp_path / "quoted", imdb_dir=folder)
        lost = len(read_catalogue(tmp_path / "quoted" / "catalogue.parquet")) < 4
    except (UserError, pyarrow.ArrowInvalid):
        lost = True
    assert lost, "the file no longer shows why quoting must be off"


@pytest.mark.parametrize("end", ["tt7\tmo", "tt7\tmovie\tCut\tCut\t0\t1990\t\\N\t90\tDra", "tt7"])
def test_cut_line_is_left_out_and_counted(tmp_path: Path, end: str, caplog: pytest.LogCaptureFixture) -> None:
    """FACTS 23: a truncated download ends mid-line, perhaps inside the last field, so that no field is missing."""
    folder = write_imdb(tmp_path / "imdb")
    with (folder / "title.basics.tsv").open("a", encoding="utf-8") as handle:
        handle.write(end)
    build_catalogue(tmp_path / "out", imdb_dir=folder)
    assert len(read_catalogue(tmp_path / "out" / "catalogue.parquet")) == 4
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["rejected"]["cut_line"] == 1
    assert entry["in"] == 7 == entry["kept"] + sum(entry["rejected"].values()) + sum(entry["filtered"].values())
    assert "ends in the middle of a line" in caplog.text
    (row,) = read_jsonl(tmp_path / "out" / "rejects.jsonl")
    assert (row["stage"], row["reason"]) == ("catalogue", "cut_line")
    assert end in row["raw"]


def test_cut_gzip_keeps_its_whole_lines(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    plain = folder / "title.basics.tsv"
    rows = [["tt9" + str(n), "movie", f"Film {n}", f"Film {n}", "0", "1990", "\\N", "90", "Drama"] for n in range(5000)]
    write_tsv(plain, [BASICS_HEADER, *rows])
    packed = gzip.compress(plain.read_bytes())
    (folder / "title.basics.tsv.gz").write_bytes(packed[: len(packed) // 2])
    plain.unlink()
    build_catalogue(tmp_path / "out", imdb_dir=folder)
    assert 100 < len(read_catalogue(tmp_path / "out" / "catalogue.parquet")) < 5000
    assert read_report(tmp_path / "out")["catalogue"]["rejected"]["cut_line"] == 1


def test_gzip_gives_the_same(tmp_path: Path) -> None:
    build_catalogue(tmp_path / "plain", imdb_dir=write_imdb(tmp_path / "imdb"))
    for path in (tmp_path / "imdb").glob("*.tsv"):
        path.with_suffix(".tsv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    build_catalogue(tmp_path / "packed", imdb_dir=tmp_path / "imdb")
    names = ("catalogue.parquet", "similar.jsonl")
    assert [(tmp_path / "plain" / name).read_bytes() for name in names] == [
        (tmp_path / "packed" / name).read_bytes() for name in names
    ]


def test_bad_rows_cost_themselves_only(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    with (folder / "title.basics.tsv").open("ab") as handle:
        handle.write(b"tt10\tmovie\tCaf\xe9\tCafe\t0\t1990\t\\N\t90\tDrama\n")
        handle.write(b"tt11\tmovie\tYear\tYear\t0\tabc\t\\N\t90\tDrama\n")
        handle.write(b"tt12\tmovie\tToo\tmany\tcells\t0\t1990\t\\N\t90\tDrama\n")
        handle.write(b"tt13\tmovie\tToo few\n")
        handle.write(b"tt1\tmovie\tTwice\tTwice\t0\t1990\t\\N\t90\tDrama\n")
        handle.write(b"tt14\tmovie\t\\N\t\\N\t0\t1990\t\\N\t90\tDrama\n")
        handle.write(b"tt15\tmovie\tLast\tLast\t0\t1990\t\\N\t90\tDrama\n")
    build_catalogue(tmp_path / "out", imdb_dir=folder)
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["rejected"] == {
        "cut_line": 0, "bad_row": 2, "not_utf8": 1, "bad_value": 1, "no_title": 1, "duplicate_id": 1,
    }  # fmt: skip
    assert entry["in"] == 13 == entry["kept"] + sum(entry["rejected"].values()) + sum(entry["filtered"].values())
    assert read_catalogue(tmp_path / "out" / "catalogue.parquet")[-1].title == "Last"
    raws = {row["reason"]: row["raw"] for row in read_jsonl(tmp_path / "out" / "rejects.jsonl")}
    assert "Caf\\xe9" in raws["not_utf8"]
    assert "year 'abc'" in raws["bad_value"]


def test_only_basics_is_needed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_imdb(tmp_path / "imdb")
    for path in folder.iterdir():
        if path.name != "title.basics.tsv":
            path.unlink()
    with caplog.at_level(logging.WARNING):
        build_catalogue(tmp_path / "out", imdb_dir=folder)
    for stem in ("title.ratings", "title.crew", "title.principals", "name.basics", "title.akas"):
        assert f"no {stem}.tsv" in caplog.text
    assert len(read_catalogue(tmp_path / "out" / "catalogue.parquet")) == 4


def test_directors_without_crew_file(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    (folder / "title.crew.tsv").unlink()
    build_catalogue(tmp_path / "out", imdb_dir=folder)
    assert read_catalogue(tmp_path / "out" / "catalogue.parquet")[0].directors == ("Ann Ash",)


@pytest.mark.parametrize(
    ("settings", "kept", "why"),
    [
        ({"year_from": 1951, "year_to": 1999}, ["tt2", "tt6"], {"year": 2}),
        ({"min_votes": 100}, ["tt1"], {"votes": 3}),
        ({"limit": 2}, ["tt1", "tt6"], {"limit": 2}),
        ({"title_types": ("movie", "short")}, ["tt1", "tt2", "tt3", "tt5", "tt6"], {"title_type": 0}),
    ],
)
def test_selection(tmp_path: Path, settings: dict[str, int], kept: list[str], why: dict[str, int]) -> None:
    build_catalogue(tmp_path / "out", imdb_dir=write_imdb(tmp_path / "imdb"), **settings)  # type: ignore[arg-type]
    assert [movie.tconst for movie in read_catalogue(tmp_path / "out" / "catalogue.parquet")] == kept
    filtered = read_report(tmp_path / "out")["catalogue"]["filtered"]
    assert {name: filtered[name] for name in why} == why


def test_no_folder_no_file_no_rows_wrong_columns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        build_catalogue(tmp_path / "out", imdb_dir=tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"holds no title\.basics\.tsv"):
        build_catalogue(tmp_path / "out", imdb_dir=empty)
    (empty / "title.basics.tsv").write_text("")
    with pytest.raises(UserError, match="is empty: download it again"):
        build_catalogue(tmp_path / "out", imdb_dir=empty)
    write_tsv(empty / "title.basics.tsv", [BASICS_HEADER])
    with pytest.raises(UserError, match="holds no rows"):
        build_catalogue(tmp_path / "out", imdb_dir=empty)
    write_tsv(empty / "title.basics.tsv", [["tconst", "name"], ["tt1", "Up"]])
    with pytest.raises(UserError, match=r"lacks the column\(s\) titleType, primaryTitle.*it has tconst, name"):
        build_catalogue(tmp_path / "out", imdb_dir=empty)
    write_tsv(empty / "title.basics.tsv", [BASICS_HEADER, BASICS[2]])
    with pytest.raises(UserError, match=r"no movie is left of the 1 rows .*outside --title_type 1"):
        build_catalogue(tmp_path / "out", imdb_dir=empty)
    assert not (tmp_path / "out" / "catalogue.parquet").exists()


def test_similar_lines_are_checked(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    (folder / "similar.jsonl").write_text('{"tconst": "tt1"}\n')
    with pytest.raises(UserError, match=r"similar\.jsonl, line 1"):
        build_catalogue(tmp_path / "out", imdb_dir=folder)


@pytest.mark.skipif(not (SHARED_DATA / "imdb-tsv-sample").is_dir(), reason="no shared data here")
def test_real_imdb_head(tmp_path: Path) -> None:
    build_catalogue(tmp_path / "out", imdb_dir=SHARED_DATA / "imdb-tsv-sample", min_votes=50)
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["in"] == 29886 == entry["kept"] + sum(entry["rejected"].values()) + sum(entry["filtered"].values())
    assert entry["rejected"]["cut_line"] == 1
    assert entry["files"]["title.ratings.tsv"]["rejected"] == {"cut_line": 1}
    assert entry["kept"] > 1000
    assert json.dumps(entry)
