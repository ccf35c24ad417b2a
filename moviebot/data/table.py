"""Any table of movies (TSV, CSV, Parquet, JSON lines) to movies."""

import ast
import hashlib
import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from moviebot.data.column import find_column_problems, find_field_problems, match_columns
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.data.table_file import SUFFIXES, Cell, find_suffix, flatten_list, read_columns, read_rows
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

log = logging.getLogger(__name__)
_COMMA = re.compile(r",(?!\s*(?:jr|sr|ii|iii|iv)\b\.?\s*(?:,|$))", re.I)  # "Robert Downey, Jr." is one person
# A table's numbers repeat: a dictionary is quicker than a pattern.
_parse_year = lru_cache(maxsize=1 << 12)(parse_year)
_parse_runtime = lru_cache(maxsize=1 << 12)(parse_runtime)
_parse_rating = lru_cache(maxsize=1 << 12)(parse_rating)
_parse_votes = lru_cache(maxsize=1 << 12)(parse_votes)


def read_table(path: Path, rejects: Rejects, columns: Mapping[str, str] | None = None) -> tuple[list[Movie], int]:
    """Read the movies of a table.

    Args:
        path: a file with one of :data:`SUFFIXES`. A row needs a title; a table without ids gets made-up ones.
        rejects: where rows that can't be read go.
        columns: the table's name for a field, where it is none of :data:`moviebot.data.column.SYNONYMS`.

    Returns:
        The movies in file order; and the number of data rows read.

    Raises:
        UserError: what :func:`find_table_problems` finds, all of it; or the file is damaged.
    """
    problems, unused = _inspect(path, columns)
    if problems:
        raise UserError("; ".join(problems))
    if unused:
        log.info("%s: column(s) not used: %s", path, ", ".join(unused))
    movies: dict[str, Movie] = {}
    rows = 0
    for row in read_rows(path, columns, rejects):
        rows += 1
        movie = _build_movie(row, rejects)
        if movie is not None and movie.tconst in movies:
            rejects.add("duplicate_id", movie.tconst, _show(row))
        elif movie is not None:
            movies[movie.tconst] = movie
    return list(movies.values()), rows + len(rejects.rows) - _count_built(rejects)


def find_table_problems(path: Path, columns: Mapping[str, str] | None = None) -> list[str]:
    """Return all that keeps a table from being read: its file, its columns, and what ``--columns`` says of them.

    Args:
        path: the table.
        columns: the table's column names by field.
    """
    return _inspect(path, columns)[0]


def _inspect(path: Path, columns: Mapping[str, str] | None) -> tuple[list[str], list[str]]:
    """Return a table's problems, and the columns that hold no field."""
    problems = find_field_problems(columns)
    if fault := _find_file_fault(path):
        return [fault, *problems], []
    try:
        names = read_columns(path, lambda seen: not find_column_problems(seen, columns))
    except UserError as error:
        return [str(error), *problems], []
    if names or find_suffix(path) != ".jsonl":  # lines that are all broken are counted, one by one
        problems += [f"--table {path} {problem}" for problem in find_column_problems(names, columns)]
    found = match_columns(names, columns)
    return problems, [name for name in names if name not in found.values()]


def _find_file_fault(path: Path) -> str | None:
    if not path.is_file():
        return f"--table {path} is not there: give a file ({', '.join(SUFFIXES)})"
    if find_suffix(path) is None:
        kind = path.suffix or "a name without an ending"
        return f"--table {path}: {kind} is not read: save it as one of {', '.join(SUFFIXES)}"
    if path.stat().st_size == 0:
        return f"--table {path} is empty: give a table with a header and at least one movie"
    with path.open("rb") as handle:
        utf16 = handle.read(2) in (b"\xff\xfe", b"\xfe\xff")
    return f"--table {path} is in UTF-16: save it as UTF-8" if utf16 else None


def split_cell(cell: Cell) -> tuple[str, ...]:
    """Split a cell that holds a list: a JSON (or Python) list, or parts set off by ``|`` or else by commas.

    Example:
        >>> split_cell("Joel Coen, Ethan Coen"), split_cell("Robert Downey, Jr.|Jude Law"), split_cell('["A", "B"]')
        (('Joel Coen', 'Ethan Coen'), ('Robert Downey, Jr.', 'Jude Law'), ('A', 'B'))
        >>> split_cell("Robert Downey, Jr., Jude Law")
        ('Robert Downey, Jr.', 'Jude Law')
        >>> split_cell('[{"id": 18, "name": "Drama"}, {"id": 36, "name": "History"}]')
        ('Drama', 'History')
    """
    return _split_text(cell) if isinstance(cell, str) else _clean_parts(cell)


@lru_cache(maxsize=1 << 14)  # genres, and directors of a table in order: the tuple is made once, and held once
def _split_text(cell: str) -> tuple[str, ...]:
    if cell.lstrip().startswith("["):
        return _clean_parts(flatten_list(_parse_list(cell)))
    return _clean_parts(cell.split("|") if "|" in cell else _COMMA.split(cell))


def _clean_parts(parts: list[str]) -> tuple[str, ...]:
    # The same names come again and again: one copy of each takes a third off a table's memory.
    return tuple(dict.fromkeys(sys.intern(text) for text in map(parse_text, parts) if text))


def _parse_list(cell: str) -> list[object]:
    for parse in (json.loads, ast.literal_eval):  # JSON's, with its null and true; Python's, with its single quotes
        try:
            value = parse(cell.strip())
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    raise ValueError(f"list {cell!r}")


def _build_movie(row: dict[str, Cell], rejects: Rejects) -> Movie | None:
    row = {field: cell if isinstance(cell, str) and cell.isascii() else _mend(cell) for field, cell in row.items()}
    text = {field: cell if isinstance(cell, str) else ", ".join(cell) for field, cell in row.items()}
    tconst, title = parse_text(text.get("tconst", "")), parse_title(text.get("title", ""))
    if title is None:
        rejects.add("no_title", tconst, _show(row))
        return None
    try:
        year = _parse_year(text.get("year", ""))
        description = parse_text(text.get("description", ""))
        return Movie(
            tconst=tconst or _make_id(title, year, text.get("directors", "")),
            title=title,
            original_title=parse_title(text.get("original_title", "")),
            year=year,
            runtime_minutes=_parse_runtime(text.get("runtime_minutes", "")),
            genres=split_cell(row.get("genres", "")),
            rating=_parse_rating(text.get("rating", "").replace(",", ".")),  # 8,3 is how much of Europe writes it
            votes=_parse_votes(text.get("votes", "")),
            directors=split_cell(row.get("directors", "")),
            cast=split_cell(row.get("cast", "")),
            description=description,
            description_source=(parse_text(text.get("description_source", "")) or "table") if description else None,
            akas=_drop_title(split_cell(row.get("akas", "")), title),
        )
    except ValueError as error:
        rejects.add("bad_value", tconst, f"{error}: {_show(row)}")
        return None


def _drop_title(akas: tuple[str, ...], title: str) -> tuple[str, ...]:
    return tuple(aka for aka in akas if normalise_title(aka) != normalise_title(title)) if akas else ()


def _mend(cell: Cell) -> Cell:
    return mend_mojibake(cell) if isinstance(cell, str) else [mend_mojibake(part) for part in cell]


def _make_id(title: str, year: int | None, directors: str) -> str:
    return "m" + hashlib.sha256(f"{title}\0{year}\0{directors}".encode()).hexdigest()[:12]


def _show(row: dict[str, Cell]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _count_built(rejects: Rejects) -> int:
    built = Counter(row["reason"] for row in rejects.rows)
    return built["no_title"] + built["bad_value"] + built["duplicate_id"]
