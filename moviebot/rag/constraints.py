"""What a recommended movie must be: applied before the cut to twenty, so that twenty remain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title


@dataclass(frozen=True)
class Constraints:
    """Hard conditions; a movie whose fact is absent does not meet a condition on it.

    Attributes:
        year_from: first year allowed.
        year_to: last year allowed.
        genres: the movie must have all of them.
        without_genres: the movie must have none of them.
        runtime_at_most: minutes.
        runtime_at_least: minutes.
        rating_at_least: mean rating, 1 to 10.
        seen: ids of movies the person knows.
    """

    year_from: int | None = None
    year_to: int | None = None
    genres: frozenset[str] = frozenset()
    without_genres: frozenset[str] = frozenset()
    runtime_at_most: int | None = None
    runtime_at_least: int | None = None
    rating_at_least: float | None = None
    seen: frozenset[str] = frozenset()

    def allow(self, movies: Sequence[Movie]) -> NDArray[np.bool_]:
        """Return ``(N,)`` whether each movie meets every condition.

        Example:
            >>> movies = [Movie("tt1", "Up", year=2009), Movie("tt2", "Jaws", year=1975), Movie("tt3", "Lost")]
            >>> Constraints(year_from=2000).allow(movies).tolist()
            [True, False, False]
        """
        wanted = {normalise_title(genre) for genre in self.genres}
        unwanted = {normalise_title(genre) for genre in self.without_genres}

        def is_allowed(movie: Movie) -> bool:
            genres = {normalise_title(genre) for genre in movie.genres} if wanted or unwanted else set()
            return (
                movie.tconst not in self.seen
                and wanted <= genres
                and not unwanted & genres
                and _lies_within(movie.year, self.year_from, self.year_to)
                and _lies_within(movie.runtime_minutes, self.runtime_at_least, self.runtime_at_most)
                and _lies_within(movie.rating, self.rating_at_least, None)
            )

        return np.array([is_allowed(movie) for movie in movies], dtype=bool)


def _lies_within(value: float | None, low: float | None, high: float | None) -> bool:
    if low is None and high is None:
        return True
    return value is not None and (low is None or value >= low) and (high is None or value <= high)
