"""A movie's split never moves, and movies that share a title share it."""

from moviebot.data.schemas import Movie
from moviebot.data.splits import TEST_SHARE, VAL_SHARE, assign_split, normalise_title, split_movies


def test_a_movie_keeps_its_split_when_others_come(movies: list[Movie]) -> None:
    few = split_movies(movies[:5])
    assert few.items() <= split_movies(movies).items()


def test_remakes_share_a_side(movies: list[Movie]) -> None:
    for seed in range(20):
        splits = split_movies(movies[:2], seed)
        assert len(set(splits.values())) == 1


def test_shares_are_as_named() -> None:
    splits = [assign_split(f"Title {n}") for n in range(10_000)]
    assert abs(splits.count("test") / 10_000 - TEST_SHARE) < 0.02
    assert abs(splits.count("val") / 10_000 - VAL_SHARE) < 0.02


def test_another_seed_is_another_draw() -> None:
    titles = [f"Title {n}" for n in range(200)]
    assert [assign_split(t, 0) for t in titles] != [assign_split(t, 1) for t in titles]


def test_titles_fold_case_accents_and_punctuation() -> None:
    assert normalise_title("L'Été: Amélie!") == "lete amelie"
    assert normalise_title("千と千尋の神隠し")
    assert normalise_title("...") == "..."
