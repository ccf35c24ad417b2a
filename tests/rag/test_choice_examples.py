import random
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.rag.choice_examples import find_neighbours, list_small_talk, make_queries, reword
from tests.rag.conftest import sample_movies

TALE = "A lonely thief robs the harbour bank while his brother waits aboard a burning ship near the frozen coast."


def encode_by_length(words: Sequence[str]) -> NDArray[np.float32]:
    """Words of like length lie near each other."""
    angles = np.array([0.1 * len(word) for word in words], dtype=np.float32)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_neighbours_are_near_and_not_of_one_stem() -> None:
    texts = ("sailor sailed sails storms castle bridge", "bride bridal harbour lantern thunder rivers", "cat dogs")
    near = find_neighbours([Movie(f"tt{n}", "A", description=text) for n, text in enumerate(texts)], encode_by_length)
    assert "sailed" not in near["sailor"]
    assert {"castle", "bridge"} <= set(near["sailor"])
    assert near["cat"][0] == "dogs"
    assert all(word not in others and len(others) <= 8 for word, others in near.items())


@pytest.mark.parametrize("text", [None, "", "two words"])
def test_few_words_have_no_neighbours(text: str | None) -> None:
    assert find_neighbours([Movie("tt1", "A", description=text)], encode_by_length) == {}


def test_reworded_plots_keep_their_length_and_lose_words() -> None:
    near = {word: ["other"] for word in TALE.lower().strip(".").split()}
    told = reword(TALE, near, [], random.Random(0))
    assert len(told.split()) == len(TALE.split())
    assert 0.5 < told.split().count("other") / len(TALE.split()) < 1.0
    assert reword(TALE, {}, [], random.Random(0)) == TALE


def test_queries_name_what_they_mean_and_repeat_for_a_seed() -> None:
    movies = sample_movies()
    asked = make_queries(movies, range(len(movies)), 600, seed=1)
    assert asked == make_queries(movies, range(len(movies)), 600, seed=1) != make_queries(movies, [0, 1], 600, seed=2)
    about = [one for one in asked if one.row is not None]
    assert len(about) == 600
    assert len(asked) == 1200
    assert {one.query for one in asked if one.row is None} - set(list_small_talk())  # lines put together, too
    named = [one for one in about if normalise_title(movies[one.row or 0].title) in normalise_title(one.query)]
    assert 0.35 < len(named) / len(about) < 0.75  # the others are misspelt or described
    assert 0.15 < sum(one.absent for one in about) / len(about) < 0.35


def test_movies_of_one_title_are_asked_about_with_their_year() -> None:
    movies = [Movie(f"tt{n}", f"Film {n}", year=1990) for n in range(40)]
    movies += [Movie("tt50", "Heat", year=1995, votes=700_000), Movie("tt51", "Heat", year=2006)]
    asked = make_queries(movies, range(len(movies)), 600, seed=0)
    obscure = [one.query for one in asked if one.row == 41]
    assert sum("2006" in query for query in obscure) > 10
