"""The up to 20 movies that a recommend prompt offers.

For a person who names movies they like: what people who like them like, as a
:class:`~moviebot.rag.pair_scorer.PairScorer` foretells it. For a person who names none: what fits the genres, people,
years and words of the request. A request may do both ("I loved Heat. I'm looking for a comedy").

Shapes: N movies, S seeds, D embedding.
"""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import franchise_key, group_movies, normalise_title
from moviebot.rag.constraints import Constraints
from moviebot.rag.diversity import pick_diverse
from moviebot.rag.intent import MASK
from moviebot.rag.pair_features import PairFeatures
from moviebot.rag.pair_scorer import PairScorer
from moviebot.rag.titles import TitleIndex

MAX_CANDIDATES = 20
MAX_SEEDS = 8
_FAME_WEIGHT = 0.15  # of log10 of the votes beside a cosine, where no movie is named
_WISH_WEIGHT = 10.0  # log odds of a wish met
_MOOD_WEIGHT, _MOOD_WEIGHT_SEEDED = 0.3, 4.0  # of a genre that suits a mood, beside a cosine and beside log odds
_LEAST = 3  # movies that are to be shown wherever so many may be
_SERIES_WEIGHT = 100.0  # outweighs everything else where the rest of a series is asked for
DIVERSITY = 0.1  # see pick_diverse; `tools/bench_recommend.py` tells its cost
_SERIES = re.compile(r"\b(?:sequels?|prequels?|series|franchise|saga|trilogy|next (?:one|part|film|movie))\b", re.I)
_YEARS = re.compile(r"(?<!\d)(?:18|19|20)\d\d(?!\d)(?!['’]?s)")
# What stands before a year that tells which movie is named: "Heat (1995)", "thatmovie, 1995", "thatmovie from 1995".
_NAMING = re.compile(rf"[(\[]\s*$|{MASK}[\s,]*(?:from\s+|of\s+)?$")
_WISHING = re.compile(r"\b(?:from|in|of|since|after|around|about|year)\s+(?:the\s+year\s+)?$", re.I)
_DECADES = re.compile(r"(?<!\d)(?:(?:19|20)?(\d)0)['’]?s\b")
_SPELT_DECADES = {"seventies": 7, "eighties": 8, "nineties": 9, "sixties": 6, "fifties": 5, "forties": 4}
_GENRE_WORDS = {
    "sci fi": "sci fi", "scifi": "sci fi", "science fiction": "sci fi", "space": "sci fi", "funny": "comedy",
    "laugh": "comedy", "comedies": "comedy", "comic": "comedy", "rom com": "romance", "romcom": "romance",
    "romantic": "romance", "love story": "romance", "scary": "horror", "creepy": "horror", "animated": "animation",
    "cartoon": "animation", "cartoons": "animation", "thrillers": "thriller", "dramas": "drama", "westerns": "western",
    "mysteries": "mystery", "documentaries": "documentary", "musicals": "musical", "kids": "family", "spy": "thriller",
    "children": "family", "detective": "mystery", "whodunit": "mystery", "gangster": "crime", "heist": "crime",
    "biopic": "biography", "historical": "history", "adventures": "adventure", "superhero": "action",
    "noir": "film noir", "biopics": "biography",
}  # fmt: skip


class CandidateRanker:
    """Ranks the catalogue for a request.

    Args:
        movies: the catalogue.
        titles: for the people named in a request.
        vectors: ``(N, D)`` embeddings of the movies' texts, or None to go without.
        scorer: how likely who likes one movie likes another; :meth:`PairScorer.default` where None.
    """

    def __init__(
        self,
        movies: Sequence[Movie],
        titles: TitleIndex,
        vectors: NDArray[np.float32] | None = None,
        scorer: PairScorer | None = None,
    ) -> None:
        self.movies = movies
        self.titles = titles
        self.vectors = vectors
        self.scorer = scorer or PairScorer.default()
        self._pairs = PairFeatures(movies, vectors, self.scorer.taste)
        self._genres = [frozenset(normalise_title(genre) for genre in movie.genres) for movie in movies]
        self._known_genres = frozenset().union(*self._genres)
        votes = np.array([movie.votes or 0 for movie in movies], dtype=np.float32)
        self._fame = np.log10(votes + 1)

    def rank(
        self,
        query: str,
        seeds: Sequence[int],
        query_vector: NDArray[np.float32] | None = None,
        exclude: Collection[int] = (),
        k: int = MAX_CANDIDATES,
        constraints: Constraints | None = None,
        one_a_series: bool = True,
        diversity: float = DIVERSITY,
        worth: Mapping[str, float] | None = None,
    ) -> list[int]:
        """Return the best candidates' rows, best first, never a seed.

        Args:
            query: the request, without the titles in it.
            seeds: rows of the movies the person likes; may be empty.
            query_vector: ``(D,)`` the request's embedding; used where there is no seed.
            exclude: rows that must not be returned either.
            k: how many.
            constraints: what a movie must be; applied before the cut to ``k``.
            one_a_series: at most one film of a series, unless the request asks for the series.
            diversity: weight of :func:`moviebot.rag.diversity.pick_diverse`; 0 for the plain order.
            worth: what some genres are worth beside what the request says, by their normalised names.
        """
        seeds = list(seeds)[:MAX_SEEDS]
        score = self._score(query, seeds, query_vector)
        if worth:
            weight = _MOOD_WEIGHT_SEEDED if seeds else _MOOD_WEIGHT
            score += weight * np.array([sum(worth.get(genre, 0.0) for genre in genres) for genres in self._genres])
        score[[*seeds, *exclude]] = -np.inf
        if constraints is not None:
            score[~constraints.allow(self.movies)] = -np.inf
        asks_series = _SERIES.search(query) is not None
        if asks_series and seeds:
            score += _SERIES_WEIGHT * self._share_series(seeds)
        order = np.argsort(-score, kind="stable")
        order = order[np.isfinite(score[order])]
        distinct = self._drop_repetitions(order, seeds, 2 * k, one_a_series and not asks_series)
        if (
            constraints is not None and len(distinct) < _LEAST
        ):  # of few that may be shown, a second film of a series is better than none
            distinct += [row for row in self._drop_repetitions(order, seeds, 2 * k, False) if row not in distinct]
        if not diversity or self.vectors is None:
            return distinct[:k]
        picked = pick_diverse([score[row] for row in distinct], self.vectors[distinct], k, diversity)
        return [distinct[place] for place in picked]

    def _score(self, query: str, seeds: Sequence[int], query_vector: NDArray[np.float32] | None) -> NDArray[np.float64]:
        wishes = self._match_wishes(query, {self.movies[row].year for row in seeds})
        if seeds:
            return self._pairs.score(seeds, self.scorer.weights) + _WISH_WEIGHT * wishes
        score = _FAME_WEIGHT * self._fame + wishes
        if self.vectors is not None and query_vector is not None:
            score = score + self.vectors @ query_vector
        return score.astype(np.float64)

    def _drop_repetitions(
        self, order: NDArray[np.int64], seeds: Sequence[int], n: int, one_a_series: bool
    ) -> list[int]:
        """Return the first ``n`` rows that are neither a second row of one film nor a second film of one series."""
        names = {normalise_title(self.movies[row].label) for row in seeds}
        looked = 0
        distinct: list[int] = []
        while looked < len(order) and len(distinct) < n:
            batch = [int(row) for row in order[looked : looked + 4 * n]]
            looked += len(batch)
            for row in batch:
                label = normalise_title(self.movies[row].label)
                if label not in names:  # a second row of one movie would read as a repetition
                    names.add(label)
                    distinct.append(row)
            if one_a_series:  # grouped among themselves, not in the whole catalogue: milliseconds
                groups = group_movies([self.movies[row] for row in distinct])
                first = {groups[self.movies[row].tconst]: row for row in reversed(distinct)}
                distinct = sorted(first.values(), key=distinct.index)
        return distinct[:n]

    def _share_series(self, seeds: Sequence[int]) -> NDArray[np.bool_]:
        """Return ``(N,)`` whether a movie is of a seed's series, by title."""
        keys = {franchise_key(self.movies[row].title) for row in seeds}
        return np.array([franchise_key(movie.title) in keys for movie in self.movies])

    def _match_wishes(self, query: str, seed_years: Collection[int | None]) -> NDArray[np.float64]:
        """Score what a request asks for in so many words: genres, people, years."""
        score = np.zeros(len(self.movies))
        text = f" {normalise_title(query)} "
        wanted = {genre for genre in self._known_genres if f" {genre} " in text or f" {genre}s " in text}
        wanted |= {genre for word, genre in _GENRE_WORDS.items() if f" {word} " in text and genre in self._known_genres}
        if wanted:
            score += np.array([len(wanted & genres) / len(wanted) for genres in self._genres])
        people = set(self.titles.find_people(query))
        if people:
            score += 2.0 * np.array(
                [any(normalise_title(name) in people for name in (*m.directors, *m.cast)) for m in self.movies]
            )
        years = find_wished_years(query, seed_years)
        decades = {int(match[1]) for match in _DECADES.finditer(query)}
        decades |= {decade for word, decade in _SPELT_DECADES.items() if f" {word} " in text}
        if years or decades:
            score += np.array(
                [m.year is not None and (m.year in years or m.year // 10 % 10 in decades) for m in self.movies]
            )
        return score


def find_wished_years(query: str, seed_years: Collection[int | None] = ()) -> set[int]:
    """Return the years that a request wants movies of, without those that only tell which movie it names.

    Args:
        query: the request, each title in it masked or not.
        seed_years: the years of the movies it names.

    Example:
        >>> sorted(find_wished_years("I loved Heat (1995). Anything from 1999, or 2001?", {1995}))
        [1999, 2001]
        >>> find_wished_years("I loved heta 1995", {1995})
        set()
    """
    wished = set()
    for match in _YEARS.finditer(query):
        year, before = int(match[0]), query[: match.start()]
        names_seed = year in seed_years and not _WISHING.search(before)
        if not names_seed and not _NAMING.search(before):
            wished.add(year)
    return wished
