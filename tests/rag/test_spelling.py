import pytest
from hypothesis import given
from hypothesis import strategies as st

from moviebot.data.schemas import Movie
from moviebot.rag.spelling import LEAST_LIKENESS, SpellingIndex
from moviebot.rag.words import split_words

CATALOGUE = [
    Movie("tt0", "Night Ferry", year=1962),
    Movie("tt1", "The Night", year=1961),
    Movie("tt2", "Rocky II", year=1979),
    Movie("tt3", "Amélie", year=2001, akas=("Le Fabuleux Destin d'Amélie Poulain",)),
    Movie("tt4", "Redirected", year=2014),
]
SPELLINGS = SpellingIndex(CATALOGUE)


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("who directed nihgt fery", 0),
        ("runtime of ngiht ferry?", 0),
        ("night fferry cast", 0),
        ("who made rokcy 2", 2),
        ("how long is le fabuleux destn d'amelie poulain", 3),  # an alias
    ],
)
def test_finds_misspelt_titles(query: str, row: int) -> None:
    best = SPELLINGS.find(split_words(query))[0]
    assert best.row == row
    assert LEAST_LIKENESS < best.likeness <= 1


def test_common_words_are_no_misspellings() -> None:
    assert [found.row for found in SPELLINGS.find(split_words("who directed it?"))] == []


def test_an_empty_catalogue_and_an_empty_query_find_nothing() -> None:
    assert SpellingIndex([]).find(split_words("night ferry")) == []
    assert SPELLINGS.find([]) == []


@given(st.text(max_size=80))
def test_any_text_is_searched_without_a_fault(query: str) -> None:
    for found in SPELLINGS.find(split_words(query)):
        assert 0 <= found.first <= found.last < len(split_words(query))
