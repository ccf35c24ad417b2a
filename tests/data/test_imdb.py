import gzip
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.csv
import pytest

from moviebot.artefact import read_jsonl, read_report
from moviebot.data.catalogue import build_catalogue
from moviebot.data.schemas import read_catalogue
from moviebot.data.tsv import BLOCK_BYTES
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
        ({"genres": ("thriller", "Crime")}, ["tt1", "tt5", "tt6"], {"genres": 1}),
        ({"exclude_genres": ("Crime",)}, ["tt2", "tt5", "tt6"], {"exclude_genres": 1}),
        ({"adult": True}, ["tt1", "tt2", "tt4", "tt5", "tt6"], {"adult": 0}),
        ({"genres": ("Thriller",), "year_from": 1955, "min_votes": 5}, ["tt6"], {"year": 2, "genres": 1, "votes": 0}),
    ],
)
def test_selection(tmp_path: Path, settings: dict[str, Any], kept: list[str], why: dict[str, int]) -> None:
    build_catalogue(tmp_path / "out", imdb_dir=write_imdb(tmp_path / "imdb"), **settings)
    assert [movie.tconst for movie in read_catalogue(tmp_path / "out" / "catalogue.parquet")] == kept
    entry = read_report(tmp_path / "out")["catalogue"]
    assert {name: entry["filtered"][name] for name in why} == why
    assert entry["in"] == entry["kept"] + sum(entry["rejected"].values()) + sum(entry["filtered"].values())


@pytest.mark.parametrize(
    ("settings", "akas", "filtered"),
    [
        ({}, [("La porte bleue", "Die blaue Tür"), ("Tren de noche", "Nachtzug")], {}),
        ({"regions": ("de",)}, [("La porte bleue", "Die blaue Tür"), ("Nachtzug",)], {"regions": 2}),
        ({"languages": ("es",)}, [("La porte bleue",), ("Tren de noche",)], {"languages": 3}),
        ({"regions": ("DE", "US"), "languages": ("de",)}, [("La porte bleue", "Die blaue Tür"), ()],
         {"regions": 1, "languages": 2}),
    ],
)  # fmt: skip
def test_regions_and_languages_of_akas(
    tmp_path: Path, settings: dict[str, Any], akas: list[tuple[str, ...]], filtered: dict[str, int]
) -> None:
    build_catalogue(tmp_path / "out", imdb_dir=write_imdb(tmp_path / "imdb"), **settings)
    movies = {movie.tconst: movie for movie in read_catalogue(tmp_path / "out" / "catalogue.parquet")}
    assert [movies[tconst].akas for tconst in ("tt1", "tt6")] == akas
    assert read_report(tmp_path / "out")["catalogue"]["files"]["title.akas.tsv"].get("filtered", {}) == filtered


def test_settings_are_checked_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--year_from 2020 is after .*--limit 0.*--genres holds an empty word.*drama"):
        build_catalogue(
            tmp_path, sample=True, year_from=2020, year_to=2017, limit=0, genres=("Drama", " "),
            exclude_genres=("drama",),
        )  # fmt: skip


def test_duplicate_rows_of_every_file_are_counted(tmp_path: Path) -> None:
    """The first row stands; the same actor in two roles is no duplicate row, and is named once."""
    folder = write_imdb(tmp_path / "imdb")
    once = tmp_path / "once"
    build_catalogue(once, imdb_dir=folder)
    more = {
        "title.basics": "tt1\tmovie\tTwice\tTwice\t0\t1990\t\\N\t90\tDrama\n",
        "title.ratings": "tt1\t2.0\t3\ntt99\t2.0\t3\ntt99\t2.0\t3\n",
        "title.crew": "tt1\tnm5\t\\N\n",
        "title.principals": 'tt1\t1\tnm4\tactor\t\\N\t\\N\ntt1\t9\tnm4\tself\t\\N\t\\N\ntt1\tx\tnm3\tself\t\\N\t"\n',
        "name.basics": "nm4\tSomebody Else\n",
        "title.akas": "tt1\t1\tDie blaue Tür\tDE\tde\n",
        "descriptions": "tt1\tAnother.\ttest\n",
    }
    for stem, rows in more.items():
        with (folder / f"{stem}.tsv").open("a", encoding="utf-8") as handle:
            handle.write(rows)
    build_catalogue(tmp_path / "twice", imdb_dir=folder)
    assert (tmp_path / "twice" / "catalogue.parquet").read_bytes() == (once / "catalogue.parquet").read_bytes()
    files = read_report(tmp_path / "twice")["catalogue"]["files"]
    assert {name: counts["rejected"] for name, counts in files.items()} == {
        f"{stem}.tsv": {"duplicate_id": 1, **({"bad_value": 1} if stem == "title.principals" else {})} for stem in more
    }
    raws = [row["raw"] for row in read_jsonl(tmp_path / "twice" / "rejects.jsonl") if row["reason"] == "duplicate_id"]
    assert len(raws) == len(more)
    assert raws[0].endswith("tt1\tmovie\tTwice\tTwice\t0\t1990\t90\tDrama")


def test_bad_rows_of_every_file_are_counted(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    build_catalogue(tmp_path / "good", imdb_dir=folder)
    for path in folder.glob("*.tsv"):
        columns = path.read_bytes().split(b"\n")[0].count(b"\t") + 1
        with path.open("ab") as handle:
            handle.write(b"\t".join([b"tt1"] * (columns + 1)) + b"\n" + b"\t".join([b"\xe9"] * columns) + b"\ntt1\tcut")
    build_catalogue(tmp_path / "bad", imdb_dir=folder)
    names = ("catalogue.parquet", "similar.jsonl")
    assert [(tmp_path / "good" / name).read_bytes() for name in names] == [
        (tmp_path / "bad" / name).read_bytes() for name in names
    ]
    files = read_report(tmp_path / "bad")["catalogue"]["files"]
    assert len(files) == 7
    for counts in files.values():
        assert counts["rejected"] == {"bad_row": 1, "not_utf8": 1, "cut_line": 1}


def test_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    (folder / "title.crew.tsv").write_text("")
    write_tsv(folder / "name.basics.tsv", [["nconst", "name"]])
    with pytest.raises(UserError, match=r"title\.crew\.tsv is empty.*name\.basics\.tsv lacks the column"):
        build_catalogue(tmp_path / "out", imdb_dir=folder)


def test_rejects_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A broken file can have millions of bad rows: all are counted, the first ones kept."""
    folder = write_imdb(tmp_path / "imdb")
    with (folder / "title.basics.tsv").open("a", encoding="utf-8") as handle:
        handle.write("tt7\tmovie\tToo few\n" * 10_003)
    build_catalogue(tmp_path / "out", imdb_dir=folder)
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["rejected"]["bad_row"] == 10_003
    assert entry["rejects_not_in_file"] == {"bad_row": 3}
    assert len(read_jsonl(tmp_path / "out" / "rejects.jsonl")) == 10_000


def test_scratch_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    old = tmp_path / "out" / f".imdb.{int(dead.stdout)}.tmp"
    old.mkdir(parents=True)
    (old / "spilled").write_text("x")
    build_catalogue(tmp_path / "out", imdb_dir=write_imdb(tmp_path / "imdb"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "catalogue.parquet", "rejects.jsonl", "report.json", "similar.jsonl",
    ]  # fmt: skip


def test_line_longer_than_a_block_is_told(tmp_path: Path) -> None:
    folder = write_imdb(tmp_path / "imdb")
    with (folder / "title.akas.tsv").open("a", encoding="utf-8") as handle:
        handle.write("tt1\t1\t" + "x" * (3 * BLOCK_BYTES) + "\tDE\tde\n")
    with pytest.raises(UserError, match=r"title\.akas\.tsv can't be read as a TSV"):
        build_catalogue(tmp_path / "out", imdb_dir=folder)


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
    """Each row of the real files is kept, filtered or rejected for a reason that a plain loop over the lines finds."""
    folder = SHARED_DATA / "imdb-tsv-sample"
    build_catalogue(tmp_path / "out", imdb_dir=folder, min_votes=50, exclude_genres=("War",))
    entry = read_report(tmp_path / "out")["catalogue"]
    ratings = (folder / "title.ratings.tsv").read_bytes().decode().split("\n")[1:]
    rated = {line.split("\t")[0]: line.split("\t")[1:] for line in ratings[:-1]}
    lines = (folder / "title.basics.tsv").read_bytes().decode().split("\n")[1:]
    assert lines[-1] == "tt0030427\tmo"
    kept, seen, filtered = {}, set(), Counter(dict.fromkeys(entry["filtered"], 0))
    for line in lines[:-1]:
        tconst, kind, title, original, adult, year, _, runtime, genres = line.split("\t")
        assert tconst not in seen
        assert title not in ("", "\\N")
        seen.add(tconst)
        votes = int(rated[tconst][1]) if tconst in rated else 0
        if adult == "1":
            filtered["adult"] += 1
        elif kind != "movie":
            filtered["title_type"] += 1
        elif "War" in genres.split(","):
            filtered["exclude_genres"] += 1
        elif votes < 50:
            filtered["votes"] += 1
        else:
            kept[tconst] = (
                title, original, None if year == "\\N" else int(year), None if runtime == "\\N" else int(runtime),
                () if genres == "\\N" else tuple(genres.split(",")), float(rated[tconst][0]), votes,
            )  # fmt: skip
    movies = read_catalogue(tmp_path / "out" / "catalogue.parquet")
    fields = ("title", "original_title", "year", "runtime_minutes", "genres", "rating", "votes")
    assert {movie.tconst: tuple(getattr(movie, name) for name in fields) for movie in movies} == kept
    assert [movie.tconst for movie in movies] == list(kept)
    assert entry["filtered"] == dict(filtered)
    assert entry["rejected"] == {**dict.fromkeys(entry["rejected"], 0), "cut_line": 1}
    assert (entry["in"], entry["kept"]) == (len(lines), len(kept))
    assert len(kept) > 1000
    assert entry["files"]["title.ratings.tsv"] == {"in": len(ratings), "rejected": {"cut_line": 1}}
