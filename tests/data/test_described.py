"""What a person tells of a plot, and what is left of it in the movie's text."""

import random
from dataclasses import replace

import pytest

from moviebot.data.described import can_be_told, tell_plot
from moviebot.data.documents import movie_text
from moviebot.data.schemas import Movie

STORY = (
    "A retired mapmaker named Ilse Brandt finds a coastline on her own chart that nobody has ever seen. With her "
    "nephew Per she sails out to look for it. In Long Water the two are not the only ones who search. On the island "
    "a keeper of lamps has waited for a ship for thirty years."
)
MOVIE = Movie("tt1", "Long Water", year=1991, genres=("Drama",), directors=("Ann Other",), description=STORY)


def tell(count: int = 300, other: str | None = None) -> list[tuple[str, str]]:
    return [tell_plot(MOVIE, random.Random(seed), other) for seed in range(count)]


def test_the_same_randomness_gives_the_same_and_another_another() -> None:
    assert tell() == tell()
    assert len(set(tell())) > 290


def test_the_title_is_never_told() -> None:
    assert not [told for told, _ in tell() if "long water" in told.lower()]
    assert any(" it " in told for told, _ in tell())


def test_the_text_begins_as_the_index_has_it_and_lacks_some_of_what_is_told() -> None:
    head = movie_text(replace(MOVIE, description=None))
    texts = [text for _, text in tell()]
    assert all(text.startswith(head) for text in texts)
    whole = texts.count(movie_text(MOVIE))
    assert 0.1 < whole / len(texts) < 0.5, "sometimes whole, as people use the catalogue's words at times"


def test_neither_side_is_a_copy_of_the_other() -> None:
    """Words of the telling that the text lacks, in most pairs; else the encoder would learn to match words alone."""
    words = set(STORY.lower().split())
    lacking = [words & set(told.lower().split()) - set(text.lower().split()) for told, text in tell()]
    assert sum(len(found) >= 2 for found in lacking) > 100


def test_names_are_told_at_times() -> None:
    named = ["Brandt" in told or "Per" in told.split() for told, _ in tell()]
    assert 0 < sum(named) < len(named) / 2
    assert any("someone" in told for told, _ in tell())


def test_another_sources_words_are_told_and_the_text_stays_whole() -> None:
    other = "In Long Water, a woman who draws charts goes to sea. She meets a lonely man by a lighthouse."
    pairs = tell(other=other)
    assert {text for _, text in pairs} == {movie_text(MOVIE)}
    assert all("coastline" not in told and "Long Water" not in told for told, _ in pairs)
    assert any("lighthouse" in told for told, _ in pairs)


@pytest.mark.parametrize(
    ("description", "told"), [(None, False), ("A short film.", False), ("x " * 8, True), (STORY, True)]
)
def test_too_short_a_description_is_not_told(description: str | None, told: bool) -> None:
    assert can_be_told(replace(MOVIE, description=description)) is told


@pytest.mark.parametrize(
    "story",
    ["{plot} {0} %s and eight words more to be told", "雪が降る 町で 男は 一人 歩く 夜 に なる", "\u202e! " * 9],
)
def test_hostile_and_foreign_descriptions_are_just_text(story: str) -> None:
    for seed in range(30):
        told, text = tell_plot(replace(MOVIE, description=story), random.Random(seed))
        assert told
        assert text.startswith("Long Water (1991)")
