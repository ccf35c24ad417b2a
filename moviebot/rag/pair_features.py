"""What is known of a pair of movies, one that is liked and one that may be: facts that an unrated movie has too.

Legend: N movies, F features, D embedding, K taste.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import franchise_key, normalise_title
from moviebot.rag.taste import NO_YEAR, Taste, measure_fame, measure_rating

if TYPE_CHECKING:
    from scipy import sparse

FEATURES = (
    "text", "text squared", "text times fame", "text times years", "genres", "genres squared", "directors", "cast",
    "title", "words", "words times text", "series", "years 3", "years 10", "later", "genres times years",
    "fame", "fame squared", "well known", "fame gap", "rating", "unrated", "rating gap",
    "taste", "taste squared", "taste times text", "taste times years", "taste times fame",
)  # fmt: skip
_WELL_KNOWN = 0.92  # the fame of 10,000 votes
_ALIKE = 20
_MEASURED = 256  # movies whose cosines tell an encoder's scale


class PairFeatures:
    """Compares any movie of a catalogue with all of them.

    Args:
        movies: the catalogue.
        vectors: ``(N, D)`` unit embeddings of the movies' texts; None: the features of the text are 0.
        taste: a fitted projection; None: the features of the taste are 0.
    """

    def __init__(self, movies: Sequence[Movie], vectors: NDArray[np.float32] | None, taste: Taste | None) -> None:
        self._vectors = vectors
        self._taste = None if taste is None or vectors is None else taste.place(movies, vectors)  # (N, K)
        self._fame, self._rating = measure_fame(movies), measure_rating(movies)
        self._voted = np.array([movie.votes is not None for movie in movies])
        self._unrated = np.array([movie.rating is None for movie in movies], dtype=np.float32)
        self._genres = _weigh([movie.genres for movie in movies])
        self._directors = _weigh([movie.directors for movie in movies])
        self._cast = _weigh([movie.cast for movie in movies])
        self._titles = _weigh([normalise_title(movie.title).split() for movie in movies])
        self._words = _weigh_words([movie.description or "" for movie in movies])
        keys = [franchise_key(movie.title) or movie.tconst for movie in movies]
        self._series = np.unique(keys, return_inverse=True)[1]
        self._years = np.array([movie.year or NO_YEAR for movie in movies], dtype=np.float32)
        self._centre, self._spread = _measure_cosines(vectors)

    def compare(self, seed: int) -> NDArray[np.float32]:
        """Return ``(N, F)``, in the order of ``FEATURES``: a seed with every movie."""
        nothing = np.zeros(len(self._years), dtype=np.float32)
        text = taste = nothing
        fame, rating = float(self._fame[seed]), float(self._rating[seed])
        if self._vectors is not None:
            # In spreads of the catalogue's cosines: weights then hold for an encoder that spreads them otherwise.
            text = (self._vectors @ self._vectors[seed] - self._centre) / self._spread
            if not self._voted[seed]:
                fame, rating = self._guess_votes(text)
        if self._taste is not None:
            taste = self._taste @ self._taste[seed]
        gap = np.abs(self._years - self._years[seed])
        near = np.exp(-gap / 10)
        genres, words = _multiply(self._genres, seed), _multiply(self._words, seed)
        columns = (
            text, text**2, text * self._fame, text * near, genres, genres**2,
            _multiply(self._directors, seed), _multiply(self._cast, seed), _multiply(self._titles, seed),
            words, words * text, self._series == self._series[seed],
            np.exp(-gap / 3), near, self._years > self._years[seed], genres * near,
            self._fame, self._fame**2, np.maximum(self._fame - _WELL_KNOWN, 0), np.abs(self._fame - fame),
            self._rating, self._unrated, np.abs(self._rating - rating),
            taste, taste**2, taste * text, taste * near, taste * self._fame,
        )  # fmt: skip
        features = np.empty((len(nothing), len(columns)), dtype=np.float32, order="F")
        for number, column in enumerate(columns):
            features[:, number] = column
        return features

    def _guess_votes(self, text: NDArray[np.float32]) -> tuple[float, float]:
        """Return what fame and rating a movie without votes may come to: those of the movies told most alike."""
        likeness = np.where(self._voted, text, -np.inf)
        count = min(_ALIKE, int(self._voted.sum()))
        if not count:
            return 0.0, float(self._rating.mean())
        alike = np.argpartition(-likeness, count - 1)[:count]
        return float(self._fame[alike].mean()), float(self._rating[alike].mean())

    def score(self, seeds: Sequence[int], weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return ``(N,)`` log odds, the mean over the seeds."""
        total = np.zeros(len(self._years), dtype=np.float64)
        for seed in seeds:
            total += self.compare(seed) @ weights
        return total / len(seeds)


def _measure_cosines(vectors: NDArray[np.float32] | None) -> tuple[float, float]:
    """Return the mean and the standard deviation of the cosines of different movies."""
    if vectors is None or len(vectors) < 2:
        return 0.0, 1.0
    drawn = np.unique(np.linspace(0, len(vectors) - 1, _MEASURED).astype(int))
    cosines = vectors[drawn] @ vectors[drawn].T
    others = cosines[~np.eye(len(drawn), dtype=bool)]
    return float(others.mean()), float(others.std()) + 1e-6


def _weigh(tokens: Sequence[Sequence[str]]) -> "sparse.csc_matrix":
    """Return ``(N, tokens)`` unit rows, rare tokens weighing more."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(tokens):
        return sparse.csc_matrix((len(tokens), 1), dtype=np.float32)
    return sparse.csc_matrix(TfidfVectorizer(analyzer=_identity, dtype=np.float32).fit_transform(tokens))


def _weigh_words(texts: Sequence[str]) -> "sparse.csc_matrix":
    """Return ``(N, words)`` unit rows; words that a fifth of the texts hold tell nothing."""
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(stop_words="english", sublinear_tf=True, max_df=0.2, dtype=np.float32)
    try:
        return sparse.csc_matrix(words.fit_transform(texts))
    except ValueError:  # no word is rare enough to tell movies apart
        return sparse.csc_matrix((len(texts), 1), dtype=np.float32)


def _multiply(tokens: "sparse.csc_matrix", seed: int) -> NDArray[np.float32]:
    """Return ``(N,)`` the products of the seed's row with every row, by way of its few columns."""
    row = tokens[[seed]].tocoo()
    return np.asarray(tokens[:, row.col] @ row.data, dtype=np.float32)


def _identity(tokens: Sequence[str]) -> Sequence[str]:
    return tokens
