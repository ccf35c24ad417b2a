"""What a recommended movie must be: applied before the cut to twenty, so that twenty remain."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.rag.words import fold

Role = Literal["director", "cast", "any"]
_MADE_BY: dict[Role, str] = {"director": "directed by", "cast": "with", "any": "by or with"}


class Person(NamedTuple):
    """Somebody who had a part in a movie.

    Attributes:
        name: folded, as :func:`~moviebot.rag.words.fold` writes it.
        role: what they did in it.
        shown: the name as the catalogue writes it.
    """

    name: str
    role: Role
    shown: str = ""


@dataclass(frozen=True)
class Constraints:
    """Hard conditions; a movie whose fact is absent does not meet a condition on it.

    Attributes:
        year_from: first year allowed.
        year_to: last year allowed.
        years: the year must lie in one of these ranges, both ends included; empty for any.
        without_years: the year must lie in none of these.
        genres: the movie must have all of them.
        any_genres: it must have at least one of each of these groups.
        without_genres: the movie must have none of them.
        runtime_at_most: minutes.
        runtime_at_least: minutes.
        rating_at_least: mean rating, 1 to 10.
        rating_at_most: mean rating, 1 to 10.
        people: at least one of each of these groups had a part in it.
        without_people: none of them had.
        seen: ids of movies the person knows.
    """

    year_from: int | None = None
    year_to: int | None = None
    years: tuple[tuple[int, int], ...] = ()
    without_years: tuple[tuple[int, int], ...] = ()
    genres: frozenset[str] = frozenset()
    any_genres: tuple[frozenset[str], ...] = ()
    without_genres: frozenset[str] = frozenset()
    runtime_at_most: int | None = None
    runtime_at_least: int | None = None
    rating_at_least: float | None = None
    rating_at_most: float | None = None
    people: tuple[frozenset[Person], ...] = ()
    without_people: frozenset[Person] = frozenset()
    seen: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Say whether there is any condition."""
        return self != Constraints()

    def allow(self, movies: Sequence[Movie]) -> NDArray[np.bool_]:
        """Return ``(N,)`` whether each movie meets every condition.

        Example:
            >>> movies = [Movie("tt1", "Up", year=2009), Movie("tt2", "Jaws", year=1975), Movie("tt3", "Lost")]
            >>> Constraints(year_from=2000).allow(movies).tolist()
            [True, False, False]
        """
        wanted = {normalise_title(genre) for genre in self.genres}
        unwanted = {normalise_title(genre) for genre in self.without_genres}
        groups = [{normalise_title(genre) for genre in group} for group in self.any_genres]

        def is_allowed(movie: Movie) -> bool:
            genres = {_plain(genre) for genre in movie.genres} if wanted or unwanted or groups else set()
            return (
                movie.tconst not in self.seen
                and wanted <= genres
                and not unwanted & genres
                and all(group & genres for group in groups)
                and _lies_within(movie.year, self.year_from, self.year_to)
                and self._allows_year(movie.year)
                and _lies_within(movie.runtime_minutes, self.runtime_at_least, self.runtime_at_most)
                and _lies_within(movie.rating, self.rating_at_least, self.rating_at_most)
                and all(any(_took_part(movie, person) for person in group) for group in self.people)
                and not any(_took_part(movie, person) for person in self.without_people)
            )

        return np.array([is_allowed(movie) for movie in movies], dtype=bool)

    def _allows_year(self, year: int | None) -> bool:
        if self.years and not any(_lies_within(year, low, high) for low, high in self.years):
            return False
        return year is None or not any(low <= year <= high for low, high in self.without_years)

    def refine(self, newer: "Constraints") -> "Constraints":
        """Return these conditions as a later wish changes them: what it says of a fact replaces what was said of it.

        What must not be adds up, and what is wanted now is no longer unwanted.

        Example:
            >>> nineties = Constraints(years=((1990, 1999),), genres=frozenset({"comedy"}))
            >>> nineties.refine(Constraints(year_from=2000)).describe()
            'comedy, from 2000 on'
        """
        changed: dict[str, object] = {}
        for kind in _KINDS:
            told = {name: getattr(newer, name) for name in kind}
            if any(told[name] not in (None, (), frozenset()) for name in kind):
                changed.update(told)
        for name in ("without_years", "without_genres", "without_people", "seen"):
            changed[name] = type(getattr(self, name))((*getattr(self, name), *getattr(newer, name)))
        merged: Constraints = replace(self, **changed)  # type: ignore[arg-type]
        asked = newer.genres.union(*newer.any_genres)
        people = frozenset(person.name for group in newer.people for person in group)
        return replace(
            merged,
            genres=merged.genres - newer.without_genres,
            any_genres=tuple(left for group in merged.any_genres if (left := group - newer.without_genres)),
            without_genres=merged.without_genres - asked,
            without_people=frozenset(one for one in merged.without_people if one.name not in people),
        )

    def split(self) -> "Iterator[tuple[str, Constraints]]":
        """Yield each condition in words, and these constraints without it."""
        for kind in (*_KINDS, ("without_years",), ("without_genres",), ("without_people",)):
            alone = Constraints(**{name: getattr(self, name) for name in kind})
            if alone:
                rest: Constraints = replace(self, **{name: getattr(NO_CONSTRAINTS, name) for name in kind})
                yield alone.describe(), rest

    def describe(self) -> str:
        """Return the conditions in words.

        Example:
            >>> Constraints(year_to=1979, runtime_at_most=120, genres=frozenset({"western"})).describe()
            'western, up to 1979, at most 120 minutes'
        """
        return ", ".join(self._list_parts())

    def _list_parts(self) -> Iterator[str]:
        yield from sorted(self.genres)
        yield from (" or ".join(sorted(group)) for group in self.any_genres)
        yield from (f"no {genre}" for genre in sorted(self.without_genres))
        if self.years:
            yield "from " + " or ".join(_name_years(low, high) for low, high in self.years)
        yield from (f"not from {_name_years(low, high)}" for low, high in self.without_years)
        yield from _name_bounds(self.year_from, self.year_to, "from {} on", "up to {}")
        yield from _name_bounds(
            self.runtime_at_least, self.runtime_at_most, "at least {} minutes", "at most {} minutes"
        )
        yield from _name_bounds(self.rating_at_least, self.rating_at_most, "rated at least {:g}", "rated at most {:g}")
        for group in self.people:
            members = sorted(group)
            yield f"{_MADE_BY[members[0].role]} " + " or ".join(person.shown or person.name for person in members)
        yield from (f"not with {person.shown or person.name}" for person in sorted(self.without_people))


_KINDS = (
    ("genres", "any_genres"),
    ("year_from", "year_to", "years"),
    ("runtime_at_most", "runtime_at_least"),
    ("rating_at_least", "rating_at_most"),
    ("people",),
)
"""Attributes that tell of one fact: a later wish for it replaces all of them."""
NO_CONSTRAINTS = Constraints()


def unite_ranges(ranges: Collection[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return ranges in order, those that touch as one.

    Example:
        >>> unite_ranges([(1990, 1999), (1980, 1989), (1960, 1969)])
        ((1960, 1969), (1980, 1999))
    """
    united: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if united and low <= united[-1][1] + 1:
            united[-1] = (united[-1][0], max(high, united[-1][1]))
        else:
            united.append((low, high))
    return tuple(united)


def _took_part(movie: Movie, person: Person) -> bool:
    directed = person.role in ("director", "any") and person.name in map(_fold, movie.directors)
    return directed or (person.role in ("cast", "any") and person.name in map(_fold, movie.cast))


def _name_years(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"the {low}s" if low % 10 == 0 and high == low + 9 else f"{low} to {high}"


def _name_bounds(low: float | None, high: float | None, from_: str, to: str) -> Iterator[str]:
    if low is not None:
        yield from_.format(low)
    if high is not None:
        yield to.format(high)


def _lies_within(value: float | None, low: float | None, high: float | None) -> bool:
    if low is None and high is None:
        return True
    return value is not None and (low is None or value >= low) and (high is None or value <= high)


# A catalogue has thousands of genre words of a few kinds, and its people in many movies.
_plain = lru_cache(maxsize=1000)(normalise_title)
_fold = lru_cache(maxsize=200_000)(fold)
