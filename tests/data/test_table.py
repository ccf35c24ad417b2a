import ast
import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moviebot.artefact import read_jsonl, read_report
from moviebot.cli import run
from moviebot.data.catalogue import build_catalogue, sample_dir
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.errors import UserError

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
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


def build(path: Path, limit: int | None = None, columns: dict[str, str] | None = None) -> list[Movie]:
    build_catalogue(path.parent / "out", table=path, limit=limit, columns=columns)
    return read_catalogue(path.parent / "out" / "catalogue.parquet")


def write_table(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows as the format that the file's name says; with ``;`` where that is in the name."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return
    if kind == "jsonl":
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    else:
        delimiter = ";" if "semicolon" in path.name else "\t" if kind == "tsv" else ","
        listed = [[row.get(column, "") for column in rows[0]] for row in rows]
        cells = [["|".join(cell) if isinstance(cell, list) else str(cell) for cell in row] for row in listed]
        text = "\n".join(delimiter.join(row) for row in [list(rows[0]), *cells])
    data = text.encode()  # no last newline: a person's table may lack it
    path.write_bytes(gzip.compress(data) if path.suffix.lower() == ".gz" else data)


FORMATS = ["t.tsv", "t.csv", "t.jsonl", "t.parquet", "t.tsv.gz", "t.csv.gz", "t.jsonl.gz", "semicolon.csv", "T.TSV.GZ"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, ROWS)
    assert build(tmp_path / name) == [UP, Movie("tt2", "Nan")]


BOOKS: list[dict[str, object]] = [
    {"Nr": "b1", "Titel": "Der Prozeß", "Autor": ["Franz Kafka"], "Jahr": 1925, "Bewertung": "8,3"},
    {"Nr": "b2", "Titel": "Die Dämonen", "Autor": ["Fjodor Dostojewski"], "Jahr": 1872, "Bewertung": ""},
]
BOOK_COLUMNS = {"tconst": "Nr", "title": "Titel", "directors": "Autor", "year": "Jahr", "rating": "Bewertung"}


@pytest.mark.parametrize("name", ["t.tsv", "t.jsonl", "t.parquet", "semicolon.csv"])
def test_a_table_of_books(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, BOOKS)
    assert build(tmp_path / name, columns=BOOK_COLUMNS) == [
        Movie("b1", "Der Prozeß", year=1925, rating=8.3, directors=("Franz Kafka",)),
        Movie("b2", "Die Dämonen", year=1872, directors=("Fjodor Dostojewski",)),
    ]
    entry = read_report(tmp_path / "out")["catalogue"]
    assert entry["settings"]["columns"] == BOOK_COLUMNS


@pytest.mark.parametrize(
    "written", [["--columns", "title=Titel,year=Jahr"], ["--columns=title=Titel, year=Jahr"],
                ["--columns", '{"title": "Titel", "year": "Jahr"}'], ["--columns.title=Titel", "--columns.year=Jahr"]],
)  # fmt: skip
def test_columns_as_people_write_them(tmp_path: Path, written: list[str]) -> None:
    write_table(tmp_path / "t.tsv", BOOKS)
    assert run(["catalogue", "--table", str(tmp_path / "t.tsv"), *written, "--out", str(tmp_path / "out")]) == 0
    movies = read_catalogue(tmp_path / "out" / "catalogue.parquet")
    assert [movie.label for movie in movies] == ["Der Prozeß (1925)", "Die Dämonen (1872)"]


@pytest.mark.parametrize("written", ["Titel", "title=Titel,year", "title=Film, deutsch", "title=A,title=B"])
def test_columns_written_wrongly(tmp_path: Path, capsys: pytest.CaptureFixture[str], written: str) -> None:
    assert run(["catalogue", "--table", "t.tsv", "--columns", written, "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"moviebot: --columns {written}: give NAME=VALUE,NAME=VALUE with each name once, or JSON")
    assert shown.count("\n") == 1


def test_a_mapped_column_is_no_other_fields(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Name,Film,title\nAda,Up,x\n")
    (movie,) = build(tmp_path / "t.csv", columns={"title": "Film", "cast": "Name"})
    assert (movie.title, movie.cast) == ("Up", ("Ada",))


def test_every_problem_of_columns_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Film,Jahr,score,Score\nUp,2009,8,8\n")
    with pytest.raises(UserError) as caught:
        build_catalogue(
            tmp_path / "out", table=tmp_path / "t.csv", year_from=2000, year_to=1999, download=True,
            columns={"titel": "Flm", "votes": "Jahr", "year": "Jahr", "cast": "Darsteller", "rating": "score"},
        )  # fmt: skip
    line = str(caught.value)
    assert "\n" not in line
    for problem in (
        "--download fetches IMDb's files: say where to with --imdb_dir DIR",
        "names what is no field, 'titel' (did you mean 'title'?): the fields are tconst, title, ",
        "gives the column 'Jahr' to votes and year: give it to one of them",
        "has no column 'Flm' (did you mean 'Film'?) and no column 'Darsteller', which --columns names; it has 'Film', ",
        "--year_from 2000 is after --year_to 1999",
    ):
        assert problem in line, problem
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_no_title_and_a_column_that_is_not_there(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, [{"Jahr": "2009"}, {"Jahr": "2010"}])
    with pytest.raises(UserError, match=r"no column 'Yahr' \(did you mean 'Jahr'\?\)") as caught:
        build(tmp_path / name, columns={"year": "Yahr"})
    assert "has no column of titles (it has 'Jahr'): name one of them 'title', or say which it is" in str(caught.value)


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("title,x,title,x\nUp,1,Her,2\n")  # x is not used, so that it does not matter
    with pytest.raises(UserError, match=r"has more than one column 'title': rename all but one$"):
        build(tmp_path / "t.csv")


def test_semicolons_are_seen_where_they_set_off_the_cells(tmp_path: Path) -> None:
    cases = {
        'title;plot\nUp;"One; two, three"\nHer;A, b, c\n': [("Up", "One; two, three"), ("Her", "A, b, c")],
        "title,plot\nUp,One; two\nHer,Three; four\n": [("Up", "One; two"), ("Her", "Three; four")],
        "title;plot, if any\nUp;One\nHer;Two\nEx, Ray;x\n": [("Up", None), ("Her", None), ("Ex, Ray", None)],
        'title;plot\nUp;"Two\nlines"\n': [("Up", "Two lines")],
        "title\nUp; Her\nM;N\n": [("Up; Her", None), ("M;N", None)],
        "title\tplot\nUp\tOne, two; three\n": [("Up", "One, two; three")],
    }
    for number, (text, expected) in enumerate(cases.items()):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        assert [(movie.title, movie.description) for movie in build(path)] == expected, text


NESTED: list[dict[str, object]] = [
    {"title": "Up", "genres": [{"id": 16, "name": "Animation"}, {"id": 35, "name": "Comedy"}], "cast": [["A"], ["B"]]},
    {"title": "Her", "genres": None, "cast": []},
]


@pytest.mark.parametrize("name", ["t.jsonl", "t.parquet"])
def test_lists_of_objects_and_of_lists(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / name, NESTED)
    up, her = build(tmp_path / name)
    assert (up.genres, up.cast, her.genres, her.cast) == (("Animation", "Comedy"), ("A", "B"), (), ())


def test_json_and_python_lists_in_cells(tmp_path: Path) -> None:
    cells = ['[{"id": 16, "name": "Drama"}, {"id": 1, "name": null}]', "['War', 'Drama']", '["War", null]', "[War]"]
    (tmp_path / "t.tsv").write_text("title\tgenres\n" + "".join(f"T{n}\t{cell}\n" for n, cell in enumerate(cells)))
    assert [movie.genres for movie in build(tmp_path / "t.tsv")] == [("Drama",), ("War", "Drama"), ("War",)]
    assert read_report(tmp_path / "out")["catalogue"]["rejected"]["bad_value"] == 1


def test_json_lines_whose_keys_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"x": 1}, {"name": "Up", "x": 2}, {"title": "Her", "year": 2013}, {"year": 1, "name": "M", "y": 3}]
    (tmp_path / "t.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    with caplog.at_level("INFO"):
        assert [movie.label for movie in build(tmp_path / "t.jsonl")] == ["Up", "Her (2013)"]
    assert (
        read_report(tmp_path / "out")["catalogue"]["rejected"] | {"no_title": 1, "bad_value": 1}
        == (read_report(tmp_path / "out")["catalogue"]["rejected"])
    )
    assert caplog.text.count("not used") == 1  # once, not once a row


@pytest.mark.parametrize("name", ["t.tsv.gz", "t.jsonl.gz"])
@pytest.mark.parametrize("keep", [15, 3000])
def test_a_gzip_file_cut_short(tmp_path: Path, name: str, keep: int) -> None:
    write_table(tmp_path / name, [{"title": f"T{n * 7919}"} for n in range(5000)])
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:keep])
    with pytest.raises(UserError, match=f"{name} is not a whole gzip file .* write it again") as caught:
        build(tmp_path / name)
    assert "\n" not in str(caught.value)


def keep_ascii(text: str) -> str:
    """Leave out what mending changes (UTF-8 read as Windows-1252, a CSV writer's quotes): some names need it."""
    return " ".join(re.sub('[^\x20-\x7e]+|"', "", text).split())


@pytest.mark.skipif(not (SHARED_DATA / "catalogue").is_dir(), reason="the shared data is absent")
def test_the_real_table_is_kept_whole(tmp_path: Path) -> None:
    """Every row and every fact of 13,515 real movies, against a count by other means."""
    path = SHARED_DATA / "catalogue" / "movies.tsv"
    build_catalogue(tmp_path, table=path)
    header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    names = header.split("\t")
    rows = [dict(zip(names, line.split("\t"), strict=True)) for line in lines]
    movies = read_catalogue(tmp_path / "catalogue.parquet")
    entry = read_report(tmp_path)["catalogue"]
    assert entry["in"] == entry["kept"] == len(rows) == len(movies) == 13_515
    assert not any(entry["rejected"].values())
    assert [movie.tconst for movie in movies] == [row["tconst"] for row in rows]
    for field, column in {"year": "year", "rating": "rating", "votes": "votes", "runtime_minutes": "runtime"}.items():
        ours = [getattr(movie, field) for movie in movies]
        assert ours == [float(row[column]) if row[column] else None for row in rows], field
    for field in ("genres", "directors", "cast"):
        cells = [row[field].strip() for row in rows]
        lists = [
            ast.literal_eval(cell) if cell[:1] == "[" else re.split(r"\s*,(?!\s*(?:[JS]r\.|I+)(?:,|$))\s*", cell)
            for cell in cells
        ]
        expected = [[keep_ascii(part) for part in dict.fromkeys(parts) if part] for parts in lists]
        assert [list(map(keep_ascii, getattr(movie, field))) for movie in movies] == expected, field


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
