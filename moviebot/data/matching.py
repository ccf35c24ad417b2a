"""Which movie does a name with a year mean? Exact titles, other titles, misspelt titles; otherwise none.

Legend: K keys (spellings of titles), F n-gram features.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import OSA

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

How = Literal["exact", "year", "title", "offered", "fuzzy"]
Fault = Literal["invented", "ambiguous"]

DOMINANCE = 2.0
"""Of movies that a name can't tell apart, one is meant where it has at least this many times the votes of the next."""
MIN_FUZZY_CHARS = 4
DATED_EDIT_SHARE = 0.35
"""With the right year, a key may differ by this share of its characters (at least one edit, at most three)."""
NEAR_EDIT_SHARE = 0.25
"""The same where the year is one off."""
UNDATED_EDIT_SHARE = 0.15
"""The same without a year."""
POOL = 48  # keys that the n-grams hand to the edit distance
_ARTICLES = [
    "the",
    "a",
    "an",
    "le",
    "la",
    "les",
    "l",
    "el",
    "los",
    "las",
    "il",
    "lo",
    "der",
    "die",
    "das",
    "ein",
    "eine",
    "un",
    "une",
]
_MOVED = re.compile(rf"^(.*\S),\s*({'|'.join(_ARTICLES)})['’]?$", re.IGNORECASE)
_LEADING = re.compile(rf"^(?:{'|'.join(_ARTICLES)}) (?=\S)")
_NUMBERS = {
    "ii": "2", "iii": "3", "iv": "4", "v": "5", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "x": "10", "xi": "11",
    "xii": "12", "xiii": "13", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "first": "1st", "second": "2nd",
    "third": "3rd",
}  # fmt: skip
SAME_WORDS = _NUMBERS | {
    "&": "and",
    "vs": "versus",
    "pt": "part",
    "vol": "volume",
    "dr": "doctor",
    "mr": "mister",
    "st": "saint",
}
"""Words that are read as one: numerals and their names, abbreviations."""


@dataclass(frozen=True)
class Match:
    """What a name was found to mean.

    Attributes:
        movie: the movie; None where there is none.
        how: by what it was found.
        fault: why there is none.
    """

    movie: Movie | None = None
    how: How | None = None
    fault: Fault | None = None


class TitleMatcher:
    """Finds the movie that a title with a year means, in a catalogue of up to a million movies.

    A name is looked up by its normalised title (also without article, in other spellings of numbers, by original title,
    akas, and by the part before or behind a colon where the year is right too). The year tells movies of one title
    apart; it may be one off, as festivals and cinemas differ: any other year is another film. Where it lacks,
    a title means the only movie of that name, else the one that was offered in the request, else the one that has twice
    the votes of the next, else none ("ambiguous"). What no key equals is compared letter by letter with the keys of the
    movies of those years, or without a year with those that share most n-grams; numbers must agree ("Rocky II" is no
    misspelt "Rocky III"), and a year allows more edits.

    Args:
        movies: the catalogue.

    Example:
        >>> matcher = TitleMatcher([Movie("tt1", "The Matrix", year=1999), Movie("tt2", "Rocky II", year=1979)])
        >>> [m.movie and m.movie.tconst for m in (matcher.find("Matrix, The", 1999), matcher.find("Rocky 2"))]
        ['tt1', 'tt2']
        >>> matcher.find("The Matirx", 2000).how, matcher.find("Rocky III", 1979).fault
        ('fuzzy', 'invented')
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self.movies = movies
        self._rows: dict[str, list[int]] = {}
        self._parts: dict[str, list[int]] = {}
        for row, movie in enumerate(movies):
            names = (movie.title, movie.original_title, *movie.akas)
            for key in dict.fromkeys(key for name in names if name for key in make_keys(name)):
                self._rows.setdefault(key, []).append(row)
            for key in dict.fromkeys(key for name in names[:2] if name for key in _make_parts(name)):
                self._parts.setdefault(key, []).append(row)
        self._by_title = defaultdict(list)
        for row, movie in enumerate(movies):
            self._by_title[make_keys(movie.title)[0]].append(row)
        self._find = lru_cache(maxsize=1 << 17)(self._find_uncached)

    def find(
        self, title: str, year: int | None = None, offered: Set[str] = frozenset(), *, fuzzy: bool = True
    ) -> Match:
        """Return the movie a name means.

        Args:
            title: as written, articles anywhere.
            year: the year told, if any.
            offered: ids of movies that were offered to whoever wrote the name; they decide between movies of one title.
            fuzzy: look for misspelt titles as well.
        """
        found, rows = self._find(title, year, fuzzy)
        if found.fault == "ambiguous" or len(rows) > 1:
            among = [row for row in rows if self.movies[row].tconst in offered]
            if len(among) == 1:
                return Match(self.movies[among[0]], "offered")
        return found

    def _find_uncached(self, title: str, year: int | None, fuzzy: bool) -> tuple[Match, tuple[int, ...]]:
        keys = make_keys(title)
        for key in keys:
            rows = self._rows.get(key)
            # "Lóve" and "Love" share a key: the one that is spelt so is meant.
            spelt = [row for row in rows or () if self.movies[row].title == title and self._gap(row, year or 0) == 0]
            if rows and (found := self._choose(key, spelt or rows, year)):
                return found
        if year is not None:
            for key in keys:
                rows = [row for row in self._parts.get(key, []) if self._gap(row, year) == 0]
                if len(rows) == 1:
                    return Match(self.movies[rows[0]], "title"), tuple(rows)
        if fuzzy and (found := self._find_fuzzy(keys[0], year)):
            return found
        return Match(fault="invented"), ()

    def _gap(self, row: int, year: int) -> int:
        made = self.movies[row].year
        return 99 if made is None else abs(made - year)

    def _choose(self, key: str, rows: Sequence[int], year: int | None) -> tuple[Match, tuple[int, ...]] | None:
        """Choose among the movies of one key; None where the year says that it is none of them."""
        if year is None:
            primary = [row for row in rows if row in self._by_title.get(key, ())]
            return self._settle(primary or rows, "title")
        for gap, how in ((0, "exact"), (1, "year")):
            near = [row for row in rows if self._gap(row, year) == gap]
            if near:
                return self._settle(near, "exact" if how == "exact" else "year")
        undated = [row for row in rows if self.movies[row].year is None]
        return self._settle(undated, "title") if undated else None

    def _settle(self, rows: Sequence[int], how: How) -> tuple[Match, tuple[int, ...]]:
        """Take the only movie, or the one that is clearly the best known."""
        ranked = sorted(rows, key=lambda row: (-(self.movies[row].votes or 0), row))
        votes = [self.movies[row].votes or 0 for row in ranked[:2]]
        if len(ranked) == 1 or (votes[0] > 0 and votes[0] >= DOMINANCE * votes[1]):
            return Match(self.movies[ranked[0]], how), tuple(ranked)
        return Match(fault="ambiguous"), tuple(ranked)

    def _find_fuzzy(self, key: str, year: int | None) -> tuple[Match, tuple[int, ...]] | None:
        if len(key) < MIN_FUZZY_CHARS:
            return None
        limit = _count_edits(key, DATED_EDIT_SHARE if year is not None else UNDATED_EDIT_SHARE)
        best: dict[int, tuple[float, int]] = {}
        for other in self._pool(key) if year is None else self._pool_dated(key, year, limit):
            edits = OSA.distance(key, other, score_cutoff=limit)
            if edits > limit or _numbers(key) != _numbers(other):
                continue
            for row in self._rows[other]:
                gap = 0 if year is None else self._gap(row, year)
                if gap > 1 or edits > _count_edits(key, NEAR_EDIT_SHARE if gap else 1.0):
                    continue
                best[row] = min(best.get(row, (99.0, 0)), (edits + 0.5 * gap, gap))
        if not best:
            return None
        nearest = min(best.values())[0]
        found, rows = self._settle([row for row, (cost, _) in best.items() if cost == nearest], "fuzzy")
        return found, rows

    def _pool_dated(self, key: str, year: int, limit: int) -> list[str]:
        """Return the keys of the year's movies, and of its neighbours', that are near enough."""
        found = []
        for told in (year, year - 1, year + 1):
            near = process.extract(
                key, self._dated_keys.get(told, ()), scorer=OSA.distance, score_cutoff=limit, limit=POOL
            )
            found += [other for other, _, _ in near]
        return list(dict.fromkeys(found))

    def _pool(self, key: str) -> list[str]:
        """Return the keys that share most n-grams with one, best first."""
        vectoriser, matrix = self._ngrams
        scores = (vectoriser.transform([key]) @ matrix).toarray()[0]  # (1, F) @ (F, K) -> (K,)
        count = min(POOL, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        return [self._keys[n] for n in sorted(best, key=lambda n: (-scores[n], n)) if scores[n] > 0]

    @cached_property
    def _dated_keys(self) -> dict[int, list[str]]:
        keys: dict[int, dict[str, None]] = defaultdict(dict)
        for key, rows in self._rows.items():
            for row in rows:
                if (year := self.movies[row].year) is not None:
                    keys[year][key] = None
        return {year: list(those) for year, those in keys.items()}

    @cached_property
    def _keys(self) -> list[str]:
        return [key for key in self._rows if len(key) >= MIN_FUZZY_CHARS - 1]

    @cached_property
    def _ngrams(self) -> "tuple[TfidfVectorizer, sparse.csr_matrix]":
        from scipy import sparse
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True, dtype=np.float32)
        return vectoriser, sparse.csr_matrix(vectoriser.fit_transform(self._keys).T)  # (F, K)


def make_keys(title: str) -> tuple[str, ...]:
    """Return the forms under which a title is looked up; the first is its own, the others lack an article.

    Example:
        >>> make_keys("Matrix, The"), make_keys("Rocky II"), make_keys("Mr. & Mrs. Smith")
        (('the matrix', 'matrix'), ('rocky 2',), ('mister and mrs smith',))
    """
    moved = _MOVED.match(title[:300].strip())
    plain = normalise_title((f"{moved[2]} {moved[1]}" if moved else title[:300]).replace("&", " and "))
    key = " ".join(SAME_WORDS.get(word, word) for word in plain.split())
    bare = _LEADING.sub("", key)
    return (key, bare) if bare != key else (key,)


def _make_parts(title: str) -> Iterator[str]:
    """Yield what stands before and behind a colon or dash: people name films by either."""
    pieces = re.split(r":\s+|\s+[-–—]\s+", title)
    for piece in {*pieces, ": ".join(pieces[1:]), ": ".join(pieces[:-1])} - {title, ""} if len(pieces) > 1 else ():
        keys = make_keys(piece)
        if len(keys[-1]) >= MIN_FUZZY_CHARS:
            yield from keys


def _count_edits(key: str, share: float) -> int:
    return min(3, max(1, int(share * len(key))))


@lru_cache(maxsize=1 << 16)
def _numbers(key: str) -> tuple[str, ...]:
    return tuple(sorted(re.findall(r"\d+", key)))
