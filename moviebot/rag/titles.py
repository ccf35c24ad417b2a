"""Titles in running text: the exact and alias dictionary.

A query is cut into words; every run of words that is a known title, alias or variant is a span, and the signs around it
(capitals, quotes, a year, the words before it) say how likely a title is meant: ``Up`` in "who directed Up" is one,
``up`` in "what's up" is none.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moviebot.data.matching import make_keys
from moviebot.data.schemas import Movie
from moviebot.rag.signs import Signs, read_signs, weigh_signs
from moviebot.rag.words import COMMON, Word, find_decades, find_years, fold, split_words

MAX_MENTIONS = 12
MAX_TITLE_WORDS = 14
MAX_ROWS = 30  # movies of one title that a span keeps
ARTICLES = ("the", "a", "an")
_ARTICLE_COST = 0.15  # of a name to which "the" was put
_PLURALS = frozenset("movies films franchise series saga trilogy".split())  # noqa: SIM905


@dataclass(frozen=True)
class Mention:
    """A piece of a query that is a known title.

    Attributes:
        start: offset of its first character.
        end: offset behind its last.
        rows: the movies of that title, likeliest first (the year in the query, then exactness and votes).
        score: 0 to 1, how likely the movie is meant.
    """

    start: int
    end: int
    rows: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Span:
    """A run of a query's words that is a known title, whether or not it is meant.

    Attributes:
        first: its first word.
        last: its last word.
        end: offset behind its last character, without a possessive's ending.
        rows: the movies of that title, likeliest first, and how good a name of theirs it is, 0 to 1.
        signs: what stands around it.
    """

    first: int
    last: int
    end: int
    rows: Mapping[int, float]
    signs: Signs


class TitleIndex:
    """Finds titles of a catalogue in text.

    Args:
        movies: the catalogue.

    Example:
        >>> titles = TitleIndex([Movie("tt1", "Up", year=2009), Movie("tt2", "Night Ferry", year=1962)])
        >>> [mention.rows for mention in titles.find_mentions("who directed night ferry?")]
        [(1,)]
        >>> titles.find_mentions("what's up?")
        []
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self.movies = movies
        self._rows: dict[str, dict[int, float]] = defaultdict(dict)
        for row, movie in enumerate(movies):
            for key, strength in _list_keys(movie):
                known = self._rows[key]
                if strength > known.get(row, 0.0):
                    known[row] = strength
        self.people = frozenset(
            plain for movie in movies for name in (*movie.directors, *movie.cast) if " " in (plain := fold(name))
        )
        self.fame = np.log10([(movie.votes or 0) + 1.0 for movie in movies]) if movies else np.zeros(0)  # (N,)

    def find_mentions(self, query: str, least: float = 0.35) -> list[Mention]:
        """Return the titles in a query that do not overlap, likeliest first.

        Args:
            query: the person's words.
            least: mentions of a lower score are left out.
        """
        words = split_words(query)
        found = []
        for span in self.find_spans(query, words):
            score = weigh_signs(span.signs)
            if score >= least:
                found.append(Mention(words[span.first].start, span.end, tuple(span.rows), score))
        # The longest mention wins over what it contains, unless it has much less evidence.
        found.sort(key=lambda mention: (-mention.score - 0.015 * (mention.end - mention.start), mention.start))
        chosen: list[Mention] = []
        for mention in found:
            if all(mention.end <= other.start or mention.start >= other.end for other in chosen):
                chosen.append(mention)
        return sorted(chosen, key=lambda mention: (-round(mention.score, 1), mention.start))[:MAX_MENTIONS]

    def find_spans(self, query: str, words: Sequence[Word]) -> Iterator[Span]:
        """Yield every run of words that is a title.

        Args:
            query: the person's words.
            words: the same, cut by :func:`~moviebot.rag.words.split_words`.
        """
        years, decades = find_years(query), find_decades(query)
        names = self.find_names(words)
        for first in range(len(words)):
            key = ""
            for last in range(first, min(first + MAX_TITLE_WORDS, len(words))):
                prefix = f"{key} " if key else ""
                key = prefix + words[last].plain
                bare = prefix + fold(re.sub(r"['’]s?$", "", words[last].text))
                for plain in dict.fromkeys((key, bare)):
                    if rows := self._rows.get(plain):
                        if plain.startswith("the ") and last + 1 < len(words) and words[last + 1].plain in _PLURALS:
                            # "the Alien movies" are named by "Alien" no worse than by "The Alien".
                            rows = {row: min(strength, 1.0 - _ARTICLE_COST) for row, strength in rows.items()}
                        outside = [year for year, at in years.items() if not words[first].start <= at < words[last].end]
                        ranked = self._rank(rows, outside, decades)
                        best = self.movies[ranked[0]].year
                        inside_name = any(a <= first and last <= b and (a, b) != (first, last) for a, b in names)
                        signs = read_signs(
                            query,
                            words,
                            first,
                            last,
                            inside_name=inside_name,
                            year_told=best in outside,
                            decade_told=best is not None and best // 10 % 10 in decades,
                            strength=max(rows.values()),
                        )
                        end = words[last].end - (len(key) - len(plain) if plain != key else 0)
                        yield Span(first, last, end, {row: rows[row] for row in ranked}, signs)

    def find_people(self, query: str) -> list[str]:
        """Return the directors and actors named in a query, folded."""
        words = split_words(query)
        return [" ".join(word.plain for word in words[a : b + 1]) for a, b in self.find_names(words)]

    def find_names(self, words: Sequence[Word]) -> list[tuple[int, int]]:
        """Return the first and the last word of each director's and actor's name."""
        return [
            (first, first + length - 1)
            for first in range(len(words))
            for length in (2, 3, 4)
            if first + length <= len(words)
            and " ".join(word.plain for word in words[first : first + length]) in self.people
        ]

    def _rank(self, rows: Mapping[int, float], years: Iterable[int], decades: set[int]) -> list[int]:
        def worth(row: int) -> float:
            year = self.movies[row].year
            bonus = 0.0
            if year is not None:
                bonus = max((1.0 if year == told else 0.3 for told in years if abs(year - told) <= 1), default=0.0)
                bonus = max(bonus, 0.3 * (year // 10 % 10 in decades))
            return rows[row] + bonus + 0.06 * float(self.fame[row])

        return sorted(rows, key=lambda row: (-worth(row), row))[:MAX_ROWS]


def _list_keys(movie: Movie) -> Iterator[tuple[str, float]]:
    """Yield the keys that a movie is found by, each with how good a name of it that is."""
    names = [(movie.title, 1.0)]
    if movie.original_title:
        names.append((movie.original_title, 1.0))
    names += [(aka, 0.95) for aka in movie.akas]
    for name, strength in names:
        plain = fold(name)
        if not plain:
            continue
        yield plain, strength
        for key in make_keys(name):  # "Night to Remember, A"
            yield fold(key), strength - 0.1 * (len(key.split()) < len(plain.split()))
        joined = fold(re.sub(r"[&+]", " and ", name))
        yield joined, strength
        if " and " in plain:
            yield plain.replace(" and ", " "), strength - 0.02
        words = joined.split()
        if len(words) > 1 and words[0] in ARTICLES:
            yield " ".join(words[1:]), strength - 0.1
        elif len(words) <= 2:  # "the Alien movies" are those of "Alien", not of a little-known "The Alien"
            yield f"the {joined}", strength - _ARTICLE_COST
        if strength == 1.0 and (match := re.search(r":\s|\s[-–—]\s", name)):
            for part in (name[: match.start()], name[match.end() :]):
                if any(word not in COMMON for word in fold(part).split()):
                    yield fold(part), 0.65
