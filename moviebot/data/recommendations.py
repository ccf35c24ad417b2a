"""Similar movies without a language model: what two movies share, over the whole catalogue at once.

Legend: N movies, Q movies asked about, P pairs, F features.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title

if TYPE_CHECKING:
    from scipy import sparse

# Weights of the blocks, chosen by hit@20 on MovieLens neighbours (the development half): people and stories say more
# than genres, and viewers of one decade's films look for that decade's.
WEIGHT_GENRES = 1.0
WEIGHT_PEOPLE = 1.2
WEIGHT_TEXT = 2.0
WEIGHT_TITLE = 1.5
WEIGHT_YEAR = 1.0
WEIGHT_VOTES = 0.3  # times log10 of the votes
YEAR_SCALE = 10.0
COMPARED = 8192  # P at a time
CHUNK = 256  # Q at a time: 256 x 13,500 float32 scores are 14 MB


class ContentRecommender:
    """Ranks movies by what they share: people, genres, title words, description words, years; popular ones first.

    Args:
        movies: the whole catalogue.

    Example:
        >>> up = Movie("tt1", "Up", genres=("Animation",), directors=("Pete Docter",))
        >>> soul = Movie("tt2", "Soul", genres=("Animation",), directors=("Pete Docter",))
        >>> jaws = Movie("tt3", "Jaws", genres=("Thriller",), directors=("Steven Spielberg",))
        >>> next(ContentRecommender([up, jaws, soul]).rank(["tt1"], 1))
        ('tt1', ['tt2'])
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self._tconsts = [movie.tconst for movie in movies]
        self._position = {tconst: n for n, tconst in enumerate(self._tconsts)}
        self._features = _build_features(movies)  # (N, F)
        years = [np.nan if movie.year is None else movie.year for movie in movies]
        self._years = np.array(years, dtype=np.float32)  # (N,)
        votes = np.array([movie.votes or 0 for movie in movies], dtype=np.float32)
        self._prior = WEIGHT_VOTES * np.log10(1 + votes)  # (N,)

    def rank(self, tconsts: Sequence[str], n: int) -> Iterator[tuple[str, list[str]]]:
        """Yield each movie asked about with the ``n`` most similar others, best first.

        Args:
            tconsts: ids of movies of the catalogue.
            n: how many to return.
        """
        for start in range(0, len(tconsts), CHUNK):
            chunk = tconsts[start : start + CHUNK]
            rows = np.array([self._position[tconst] for tconst in chunk])
            scores = (self._features[rows] @ self._features.T).toarray()  # (Q, F) @ (F, N) -> (Q, N)
            gap = np.abs(self._years[rows][:, None] - self._years[None, :])  # (Q, N)
            scores += WEIGHT_YEAR * np.nan_to_num(np.exp(-gap / YEAR_SCALE)) + self._prior
            scores[np.arange(len(rows)), rows] = -np.inf
            # Stable, so that equal scores come in the catalogue's order on every machine.
            best = np.argsort(-scores, axis=1, kind="stable")[:, : min(n, len(self._tconsts) - 1)]  # (Q, n)
            for tconst, positions in zip(chunk, best, strict=True):
                yield tconst, [self._tconsts[position] for position in positions]

    def compare(self, tconsts: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        """Return how much the movies of two lists share, pair by pair; popularity does not count.

        Args:
            tconsts: P ids of movies of the catalogue.
            others: P ids.

        Returns:
            (P,) scores of 0 and more.
        """
        scores = np.empty(len(tconsts), dtype=np.float32)
        for start in range(0, len(tconsts), COMPARED):
            rows = [self._position[tconst] for tconst in tconsts[start : start + COMPARED]]
            columns = [self._position[tconst] for tconst in others[start : start + COMPARED]]
            shared = self._features[rows].multiply(self._features[columns]).sum(axis=1)  # (P, 1)
            gap = np.abs(self._years[rows] - self._years[columns])  # (P,)
            near = WEIGHT_YEAR * np.nan_to_num(np.exp(-gap / YEAR_SCALE))
            scores[start : start + COMPARED] = np.asarray(shared).ravel() + near
        return scores


def _build_features(movies: Sequence[Movie]) -> "sparse.csr_matrix":
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    listed = [
        (WEIGHT_PEOPLE, [[*movie.directors, *movie.directors, *movie.cast] for movie in movies]),
        (WEIGHT_GENRES, [list(movie.genres) for movie in movies]),
        (WEIGHT_TITLE, [normalise_title(movie.title).split() for movie in movies]),
    ]
    matrices = []
    for weight, tokens in listed:
        if any(tokens):
            block = TfidfVectorizer(analyzer=_identity, dtype=np.float32, min_df=1).fit_transform(tokens)
            matrices.append(block * np.float32(np.sqrt(weight)))
    texts = [movie.description or "" for movie in movies]
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True, max_df=0.2, dtype=np.float32)
    if len(movies) > 10 and any(texts):
        with contextlib.suppress(ValueError):  # no word is rare enough to tell movies apart
            matrices.append(words.fit_transform(texts) * np.float32(np.sqrt(WEIGHT_TEXT)))
    if not matrices:
        return sparse.csr_matrix((len(movies), 1), dtype=np.float32)
    return sparse.hstack(matrices, format="csr")  # (N, F)


def _identity(tokens: list[str]) -> list[str]:
    return tokens
