"""Any table of movies (TSV, CSV, Parquet, JSON lines) to movies; columns are found by the names people give them.

Unlike IMDb's files, a person's table may lack its last newline and may be quoted; it is small enough (a million rows)
to be read in one go.
"""

import ast
import csv
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.data.values import (
    mend_mojibake,
    parse_rating,
    parse_runtime,
    parse_text,
    parse_title,
    parse_votes,
    parse_year,
)
from moviebot.errors import UserError

SUFFIXES = (".tsv", ".csv", ".parquet", ".jsonl")
SYNONYMS: dict[str, tuple[str, ...]] = {
    "tconst": ("tconst", "imdbid", "id", "movieid", "titleid"),
    "title": ("title", "primarytitle", "movietitle", "name", "movie", "film"),
    "original_title": ("originaltitle",),
    "year": ("year", "startyear", "releaseyear", "releasedate", "released"),
    "runtime_minutes": ("runtimeminutes", "runtime", "runtimeinminutes", "runtimemin", "duration", "minutes", "length"),
    "genres": ("genres", "genre"),
    "rating": ("rating", "averagerating", "imdbrating", "voteaverage", "score"),
    "votes": ("votes", "numvotes", "imdbvotes", "votecount"),
    "directors": ("directors", "director", "directedby"),
    "cast": ("cast", "actors", "stars", "starring"),
    "description": ("description", "overview", "plot", "synopsis", "summary", "outline", "storyline"),
    "description_source": ("descriptionsource",),
    "akas": ("akas", "aka", "alternativetitles", "alsoknownas"),
}
"""Column names understood, by field, best first; case, spaces and punctuation do not matter."""

Cell = str | list[str]
log = logging.getLogger(__name__)
csv.field_size_limit(1 << 24)  # Python's own limit, 128 KiB a cell, would stop at a long synopsis


def read_table(path: Path, rejects: Rejects) -> tuple[list[Movie], int]:
    """Read the movies of a table.

    Args:
        path: a file with one of :data:`SUFFIXES`. A row needs a title; a table without ids gets made-up ones.
        rejects: where rows that can't be read go.

    Returns:
        The movies in file order; and the number of data rows read.

    Raises:
        UserError: the file is absent, empty, of another kind, or has no column of titles.
    """
    if not path.is_file():
        raise UserError(f"--table {path} is not there: give a file ({', '.join(SUFFIXES)})")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--table {path}: {path.suffix or 'a name without an ending'} is not read: save it as one of "
                        f"{', '.join(SUFFIXES)}")  # fmt: skip
    if path.stat().st_size == 0:
        raise UserError(f"--table {path} is empty: give a table with a header and at least one movie")
    movies: dict[str, Movie] = {}
    rows = 0
    for row in _read_rows(path, rejects):
        rows += 1
        movie = _build_movie(row, rejects)
        if movie is not None and movie.tconst in movies:
            rejects.add("duplicate_id", movie.tconst, _show(row))
        elif movie is not None:
            movies[movie.tconst] = movie
    return list(movies.values()), rows + len(rejects.rows) - _count_built(rejects)


def map_columns(columns: Sequence[str], path: Path) -> dict[str, str]:
    """Return which column holds which field.

    Args:
        columns: the table's column names.
        path: the table, for messages.

    Raises:
        UserError: no column of titles.

    Example:
        >>> map_columns(["ID", "Movie Title", "Runtime (in minutes)", "plot"], Path("t.csv"))
        {'tconst': 'ID', 'title': 'Movie Title', 'runtime_minutes': 'Runtime (in minutes)', 'description': 'plot'}
    """
    by_name: dict[str, str] = {}
    for column in columns:
        by_name.setdefault(re.sub(r"[^a-z0-9]", "", column.casefold()), column)
    found = {
        field: next(by_name[name] for name in names if name in by_name)
        for field, names in SYNONYMS.items()
        if any(name in by_name for name in names)
    }
    if "title" not in found:
        raise UserError(
            f"--table {path} has no column of titles (it has {', '.join(map(repr, columns))[:200]}): name one of them "
            "'title'"
        )
    unused = [column for column in columns if column not in found.values()]
    if unused:
        log.info("%s: column(s) not used: %s", path, ", ".join(unused))
    return found


def split_cell(cell: Cell) -> tuple[str, ...]:
    """Split a cell that holds a list: a JSON (or Python) list, or parts set off by ``|`` or else by commas.

    Example:
        >>> split_cell("Joel Coen, Ethan Coen"), split_cell("Robert Downey, Jr.|Jude Law"), split_cell('["A", "B"]')
        (('Joel Coen', 'Ethan Coen'), ('Robert Downey, Jr.', 'Jude Law'), ('A', 'B'))
    """
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = [str(part) for part in ast.literal_eval(cell.strip())]  # JSON's arrays of strings are Python's too
        except (ValueError, SyntaxError, TypeError, RecursionError) as error:
            raise ValueError(f"list {cell!r}") from error
    parts = cell if isinstance(cell, list) else cell.split("|" if "|" in cell else ",")
    return tuple(dict.fromkeys(text for text in map(parse_text, parts) if text))


def _read_rows(path: Path, rejects: Rejects) -> Iterator[dict[str, Cell]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _read_parquet(path)
    elif suffix == ".jsonl":
        yield from _read_json_lines(path, rejects)
    else:
        yield from _read_delimited(path, "\t" if suffix == ".tsv" else ",", rejects)


def _read_delimited(path: Path, delimiter: str, rejects: Rejects) -> Iterator[dict[str, Cell]]:
    # surrogateescape: one byte that is not UTF-8 costs its row, not the file.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        # A TSV's quotes are often unbalanced (IMDb's are), so there they are text; a CSV can't do without quoting.
        if delimiter == "\t":
            reader = csv.reader(handle, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
        else:
            reader = csv.reader(handle, delimiter=delimiter, strict=True)
        header = next(reader, [])
        columns = map_columns(header, path)
        cut_short = not _ends_with_newline(path)
        last: list[str] | None = None
        try:
            for cells in reader:
                if last is not None:
                    yield from _pick(last, header, columns, rejects, cut=False)
                last = cells or None
        except csv.Error as error:
            raise UserError(
                f"--table {path}, line {reader.line_num}: {error}: mend its quotes, or save it as .tsv or .parquet"
            ) from error
        if last is not None:
            yield from _pick(last, header, columns, rejects, cut=cut_short)


def _pick(
    cells: list[str], header: list[str], columns: dict[str, str], rejects: Rejects, *, cut: bool
) -> Iterator[dict[str, Cell]]:
    raw = "\t".join(cells)
    if len(cells) != len(header):
        rejects.add("cut_line" if cut and len(cells) < len(header) else "bad_row", None,
                    f"{len(cells)} fields, not {len(header)}: {raw}")  # fmt: skip
    elif any("\udc80" <= char <= "\udcff" for char in raw):
        rejects.add("not_utf8", None, raw)
    else:
        by_column = dict(zip(header, cells, strict=True))
        yield {field: mend_mojibake(_unquote(by_column[column])) for field, column in columns.items()}


def _unquote(cell: str) -> str:
    """Undo the quoting of a CSV writer in a TSV cell: it quotes a cell with quotes in it and doubles them."""
    if len(cell) > 2 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1]:
        inner = cell[1:-1].replace('""', "\0")
        if '"' not in inner:
            return inner.replace("\0", '"')
    return cell


def _read_parquet(path: Path) -> Iterator[dict[str, Cell]]:
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"--table {path} is not a whole Parquet file: write it again") from error
    columns = map_columns(table.schema_arrow.names, path)
    for batch in table.iter_batches(columns=list(dict.fromkeys(columns.values()))):
        for row in batch.to_pylist():
            yield {field: _to_cell(row[column]) for field, column in columns.items()}


def _read_json_lines(path: Path, rejects: Rejects) -> Iterator[dict[str, Cell]]:
    columns: dict[str, str] | None = None
    with path.open("rb") as handle:
        for line in handle:
            text = line.decode("utf-8", "surrogateescape").strip()
            if not text:
                continue
            if any("\udc80" <= char <= "\udcff" for char in text):
                rejects.add("not_utf8", None, text)
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):  # ValueError: not JSON, or a number of thousands of digits
                row = None
            if not isinstance(row, dict):
                rejects.add("bad_row" if line.endswith(b"\n") else "cut_line", None, text)
                continue
            shown = json.dumps(row, ensure_ascii=False)
            if any("\ud800" <= char <= "\udfff" for char in shown):  # half a surrogate pair, by JSON's escapes
                rejects.add("not_utf8", None, text)
                continue
            # The first row may lack an absent fact's key: look again where a row has keys not seen yet.
            if columns is None or not set(row) <= set(columns.values()):
                columns = map_columns(list(dict.fromkeys([*(columns or {}).values(), *row])), path)
            yield {field: _to_cell(row.get(column)) for field, column in columns.items()}


def _to_cell(value: object) -> Cell:
    if value is None:
        return ""
    if isinstance(value, list):
        return [str(part) for part in value if part is not None]
    return str(value)


def _build_movie(row: dict[str, Cell], rejects: Rejects) -> Movie | None:
    text = {field: cell if isinstance(cell, str) else ", ".join(cell) for field, cell in row.items()}
    tconst, title = parse_text(text.get("tconst", "")), parse_title(text["title"])
    if title is None:
        rejects.add("no_title", tconst, _show(row))
        return None
    try:
        year = parse_year(text.get("year", ""))
        description = parse_text(text.get("description", ""))
        return Movie(
            tconst=tconst or _make_id(title, year, text.get("directors", "")),
            title=title,
            original_title=parse_title(text.get("original_title", "")),
            year=year,
            runtime_minutes=parse_runtime(text.get("runtime_minutes", "")),
            genres=split_cell(row.get("genres", "")),
            rating=parse_rating(text.get("rating", "")),
            votes=parse_votes(text.get("votes", "")),
            directors=split_cell(row.get("directors", "")),
            cast=split_cell(row.get("cast", "")),
            description=description,
            description_source=(parse_text(text.get("description_source", "")) or "table") if description else None,
            akas=tuple(
                aka for aka in split_cell(row.get("akas", "")) if normalise_title(aka) != normalise_title(title)
            ),
        )
    except ValueError as error:
        rejects.add("bad_value", tconst, f"{error}: {_show(row)}")
        return None


def _make_id(title: str, year: int | None, directors: str) -> str:
    return "m" + hashlib.sha256(f"{title}\0{year}\0{directors}".encode()).hexdigest()[:12]


def _show(row: dict[str, Cell]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read(1) == b"\n"


def _count_built(rejects: Rejects) -> int:
    built = Counter(row["reason"] for row in rejects.rows)
    return built["no_title"] + built["bad_value"] + built["duplicate_id"]
