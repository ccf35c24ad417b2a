"""Which movies are taken for rivals, and which never."""

import numpy as np

from moviebot.data.hard_negatives import find_rivals, mine_rivals
from moviebot.data.schemas import Movie

FILMS = [
    Movie("tt1", "The Red Lantern", year=1931),
    Movie("tt2", "The Red Lantern", year=1987),
    Movie("tt3", "The Red Lantern", year=1987),  # reads the same as the one before
    Movie("tt4", "Red Lantern 2", year=1990),
    Movie("tt5", "The Bed Lantern", year=2001),
    Movie("tt6", "Salt and Thunder", year=2008),
]


def test_title_franchise_and_spelling_in_this_order() -> None:
    found = find_rivals(FILMS, {film.tconst for film in FILMS})
    assert found["tt1"] == ["tt2", "tt3", "tt4", "tt5"]
    assert "tt6" not in found


def test_a_movie_that_reads_the_same_is_no_rival() -> None:
    found = find_rivals(FILMS, {"tt2", "tt3"})
    assert found["tt2"] == found["tt3"] == ["tt1", "tt4", "tt5"]


def test_per_kind_limits_each_kind() -> None:
    assert find_rivals(FILMS, {"tt1"}, per_kind=1) == {"tt1": ["tt2"]}, "the same movie is the first of each kind"


def test_only_wanted_movies_are_looked_for() -> None:
    assert find_rivals(FILMS, {"tt5"}).keys() == {"tt5"}


def test_the_closest_are_mined_but_not_what_may_be_the_same_movie() -> None:
    angles = np.radians([0, 2, 30, 50, 100, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    mined = mine_rivals(vectors, [0, 5], 2)
    assert mined[0] == [2, 3], "2 degrees away is the same movie twice"
    assert mined[5] == [4], "what is not alike at all is no rival"
    assert mine_rivals(vectors, [0], 50)[0] == [2, 3]
