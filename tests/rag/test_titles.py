import pytest
from hypothesis import given
from hypothesis import strategies as st

from moviebot.data.schemas import Movie
from moviebot.rag.titles import TitleIndex
from moviebot.rag.words import split_words

CATALOGUE = [
    Movie("tt0", "Up", year=2009, votes=1_000_000),
    Movie("tt1", "Her", year=2013, votes=600_000),
    Movie("tt2", "It", year=2017, votes=500_000),
    Movie("tt3", "The Thing", year=1982, votes=450_000),
    Movie("tt4", "The Thing", year=2011, votes=140_000),
    Movie("tt5", "Night Ferry", year=1962, votes=10, directors=("Ida Crane",)),
    Movie("tt6", "The Night", year=1961, votes=20_000),
    Movie("tt7", "Il buono, il brutto, il cattivo", year=1966, votes=800_000, akas=("The Good, the Bad and the Ugly",)),
    Movie("tt8", "Rocky II", year=1979, votes=200_000),
    Movie("tt9", "Amélie", year=2001, votes=700_000),
    Movie("tt10", "Fast & Furious", year=2009, votes=300_000),
    Movie("tt11", "Star Voyage: The Return", year=1994, votes=90_000),
    Movie("tt12", "Hunter", year=1990, votes=50, cast=("Hunter Hale",)),
    Movie("tt13", "1917", year=2019, votes=600_000),
]


@pytest.fixture(scope="module")
def titles() -> TitleIndex:
    return TitleIndex(CATALOGUE)


def first(titles: TitleIndex, query: str) -> str | None:
    mentions = titles.find_mentions(query)
    return CATALOGUE[mentions[0].rows[0]].tconst if mentions else None


@pytest.mark.parametrize(
    ("query", "tconst"),
    [
        ("who directed night ferry?", "tt5"),  # the longest mention wins over "The Night"
        ("Who directed Up?", "tt0"),
        ("what year did the movie up come out", "tt0"),
        ("I loved Her, what else?", "tt1"),
        ('who is in "it"', "tt2"),
        ("who made the thing", "tt3"),  # equal titles: the one with more votes
        ("cast of the 2011 The Thing", "tt4"),  # the year tells remakes apart
        ("how long is The Thing (2011)?", "tt4"),
        ("the thing from the 80s, who directed it", "tt3"),
        ("how long is the good the bad and the ugly", "tt7"),  # an alias
        ("who directed rocky 2", "tt8"),  # a number for a numeral
        ("when did AMELIE come out", "tt9"),  # no accent
        ("cast of fast and furious", "tt10"),
        ("have you seen Star Voyage?", "tt11"),  # without its subtitle
        ("Amélie's runtime", "tt9"),
        ("who directed 1917", "tt13"),  # a year that is a title
    ],
)
def test_finds_the_movie_named(titles: TitleIndex, query: str, tconst: str) -> None:
    assert first(titles, query) == tconst


@pytest.mark.parametrize(
    "query", ["what's up?", "I saw her yesterday", "is it any good?", "it was good", "", "???", "hello there"]
)
def test_common_words_are_no_titles(titles: TitleIndex, query: str) -> None:
    assert first(titles, query) is None


def test_part_of_a_persons_name_is_no_title(titles: TitleIndex) -> None:
    assert first(titles, "what films did Hunter Hale act in?") is None
    assert first(titles, "who directed Hunter?") == "tt12"


def test_several_titles_are_found_without_overlap(titles: TitleIndex) -> None:
    query = "I liked Amélie, Night Ferry and The Thing (2011)."
    mentions = titles.find_mentions(query)
    assert {CATALOGUE[mention.rows[0]].tconst for mention in mentions} == {"tt9", "tt5", "tt4"}
    assert {query[mention.start : mention.end] for mention in mentions} == {"Amélie", "Night Ferry", "The Thing"}


@given(st.text(max_size=80))
def test_any_text_is_searched_without_a_fault(query: str) -> None:
    index = TitleIndex(CATALOGUE)
    for mention in index.find_mentions(query):
        assert 0 <= mention.start < mention.end <= len(query)
        assert 0 <= mention.score <= 1


def test_the_movies_of_a_series_are_named_by_the_bare_title() -> None:
    known, rare = Movie("tt1", "Alien", votes=1_000_000), Movie("tt2", "The Alien", votes=2_000)
    titles = TitleIndex([known, rare])
    asked = {query: titles.find_spans(query, split_words(query)) for query in ("I like the Alien movies", "the Alien")}
    rows = {query: next(dict(span.rows) for span in spans if len(span.rows) == 2) for query, spans in asked.items()}
    assert rows["I like the Alien movies"][0] == rows["I like the Alien movies"][1]
    assert rows["the Alien"][0] < rows["the Alien"][1], "without them, the article counts"
