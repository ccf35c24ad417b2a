"""The rows of a table's file, whatever its format: TSV, CSV, JSON lines (each also as .gz) or Parquet.

Unlike IMDb's files, a person's table may lack its last newline and may be quoted. Rows are read one after the other;
only Parquet is read in batches.
"""

import csv
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from io import BufferedIOBase
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from moviebot.data.column import match_columns
from moviebot.data.rejects import Rejects
from moviebot.errors import UserError

SUFFIXES = (".tsv", ".csv", ".parquet", ".jsonl", ".tsv.gz", ".csv.gz", ".jsonl.gz")
DELIMITERS = (",", ";", "\t")  # a semicolon is what Excel writes where the comma is the decimal sign
SAMPLE_ROWS = 50

Cell = str | list[str]
_BAD_BYTE = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, as surrogateescape reads it
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)
csv.field_size_limit(1 << 24)  # Python's own limit, 128 KiB a cell, would stop at a long synopsis


def find_suffix(path: Path) -> str | None:
    """Return which of :data:`SUFFIXES` a file's name ends in, without ``.gz``; None for another kind."""
    name = path.name.lower()
    return next((suffix.removesuffix(".gz") for suffix in SUFFIXES if name.endswith(suffix)), None)


def read_columns(path: Path, is_enough: Callable[[list[str]], bool]) -> list[str]:
    """Return a table's column names.

    Args:
        path: a file with one of :data:`SUFFIXES`, not empty.
        is_enough: says whether the names found so far will do; rows of JSON lines are read until then.

    Raises:
        UserError: the file can't be read.
    """
    suffix = find_suffix(path)
    if suffix == ".parquet":
        return list(_open_parquet(path).schema_arrow.names)
    try:
        if suffix == ".jsonl":
            return _read_keys(path, is_enough)
        with _open_text(path) as handle:
            delimiter = detect_delimiter(path)
            return _read_header(_parse_lines(handle, delimiter), delimiter)
    except csv.Error as error:
        raise UserError(f"--table {path}, line 1: {error}: mend its quotes, or save it as .tsv or .parquet") from error
    except _BAD_GZIP as error:
        raise _report_bad_gzip(path, error) from error


def read_rows(path: Path, given: Mapping[str, str] | None, rejects: Rejects) -> Iterator[dict[str, Cell]]:
    """Yield a table's rows by field.

    Args:
        path: a file with one of :data:`SUFFIXES`, not empty.
        given: what ``--columns`` says.
        rejects: where rows that can't be read go.

    Raises:
        UserError: the file is damaged in a way that leaves no rows to go on with.
    """
    suffix = find_suffix(path)
    try:
        if suffix == ".parquet":
            yield from _read_parquet(path, given)
        elif suffix == ".jsonl":
            match_row = lru_cache(maxsize=1024)(lambda keys: match_columns(keys, given))
            for row in _read_json(path, rejects):
                yield {field: _to_cell(row[column]) for field, column in match_row(tuple(row)).items()}
        else:
            yield from _read_delimited(path, given, rejects)
    except _BAD_GZIP as error:
        raise _report_bad_gzip(path, error) from error


def detect_delimiter(path: Path) -> str:
    """Return what sets off the cells: the one that its ending promises, unless another fits more of the first rows.

    A row fits where it has as many cells as the header, and the header has two at least.
    """
    usual = "\t" if find_suffix(path) == ".tsv" else ","
    fitting = {usual: _count_fitting(path, usual)}
    fitting |= {other: _count_fitting(path, other) for other in DELIMITERS if other != usual}
    return max(fitting, key=lambda delimiter: fitting[delimiter])  # the usual one stands first, and wins a tie


def _count_fitting(path: Path, delimiter: str) -> int:
    fitting = 0
    width = 0
    with _open_text(path) as handle:
        try:
            for cells in itertools.islice(_parse_lines(handle, delimiter), SAMPLE_ROWS):
                width = width or len(cells)
                fitting += width > 1 and len(cells) == width
        except (csv.Error, *_BAD_GZIP):
            pass  # with this delimiter, quotes stand where none may; what is wrong with the file shows when it is read
    return fitting


def _report_bad_gzip(path: Path, error: Exception) -> UserError:
    return UserError(f"--table {path} is not a whole gzip file ({error}): write it again")


def _open_bytes(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _open_text(path: Path) -> TextIO:
    # surrogateescape: one byte that is not UTF-8 costs its row, not the file.
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _parse_lines(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    # A TSV's quotes are often unbalanced (IMDb's are), so there they are text; a CSV can't do without quoting.
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    return filter(None, reader)


def _read_header(rows: Iterator[list[str]], delimiter: str) -> list[str]:
    header = next(rows, [])
    return [cell.strip('"') for cell in header] if delimiter == "\t" else header


def _read_delimited(path: Path, given: Mapping[str, str] | None, rejects: Rejects) -> Iterator[dict[str, Cell]]:
    delimiter = detect_delimiter(path)
    lines = 0
    line = ""

    def note_lines(handle: Iterable[str]) -> Iterator[str]:
        nonlocal lines, line
        for line in handle:
            lines += 1
            yield line

    with _open_text(path) as handle:
        rows = _parse_lines(note_lines(handle), delimiter)
        header = _read_header(rows, delimiter)
        places = {field: header.index(column) for field, column in match_columns(header, given).items()}
        last: list[str] | None = None
        try:
            for cells in rows:
                if last is not None and _is_sound(last, len(header), rejects, cut=False):
                    yield _pick(last, places, delimiter)
                last = cells
        except csv.Error as error:
            raise UserError(
                f"--table {path}, line {lines}: {error}: mend its quotes, or save it as .tsv or .parquet"
            ) from error
        if last is not None and _is_sound(last, len(header), rejects, cut=not line.endswith(("\n", "\r"))):
            yield _pick(last, places, delimiter)


def _is_sound(cells: list[str], width: int, rejects: Rejects, *, cut: bool) -> bool:
    raw = "\t".join(cells)
    if len(cells) != width:
        rejects.add("cut_line" if cut and len(cells) < width else "bad_row", None,
                    f"{len(cells)} fields, not {width}: {raw}")  # fmt: skip
        return False
    if not raw.isascii() and _BAD_BYTE.search(raw):
        rejects.add("not_utf8", None, raw)
        return False
    return True


def _pick(cells: list[str], places: dict[str, int], delimiter: str) -> dict[str, Cell]:
    if delimiter == "\t":
        return {field: _unquote(cells[place]) for field, place in places.items()}
    return {field: cells[place] for field, place in places.items()}


def _unquote(cell: str) -> str:
    """Undo the quoting of a CSV writer in a TSV cell: it quotes a cell with quotes in it and doubles them."""
    if cell[:1] == '"' and len(cell) > 2 and cell[-1] == '"' and '""' in cell[1:-1]:
        inner = cell[1:-1].replace('""', "\0")
        if '"' not in inner:
            return inner.replace("\0", '"')
    return cell


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"--table {path} is not a whole Parquet file: write it again") from error


def _read_parquet(path: Path, given: Mapping[str, str] | None) -> Iterator[dict[str, Cell]]:
    with closing(_open_parquet(path)) as table:
        columns = match_columns(table.schema_arrow.names, given)
        try:
            for batch in table.iter_batches(columns=list(dict.fromkeys(columns.values())), batch_size=4096):
                for row in batch.to_pylist():
                    yield {field: _to_cell(row[column]) for field, column in columns.items()}
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"--table {path} is not a whole Parquet file: write it again") from error


def _read_json(path: Path, rejects: Rejects) -> Iterator[dict[str, object]]:
    with _open_bytes(path) as handle:
        for line in handle:
            text = line.decode("utf-8", "surrogateescape").lstrip("\ufeff").strip()
            if not text:
                continue
            if not text.isascii() and _BAD_BYTE.search(text):
                rejects.add("not_utf8", None, text)
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):  # ValueError: not JSON, or a number of thousands of digits
                row = None
            if not isinstance(row, dict):
                rejects.add("bad_row" if line.endswith(b"\n") else "cut_line", None, text)
            elif "\\u" in text and _HALF_PAIR.search(json.dumps(row, ensure_ascii=False)):  # by JSON's escapes
                rejects.add("not_utf8", None, text)
            else:
                yield row


def _read_keys(path: Path, is_enough: Callable[[list[str]], bool]) -> list[str]:
    seen: dict[str, None] = {}
    for row in _read_json(path, Rejects("catalogue")):
        if not row.keys() <= seen.keys():
            seen.update(dict.fromkeys(row))
            if is_enough(list(seen)):
                break
    return list(seen)


def flatten_list(values: list[object]) -> list[str]:
    """Return a list's values as text: of an object its name, of a list its values; null is left out.

    Example:
        >>> flatten_list([{"id": 18, "name": "Drama"}, ["War", None], 1917])
        ['Drama', 'War', '1917']
    """
    flat = itertools.chain.from_iterable(value if isinstance(value, list) else [value] for value in values)
    named = (value.get("name") if isinstance(value, dict) and "name" in value else value for value in flat)
    return [_to_text(value) for value in named if value is not None]


def _to_cell(value: object) -> Cell:
    if value is None:
        return ""
    return flatten_list(value) if isinstance(value, list) else _to_text(value)


def _to_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
