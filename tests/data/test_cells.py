import re
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moviebot.data.cells import FOLDED_ALIKE, normalise_titles, parse_cells, parse_genres, parse_texts, parse_titles
from moviebot.data.splits import normalise_title
from moviebot.data.values import parse_rating, parse_runtime, parse_text, parse_title, parse_votes, parse_year

WORDS = st.sampled_from(
    ["None", "nan", "NaN", "\\N", "N/A", "<na>", "Up", " ", "  ", "\t", "\x85", "\u3000", "é", "'", "’", "!"]
)
CELLS = st.lists(st.text(max_size=8) | st.lists(WORDS, max_size=3).map("".join), max_size=20)


@settings(deadline=None)
@given(CELLS)
def test_texts_agree_with_the_parsers(cells: list[str]) -> None:
    assert parse_titles(pa.array(cells, pa.string())).to_pylist() == [parse_title(cell) for cell in cells]
    assert parse_texts(pa.array(cells, pa.string())).to_pylist() == [parse_text(cell) for cell in cells]


def test_every_space_agrees() -> None:
    spaces = [chr(code) for code in range(sys.maxunicode) if chr(code).isspace()]
    cells = [f"a{space}{space}b" for space in spaces] + [f"a{space}" for space in spaces] + [f"{s}a" for s in spaces]
    assert len(spaces) > 20
    assert parse_titles(pa.array(cells)).to_pylist() == [parse_title(cell) for cell in cells]
    cells = [f"a{space}b" for space in spaces]
    assert parse_titles(pa.array(cells)).to_pylist() == ["a b"] * len(spaces)


@settings(deadline=None)
@given(CELLS)
def test_normalised_titles_agree(titles: list[str]) -> None:
    assert normalise_titles(pa.array(titles, pa.string())).to_pylist() == list(map(normalise_title, titles))


ALIKE = [chr(code) for code in range(0x10000) if re.match(f"[{FOLDED_ALIKE}]", chr(code))]


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from(ALIKE), max_size=8), max_size=20))
def test_normalised_titles_of_common_scripts_agree(titles: list[str]) -> None:
    assert normalise_titles(pa.array(titles, pa.string())).to_pylist() == list(map(normalise_title, titles))


def test_every_character_folded_by_arrow_normalises_alike() -> None:
    assert len(ALIKE) > 20_000
    titles = [f"A{char}b {char}" for char in ALIKE] + ALIKE
    assert normalise_titles(pa.array(titles)).to_pylist() == list(map(normalise_title, titles))


@pytest.mark.parametrize(
    ("parse", "kind"),
    [(parse_year, pa.int32()), (parse_runtime, pa.int32()), (parse_rating, pa.float64()), (parse_votes, pa.int64()),
     (parse_genres, pa.list_(pa.string()))],
)  # fmt: skip
def test_cells_agree_with_the_parsers(parse: Any, kind: Any) -> None:
    cells = [
        "1999",
        "\\N",
        "",
        "7.1",
        "0",
        "90 min",
        "1,234",
        "abc",
        "99999",
        "1999",
        "Drama,Crime",
        "nan,Drama",
        "0999",
    ]
    values, faults = parse_cells(pa.array(cells), parse, kind)
    for cell, value, fault in zip(cells, values.to_pylist(), faults.to_pylist(), strict=True):
        assert (value, fault) == _parse(parse, cell)


def _parse(parse: Any, cell: str) -> tuple[Any, str | None]:
    try:
        return parse(cell), None
    except ValueError as error:
        return None, str(error)
