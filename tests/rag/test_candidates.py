import numpy as np
import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.candidates import MAX_CANDIDATES, CandidateRanker, find_wished_years
from moviebot.rag.titles import TitleIndex


@pytest.fixture(scope="module")
def ranker(movies: list[Movie]) -> CandidateRanker:
    return CandidateRanker(movies, TitleIndex(movies))


def test_never_offers_a_seed_or_a_movie_twice(ranker: CandidateRanker, movies: list[Movie]) -> None:
    for seed in range(len(movies)):
        rows = ranker.rank("something like it", [seed])
        assert rows
        assert seed not in rows
        assert len(set(rows)) == len(rows) <= MAX_CANDIDATES


def test_shared_people_come_first(ranker: CandidateRanker) -> None:
    assert ranker.rank("", [5])[0] == 6  # the sequel: same director, actor, genres
    assert 3 in ranker.rank("", [2])[:3]


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("I'm looking for a fantasy movie", 4),
        ("something funny", 8),
        ("an Ida Crane film please", 3),
        ("a Jun Mori film", 1),
        ("a film of 2014", 9),
        ("a crime story from the 50s", 2),
    ],
)
def test_wishes_without_a_movie(ranker: CandidateRanker, query: str, row: int) -> None:
    assert ranker.rank(query, [])[0] == row


def test_excluded_movies_stay_out(ranker: CandidateRanker, movies: list[Movie]) -> None:
    assert ranker.rank("", [0], exclude=range(1, len(movies))) == []


def test_the_embedding_counts(movies: list[Movie]) -> None:
    vectors = np.eye(len(movies), dtype=np.float32)
    vectors[7] = vectors[0]
    ranker = CandidateRanker(movies, TitleIndex(movies), vectors)
    assert ranker.rank("", [0])[0] in (1, 7)
    assert ranker.rank("surprise me", [], query_vector=vectors[4] * 5)[0] == 4


@pytest.mark.parametrize(
    ("query", "years"),
    [
        ("I loved thatmovie (1995). What else should I watch?", set()),
        ("I loved Hete (1995). What else should I watch?", set()),
        ("movies like thatmovie 1996 please", set()),  # a year beside the right one
        ("movies like thatmovie from 1995", set()),
        ("heta 1995 was great, what else?", set()),
        ("I loved thatmovie (1995). Something from 1995?", {1995}),
        ("I loved thatmovie, something of 2001", {2001}),
        ("I loved thatmovie. 2001 would be a good year", {2001}),
        ("a film of 2014", {2014}),
    ],
)
def test_a_year_that_names_a_movie_is_no_wish(query: str, years: set[int]) -> None:
    assert find_wished_years(query, {1995}) == years


def test_the_year_of_a_liked_movie_leaves_its_candidates_alone(ranker: CandidateRanker, movies: list[Movie]) -> None:
    for seed, movie in enumerate(movies):
        plain = ranker.rank("I loved thatmovie. What else?", [seed])
        assert ranker.rank(f"I loved thatmovie ({movie.year}). What else?", [seed]) == plain
