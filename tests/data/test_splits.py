"""A movie's split never moves; movies of one title, and the films of a franchise, share it."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest

from moviebot.data.schemas import Movie
from moviebot.data.splits import (
    TEST_SHARE,
    VAL_SHARE,
    assign_split,
    franchise_key,
    group_movies,
    normalise_title,
    split_movies,
)

SCIENTISTS = ("Ada Holm", "Per Lind", "Eva Dahl")


def group(*titles: str, people: Sequence[Sequence[str]] = ()) -> list[str]:
    """Return the groups of movies of these titles, made a year apart, with these casts."""
    casts = [tuple(cast) for cast in people] or [()] * len(titles)
    movies = [
        Movie(f"tt{n}", title, year=1980 + n, cast=cast)
        for n, (title, cast) in enumerate(zip(titles, casts, strict=True))
    ]
    return list(group_movies(movies).values())


def test_a_movie_keeps_its_split_when_others_come(movies: list[Movie]) -> None:
    few = split_movies(movies[:5])
    assert few.items() <= split_movies(movies).items()


def test_remakes_share_a_side(movies: list[Movie]) -> None:
    for seed in range(20):
        splits = split_movies(movies[:2], seed)
        assert len(set(splits.values())) == 1


@pytest.mark.parametrize(
    "titles",
    [
        ("Toy Story", "Toy Story 2", "Toy Story 3"),
        ("The Godfather", "The Godfather: Part II", "The Godfather Part III"),
        ("Star Wars", "Star Wars: Episode V - The Empire Strikes Back"),
        ("Rocky", "Rocky II", "Rocky V"),
        ("The Terminator", "Terminator 2: Judgment Day"),
        ("The Lord of the Rings: The Fellowship of the Ring", "The Lord of the Rings: The Two Towers"),
        ("Mission: Impossible", "Mission: Impossible II", "Mission: Impossible - Ghost Protocol"),
        ("X-Men", "X-Men: First Class"),
        ("Kill Bill: Vol. 1", "Kill Bill: Vol. 2"),
        ("It", "It Chapter Two"),
        ("Alien", "Alien³"),
        ("The Naked Gun: From the Files of Police Squad!", "The Naked Gun 2½: The Smell of Fear"),
        ("The Fly", "Fly, The"),
        ("Amélie", "AMELIE"),
        ("Airplane!", "Airplane II: The Sequel"),
        ("Guardians of the Galaxy", "Guardians of the Galaxy Vol. 2"),
    ],
)
def test_one_key_is_one_group_without_people(titles: Sequence[str]) -> None:
    assert len(set(group(*titles))) == 1


@pytest.mark.parametrize(
    "titles",
    [
        ("Up", "Up in the Air"),
        ("It", "It Follows"),
        ("Her", "Her Smell"),
        ("Frozen", "Frozen River"),
        ("Malcolm X", "Malcolm in the Night"),
        ("Apollo 13", "Apollo 18"),
        ("Seven", "Seven Samurai"),
        ("9", "2"),
        ("The Ring", "The Ringer"),
    ],
)
def test_accidental_likeness_is_no_group(titles: Sequence[str]) -> None:
    assert len(set(group(*titles))) == len(titles)
    one_actor = group(*titles, people=[["Ada Holm"]] * len(titles))
    assert len(set(one_actor)) == len(titles), "a single actor in common does not make Up and Up in the Air one"


@pytest.mark.parametrize(
    ("one", "other", "needed"),
    [
        ("Die Hard", "Die Hard with a Vengeance", 1),
        ("Die Hard", "Live Free or Die Hard", 1),
        ("Alien", "Aliens", 1),
        ("Jurassic Park", "The Lost World: Jurassic Park", 1),
        ("Batman", "Batman Returns", 2),
        ("Frankenstein", "Bride of Frankenstein", 2),
        ("Hellraiser", "Hellbound: Hellraiser II", 2),
        ("Harry Potter and the Goblet of Fire", "Harry Potter and the Order of the Phoenix", 2),
        ("Before Sunrise", "Before Sunset", 3),
        ("Le fils", "Le silence de Lorna", 4),
    ],
)
def test_people_in_common_decide_where_titles_only_start_or_end_alike(one: str, other: str, needed: int) -> None:
    for shared in range(4):
        found = group(one, other, people=[SCIENTISTS[:shared], SCIENTISTS[:shared]])
        assert (len(set(found)) == 1) == (shared >= needed), shared


def test_people_of_two_movies_are_not_added_up() -> None:
    """Two actors, each in another film of the group, are not two actors in common."""
    casts = [["Ada Holm"], ["Per Lind"], ["Ada Holm", "Per Lind"]]
    assert len(set(group("Frankenstein", "Frankenstein", "Bride of Frankenstein", people=casts))) == 2
    assert len(set(group("Batman", "Batman", "Batman Returns", people=casts))) == 2


def test_a_sequel_or_a_stranger_moves_no_older_movie() -> None:
    films = [
        ("Harry Potter and the Goblet of Fire", SCIENTISTS),
        ("Harry Potter and the Order of the Phoenix", SCIENTISTS),
        ("Harry Potter", SCIENTISTS),
        ("Harry Potter 2: Home", ()),
        ("Potter", SCIENTISTS),
        ("Up", ()),
    ]
    grown = [group(*(t for t, _ in films[:n]), people=[c for _, c in films[:n]]) for n in range(1, len(films) + 1)]
    assert len(set(grown[-1])) == 2
    for before, after in pairwise(grown):
        assert after[: len(before)] == before


def test_order_of_the_catalogue_does_not_matter(movies: list[Movie]) -> None:
    assert group_movies(movies) == group_movies(movies[::-1])


def test_shares_are_as_named() -> None:
    splits = [assign_split(franchise_key(f"Title {n} of")) for n in range(10_000)]
    assert abs(splits.count("test") / 10_000 - TEST_SHARE) < 0.02
    assert abs(splits.count("val") / 10_000 - VAL_SHARE) < 0.02


def test_shares_hold_with_franchises() -> None:
    movies = [Movie(f"tt{n}", f"Saga of the {n % 3000}th House: Part {n}") for n in range(9000)]
    counts = Counter(split_movies(movies).values())
    assert abs(counts["test"] / 9000 - TEST_SHARE) < 0.03
    assert abs(counts["val"] / 9000 - VAL_SHARE) < 0.03


def test_another_seed_is_another_draw() -> None:
    titles = [f"Title {n} of" for n in range(200)]
    assert [assign_split(t, 0) for t in titles] != [assign_split(t, 1) for t in titles]


def test_titles_fold_case_accents_and_punctuation() -> None:
    assert normalise_title("L'Été: Amélie!") == "lete amelie"
    assert normalise_title("The Lord_of the Rings: It's!") == "the lord of the rings its"
    assert normalise_title("千と千尋の神隠し")
    assert normalise_title("...") == "..."
    for title in ("", "2", "The", "Part II", "II", ": ", "A - B", "3: The Return of 3"):
        franchise_key(title)  # a title of what is stripped keeps something, or is empty as it was
    assert [franchise_key(t) for t in ("2", "The", "Part II")] == ["2", "the", "part"]


def test_a_film_listed_under_two_titles_is_one() -> None:
    story = "A young witch, on her mandatory year of independent life, finds fitting into a new town hard."
    movies = [Movie("tt1", "Majo", description=story), Movie("tt2", "Kiki", description=f" {story.upper()}")]
    assert len(set(group_movies(movies).values())) == 1
    placeholders = [Movie("tt1", "Majo", description="No overview."), Movie("tt2", "Kiki", description="No overview.")]
    assert len(set(group_movies(placeholders).values())) == 2
    boasts = [Movie(f"tt{n}", f"Film {chr(97 + n)}", description=story) for n in range(9)]
    assert len(set(group_movies(boasts).values())) == 9
