"""Where a movie lies among people's tastes, told from its facts and its text, so that unrated movies have a place too.

Lists of what people liked together are a graph of movies. Its leading eigenvectors say which movies go together; a
ridge regression foretells them from the movie's embedding, genres, year, votes and rating.

Legend: N movies, M listed movies, D embedding, X facts, K taste.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie

TASTE_SIZE = 48  # K
RIDGE = 10.0
SELF_WEIGHT = 0.5  # of a movie's likeness to itself, as a share of the mean movie's links; steadies rarely listed ones
_DECADES = np.arange(1930, 2021, 10)
NO_YEAR = 1990
_NO_RATING = 6.2  # the real table's mean


@dataclass(frozen=True)
class Taste:
    """A fitted projection.

    Attributes:
        genres: the genre words it knows, in the order of their columns.
        centre: ``(X,)`` the listed movies' mean facts.
        projection: ``(X, K)``.
    """

    genres: tuple[str, ...]
    centre: NDArray[np.float32]
    projection: NDArray[np.float32]

    def place(self, movies: Sequence[Movie], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return ``(N, K)`` unit vectors.

        Args:
            movies: any movies, rated or not.
            vectors: ``(N, D)`` embeddings of their texts.
        """
        facts = write_facts(movies, vectors, self.genres) - self.centre
        unknown = np.array([[movie.votes is None, movie.rating is None] for movie in movies])
        facts[:, -2:][unknown] = 0.0  # a movie that nobody has rated yet is taken for a common one, not for a bad one
        placed = facts @ self.projection
        return np.asarray(placed / (np.linalg.norm(placed, axis=1, keepdims=True) + 1e-9), dtype=np.float32)


def fit_taste(movies: Sequence[Movie], vectors: NDArray[np.float32], lists: Mapping[int, Sequence[int]]) -> Taste:
    """Fit a projection.

    Args:
        movies: the catalogue.
        vectors: ``(N, D)`` embeddings of the movies' texts.
        lists: a movie's row to the rows of what people who liked it also liked, best first.
    """
    rows, targets = _decompose(lists, len(movies))
    genres = tuple(sorted({genre for movie in movies for genre in movie.genres}))
    facts = write_facts([movies[row] for row in rows], vectors[rows], genres).astype(np.float64)  # (M, X)
    centre = facts.mean(axis=0)
    facts -= centre
    gram = facts.T @ facts + RIDGE * np.eye(facts.shape[1])
    projection = np.linalg.solve(gram, facts.T @ (targets - targets.mean(axis=0)))  # (X, K)
    return Taste(genres, centre.astype(np.float32), projection.astype(np.float32))


def write_facts(movies: Sequence[Movie], vectors: NDArray[np.float32], genres: Sequence[str]) -> NDArray[np.float32]:
    """Return ``(N, X)``: embedding, genres, bumps around decades, votes, rating."""
    column = {genre: number for number, genre in enumerate(genres)}
    has = np.zeros((len(movies), len(genres)), dtype=np.float32)
    for row, movie in enumerate(movies):
        known = [column[genre] for genre in movie.genres if genre in column]
        has[row, known] = 1 / np.sqrt(max(len(known), 1))
    years = np.array([movie.year or NO_YEAR for movie in movies], dtype=np.float32)
    bumps = np.exp(-(((years[:, None] - _DECADES) / 10) ** 2))
    others = np.stack([measure_fame(movies), measure_rating(movies)], axis=1)
    return np.hstack([vectors, has, bumps, others]).astype(np.float32)


def measure_fame(movies: Sequence[Movie]) -> NDArray[np.float32]:
    """Return ``(N,)`` log(1 + votes) / 10, about 0 to 1.5."""
    votes = np.array([movie.votes or 0 for movie in movies])
    return np.asarray(np.log1p(votes) / 10, dtype=np.float32)


def measure_rating(movies: Sequence[Movie]) -> NDArray[np.float32]:
    """Return ``(N,)`` the rating / 10; an unrated movie has a common one."""
    ratings = np.array([_NO_RATING if movie.rating is None else movie.rating for movie in movies])
    return (ratings / 10).astype(np.float32)


def _decompose(lists: Mapping[int, Sequence[int]], n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the listed movies' rows ``(M,)`` and their leading eigenvectors ``(M, K)``."""
    links = [
        (seed, other, 1 / np.log2(2 + place)) for seed, found in lists.items() for place, other in enumerate(found)
    ]
    rows = np.unique([row for seed, other, _ in links for row in (seed, other)])
    position = np.full(n, -1)
    position[rows] = np.arange(len(rows))
    graph = np.zeros((len(rows), len(rows)))
    for seed, other, weight in links:
        graph[position[seed], position[other]] += weight
        graph[position[other], position[seed]] += weight
    graph[np.diag_indices_from(graph)] += SELF_WEIGHT * graph.sum(axis=1).mean()
    scale = 1 / np.sqrt(graph.sum(axis=1))
    values, vectors = np.linalg.eigh(scale[:, None] * graph * scale)
    factors = vectors[:, -TASTE_SIZE:] * np.sqrt(np.maximum(values[-TASTE_SIZE:], 0))
    return rows, factors / (np.linalg.norm(factors, axis=1, keepdims=True) + 1e-9)
