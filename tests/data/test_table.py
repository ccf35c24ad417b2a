import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moviebot.artefact import read_jsonl, read_report
from moviebot.data.catalogue import build_catalogue, sample_dir
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.errors import UserError

ROWS: list[dict[str, object]] = [
    {
        "id": "tt1",
        "Title": "Up",
        "Release Date": "2009-05-29",
        "Runtime (in minutes)": 96,
        "Genres": ["Animation", "Comedy"],
        "vote_average": 8.3,
        "vote_count": 900,
        "director": ["Pete Docter"],
        "Stars": ["Ed Asner"],
        "overview": "A house flies.",
    },
    {"id": "tt2", "Title": "Nan", "Genres": [], "director": [], "Stars": []},
]
UP = Movie(
    "tt1", "Up", None, 2009, 96, ("Animation", "Comedy"), 8.3, 900, ("Pete Docter",), ("Ed Asner",), "A house flies.",
    "table",
)  # fmt: skip


def build(path: Path, limit: int | None = None) -> list[Movie]:
    build_catalogue(path.parent / "out", table=path, limit=limit)
    return read_catalogue(path.parent / "out" / "catalogue.parquet")


def write_text_table(path: Path, delimiter: str) -> None:
    lines = [delimiter.join(ROWS[0])]
    for row in ROWS:
        listed = [row.get(column, "") for column in ROWS[0]]
        cells = ["|".join(cell) if isinstance(cell, list) else str(cell) for cell in listed]
        lines.append(delimiter.join(cells))
    path.write_text("\n".join(lines))  # no last newline: a person's table may lack it


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        write_text_table(path, "\t" if suffix == ".tsv" else ",")
    movies = build(path)
    assert movies == [UP, Movie("tt2", "Nan")]


def test_quotes_in_tsv_are_text_and_a_writers_quoting_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('title\tplot\n"Heroes"\tHe said "no.\nTwo\t"The ""old"" man."\nThis Boyâ€™s Life\tSÃ©verine\n')
    one, two, three = build(path)
    assert (one.title, one.description) == ('"Heroes"', 'He said "no.')
    assert two.description == 'The "old" man.'
    assert (three.title, three.description) == ("This Boy’s Life", "Séverine")


def test_made_up_ids_are_stable_and_distinct(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("title,year\nUp,2009\nSolaris,1972\nSolaris,2002\nUp,2009\n")
    movies = build(path)
    assert len({movie.tconst for movie in movies}) == 3 == len(movies)
    assert read_report(tmp_path / "out")["catalogue"]["rejected"]["duplicate_id"] == 1
    assert [movie.tconst for movie in build(path, limit=2)] == [movie.tconst for movie in movies][:2]


def test_bad_rows_cost_themselves_only(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(
        b"id\ttitle\tyear\trating\ngood\tUp\t2009\t8\nyear\tA\tabc\t8\nrating\tB\t1999\t11\nbyte\tCaf\xe9\t1999\t8\n"
        b"many\tC\t1999\t8\t9\nnone\t\t1999\t8\ngood\tUp\t2009\t8\ncut\tD\t19"
    )
    assert [movie.tconst for movie in build(path)] == ["good"]
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["rejected"] == {
        "cut_line": 1, "bad_row": 1, "not_utf8": 1, "bad_value": 2, "no_title": 1, "duplicate_id": 1,
    }  # fmt: skip
    assert entry["in"] == 8 == entry["kept"] + sum(entry["rejected"].values())
    assert len(read_jsonl(tmp_path / "out" / "rejects.jsonl")) == 7


def test_bad_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"title": "Up"}\n[1]\n{"title": "Caf\xe9"}\n\n{"title": "Her", "year": 2013}\n{"title": "Cu')
    assert [movie.label for movie in build(path)] == ["Up", "Her (2013)"]
    entry = read_report(tmp_path / "out")["catalogue"]
    assert (entry["rejected"]["bad_row"], entry["rejected"]["not_utf8"], entry["rejected"]["cut_line"]) == (1, 1, 1)
    assert entry["in"] == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty: give a table"),
        ("t.csv", b"a,b\n1,2\n", r"has no column of titles \(it has 'a', 'b'\): name one of them 'title'"),
        ("t.csv", b"title,year\n", "holds no rows"),
        ("t.csv", b'title\n"open', "line 2: unexpected end of data: mend its quotes"),
        ("t.csv", b"title,year\nUp,abc\n", r"no movie is left of the 1 rows .*bad_value 1"),
        ("t.xlsx", b"x", r"\.xlsx is not read: save it as one of \.tsv, \.csv"),
        ("t.parquet", b"PAR1", "is not a whole Parquet file"),
    ],
)
def test_one_line_for_a_table_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        build(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "catalogue.parquet").exists()


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="just one of --imdb_dir DIR, --table FILE and --sample"):
        build_catalogue(tmp_path)
    with pytest.raises(UserError, match="just one of"):
        build_catalogue(tmp_path, table=tmp_path / "t.csv", sample=True)
    with pytest.raises(UserError, match="is not there"):
        build_catalogue(tmp_path, table=tmp_path / "t.csv")
    with pytest.raises(UserError, match="--year_from 2020 is after --year_to 2017"):
        build_catalogue(tmp_path, sample=True, year_from=2020, year_to=2017)
    with pytest.raises(UserError, match="--limit 0"):
        build_catalogue(tmp_path, sample=True, limit=0)
    with pytest.raises(UserError, match="--title_types is empty"):
        build_catalogue(tmp_path, sample=True, title_types=())


def test_unchanged_inputs_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    path.write_text("title,year\nUp,2009\n")
    build(path)
    before = (tmp_path / "out" / "report.json").read_bytes()
    with caplog.at_level("INFO"):
        build(path)
    assert "is up to date" in caplog.text
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    path.write_text("title,year\nUp,2010\n")
    assert build(path)[0].year == 2010


@pytest.mark.skipif(not (sample_dir() / "title.basics.tsv").is_file(), reason="the sample is not written yet")
def test_sample_reads_whole(tmp_path: Path) -> None:
    build_catalogue(tmp_path, sample=True)
    movies = read_catalogue(tmp_path / "catalogue.parquet")
    assert len(movies) >= 400
    assert not read_jsonl(tmp_path / "rejects.jsonl")
    assert all(movie.description and movie.directors and movie.cast and movie.year for movie in movies)
    lists = read_jsonl(tmp_path / "similar.jsonl")
    assert len(lists) == len(movies)


def test_json_lines_that_utf8_can_not_hold_are_rejected(tmp_path: Path) -> None:
    lines = [r'{"title": "Bad \ud800"}', '{"title": "Up", "year": %s}' % ("9" * 5000), '{"title": "Her", "year": 2013}']
    (tmp_path / "t.jsonl").write_text("\n".join([*lines, r'{"title": "Pair \ud83d\ude00"}']) + "\n")
    assert [movie.title for movie in build(tmp_path / "t.jsonl")] == ["Her", "Pair 😀"]
    rejected = read_report(tmp_path / "out")["catalogue"]["rejected"]
    assert (rejected["not_utf8"], rejected["bad_row"]) == (1, 1)
