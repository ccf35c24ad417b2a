r"""Columns of cells to typed facts, with the parsers of ``values.py``, at the speed of Arrow.

Nothing is parsed by a second set of rules: a column of few distinct values is parsed once a value; in a column of
titles or names only the cells that a parser could change or refuse are given to it.
"""

from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from moviebot.data.splits import normalise_title
from moviebot.data.values import parse_text, parse_title

Value = TypeVar("Value")
# What str.split() splits at, but for the plain space.
_SPACES = r"\t-\r\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_UNTIDY = rf"^$|^\\N$|^ | $|  |[{_SPACES}]"
_PERHAPS_ABSENT = rf"{_UNTIDY}|(?i:^(?:\\n|nan|none|null|n/a|na|<na>)$)"

# Characters, within ASCII and the commonest scripts of titles, that Arrow and Python fold alike: a test tries them all.
FOLDED_ALIKE = r"\x00-\x7fÀ-ÖØ-Þà-öø-ÿЀ-џぁ-ゖァ-ヺー一-鿿"
_MARKS = r"\x{300}-\x{36f}\x{3099}\x{309a}"  # what NFKD splits off these letters


def parse_cells(
    cells: "pa.Array", parse: Callable[[str], Value | None], kind: "pa.DataType"
) -> "tuple[pa.Array, pa.Array]":
    """Parse a column that holds each of its values many times.

    Args:
        cells: text, ``(N,)``.
        parse: gives the value of a cell, None where it is absent; raises ValueError where it can't be right.
        kind: the values' type.

    Returns:
        The values, ``(N,)``, null where absent or wrong; and what is wrong with each, null where nothing is.

    Example:
        >>> from moviebot.data.values import parse_year
        >>> values, faults = parse_cells(pa.array(["1999", "abc", "1999"]), parse_year, pa.int32())
        >>> values.to_pylist(), faults.to_pylist()
        ([1999, None, 1999], [None, "year 'abc'", None])
    """
    encoded = cells.dictionary_encode()
    values: list[Value | None] = []
    faults: list[str | None] = []
    for cell in encoded.dictionary.to_pylist():
        try:
            values.append(parse(cell))
            faults.append(None)
        except ValueError as error:
            values.append(None)
            faults.append(str(error))
    return pa.array(values, kind).take(encoded.indices), pa.array(faults, pa.string()).take(encoded.indices)


def parse_genres(cell: str) -> list[str]:
    """Return the genres of a cell, which commas set apart."""
    return [genre for genre in map(parse_text, cell.split(",")) if genre]


def parse_titles(cells: "pa.Array") -> "pa.Array":
    """Return :func:`moviebot.data.values.parse_title` of each cell."""
    return _parse_some(cells, pc.match_substring_regex(cells, _UNTIDY), parse_title)


def parse_texts(cells: "pa.Array") -> "pa.Array":
    """Return :func:`moviebot.data.values.parse_text` of each cell."""
    return _parse_some(cells, pc.match_substring_regex(cells, _PERHAPS_ABSENT), parse_text)


def normalise_titles(titles: "pa.Array") -> "pa.Array":
    """Return :func:`moviebot.data.splits.normalise_title` of each title.

    Example:
        >>> normalise_titles(pa.array(["Léon!", "Schindler's List", "?"])).to_pylist()
        ['leon', 'schindlers list', '?']
    """
    plain = pc.utf8_normalize(pc.utf8_lower(titles), form="NFKD")
    plain = pc.replace_substring_regex(plain, f"['{_MARKS}]+", "")
    plain = pc.ascii_trim(pc.replace_substring_regex(plain, r"[^\p{L}\p{N}]+", " "), " ")
    simple = pc.and_(pc.invert(pc.match_substring_regex(titles, f"[^{FOLDED_ALIKE}]")), pc.not_equal(plain, ""))
    rest = pa.array([normalise_title(title) for title in titles.filter(pc.invert(simple)).to_pylist()], pa.string())
    return pc.replace_with_mask(plain, pc.invert(simple), rest)


def _parse_some(cells: "pa.Array", doubtful: "pa.Array", parse: Callable[[str], str | None]) -> "pa.Array":
    chosen = cells.filter(doubtful).to_pylist()
    return pc.replace_with_mask(cells, doubtful, pa.array(list(map(parse, chosen)), pa.string())) if chosen else cells
