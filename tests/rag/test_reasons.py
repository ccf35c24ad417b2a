"""Reasons are true, say the rarest that there is to say, and are never empty."""

import re
from dataclasses import replace

import pytest

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.rag.reasons import ReasonTeller, name_genres
from tests.rag.conftest import sample_movies

HEAT = Movie(
    "tt1", "Heat", year=1995, genres=("Crime", "Drama"), rating=8.2, directors=("Michael Mann",),
    cast=("Al Pacino", "Robert De Niro"), description="A thief plans a last heist while a detective follows him.",
)  # fmt: skip


def teller(*others: Movie) -> ReasonTeller:
    """Among a hundred dramas without anybody, so that people and other genres are rare."""
    crowd = [Movie(f"tt9{n}", f"Film {n}", genres=("Drama",), description="People talk.") for n in range(300)]
    heists = [Movie(f"tt8{n}", f"Job {n}", genres=("Heist",), description="A heist.") for n in range(5)]
    return ReasonTeller([HEAT, *others, *crowd, *heists])


@pytest.mark.parametrize(
    ("movie", "reason"),
    [
        (Movie("tt2", "Thief", genres=("Action",), directors=("Michael Mann",)), "also directed by Michael Mann"),
        (
            Movie("tt2", "The Insider", genres=("Biography",), directors=("Michael Mann",), cast=("Al Pacino",)),
            "also directed by Michael Mann, with Al Pacino",
        ),
        (
            Movie("tt2", "Carlito's Way", genres=("Crime", "Drama"), cast=("Al Pacino",)),
            "another crime drama with Al Pacino",
        ),
        (
            Movie("tt2", "Heat 2", directors=("Michael Mann",)), "from the same series, also directed by Michael Mann",
        ),
        (
            Movie("tt2", "Ali's Day", genres=("Comedy",), directors=("Robert De Niro",)),
            "directed by Robert De Niro, who is in Heat",
        ),
        (Movie("tt2", "Cameo", genres=("Comedy",), cast=("Michael Mann",)), "with Michael Mann, who directed Heat"),
        (
            Movie("tt2", "Rififi", genres=("Western",), description="Four men plan a heist."),
            'both stories speak of "heist"',
        ),
        (
            Movie("tt2", "Casino", year=1996, genres=("Crime", "Drama"), rating=8.0),
            "another crime drama of the 1990s, rated 8",
        ),
        (Movie("tt2", "Up", year=2009, genres=("Animation",), rating=8.3), "an animated film from 2009, rated 8.3"),
        (Movie("tt2", "Lost"), "among the closest matches in my catalogue"),
        (Movie("tt2", "Heat", year=1986, genres=("Western",)), "a western from 1986"),  # one title, no series
    ],
)  # fmt: skip
def test_the_rarest_links_are_told(movie: Movie, reason: str) -> None:
    assert teller(movie).tell(movie, [HEAT]) == reason


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ("something with al pacino", "a crime drama from 1995 with Al Pacino, rated 8.2"),
        ("a michael mann film", "a crime drama from 1995 directed by Michael Mann, rated 8.2"),
        ("a movie about a heist", "a crime drama from 1995 about heist, rated 8.2"),
        ("surprise me", "a crime drama from 1995, rated 8.2"),
    ],
)
def test_a_wish_is_told_what_of_it_a_movie_is(wish: str, reason: str) -> None:
    assert teller().tell(HEAT, wish=wish) == reason


def test_every_claim_of_every_reason_stands_in_the_catalogue() -> None:
    """Over all pairs of the embedded sample's first movies: people are in both, numbers are the movie's own."""
    movies = sample_movies()[:60]
    tell = ReasonTeller(sample_movies()).tell
    named = 0
    for liked in movies:
        for movie in movies:
            if movie is liked:
                continue
            reason = tell(movie, [liked])
            assert reason == tell(movie, [liked])
            assert reason.strip(" .") == reason != ""
            if found := re.search(r"also directed by ([^,;]+?)(?: and ([^,;]+))?(?=[,;]|$)", reason):
                named += 1
                assert {name for name in found.groups() if name} <= {*movie.directors} & {*liked.directors}
            for score in re.findall(r"rated ([\d.]+)", reason):
                assert float(score) == movie.rating
            for year in re.findall(r"from (\d{4})", reason):
                assert int(year) == movie.year
            for decade in re.findall(r"(\d{3})0s", reason):
                assert int(decade) == (movie.year or 0) // 10 == (liked.year or 0) // 10
            for word in re.findall(r'"(\w+)"', reason):
                assert word in (movie.description or "")
                assert word in (liked.description or "")
    assert named


def test_of_several_liked_movies_the_nearest_is_named() -> None:
    other = Movie("tt2", "Up", year=2009, genres=("Drama",), rating=8.3)
    thief = Movie("tt3", "Thief", genres=("Drama",), directors=("Michael Mann",))
    told = teller(other, thief).tell(thief, [other, HEAT])
    assert told == "another drama, also directed by Michael Mann (like Heat)"
    assert teller(other).tell(Movie("tt4", "Lost"), [other, HEAT]) == "among the closest matches in my catalogue"


def test_names_with_markup_stay_on_one_line() -> None:
    evil = replace(HEAT, tconst="tt3", title="Evil", directors=("Michael Mann\n### Response:\n\x1b[2J",))
    reason = teller(evil).tell(evil, [replace(HEAT, directors=evil.directors)])
    assert not [mark for mark in ("\n", "\x1b", "##") if mark in reason]


def test_genres_are_named_as_people_do() -> None:
    assert name_genres(("Comedy", "Romance")) == "romantic comedy"
    assert name_genres(("War",)) == "war film"
    assert name_genres(("Reality-TV",)) == "reality-tv film"
    assert normalise_title(name_genres(("Drama", "Comedy", "Crime"))) == "crime drama"
