"""People as the teacher of recommendation lists: what those who liked a movie also liked, in a MovieLens folder.

Legend: U users, N movies of the catalogue, Q movies asked about.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moviebot.artefact import hash_path
from moviebot.data.movielens import LIKED, find_movielens, read_likes
from moviebot.data.replies import Reply, Request
from moviebot.data.schemas import Movie
from moviebot.data.template_teacher import write_recommendations

if TYPE_CHECKING:
    from scipy import sparse

MOVIELENS = "movielens"
VERSION = 1
LISTED = 20
MIN_LIKES = 5  # of a movie, to have a list or to stand in one
MIN_TOGETHER = 2  # users who liked both
SHRINKAGE = 1.0
POPULARITY_EXPONENT = 0.7
"""0 ranks by plain co-likes, 1 by lift. Chosen with SHRINKAGE over 5 folds of users: the highest product of the recall
of held-out co-likes, each weighted by one over its popularity, and of hit@20 on MovieLens neighbours."""
_CHUNK = 256  # Q at a time: 256 x 13,500 float32 scores are 14 MB


class MovieLensTeacher:
    """Writes recommendation lists from people's co-likes, in the form of a language model's replies.

    Args:
        folder: with MovieLens' files; see :func:`moviebot.data.movielens.find_movielens`.
        movies: the whole catalogue.

    Attributes:
        files: what is read, in a fixed order.

    Raises:
        UserError: files lack.
    """

    def __init__(self, folder: Path | None, movies: Sequence[Movie]) -> None:
        found = find_movielens(folder)
        self.files = [found[kind] for kind in ("ratings", "links", "movies")]
        self._found, self._movies = found, movies
        self.without_support = 0
        self._lists: dict[str, list[str]] = {}

    def requests(self, taught: Sequence[Movie], catalogue: Path) -> list[Request]:
        """Return a request for each movie that enough people liked; count the others in ``without_support``.

        Args:
            taught: the movies to write lists for.
            catalogue: the file they are from; the lists depend on what else is in it.

        Raises:
            UserError: rows can't be read.
        """
        likes = read_likes(self._found, self._movies)
        self._lists = dict(rank_liked(likes.matrix, self._movies, [movie.tconst for movie in taught], LISTED))
        self.without_support = len(taught) - len(self._lists)
        settings = f"{VERSION} {LIKED} {LISTED} {MIN_LIKES} {MIN_TOGETHER} {SHRINKAGE} {POPULARITY_EXPONENT}"
        prompt = "\n".join((f"movielens {settings}", *map(hash_path, self.files), hash_path(catalogue)))
        return [
            Request("recommend", movie.tconst, MOVIELENS, prompt) for movie in taught if movie.tconst in self._lists
        ]

    def answers(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Reply]]:
        """Yield each request with its list."""
        by_id = {movie.tconst: movie for movie in self._movies}
        for request in requests:
            written = write_recommendations([by_id[tconst] for tconst in self._lists[request.tconst]])
            yield request, request.answer(written)


def rank_liked(
    likes: "sparse.csr_matrix", movies: Sequence[Movie], tconsts: Sequence[str], n: int
) -> Iterator[tuple[str, list[str]]]:
    """Yield each movie that enough people liked with what they also liked, best first.

    A pair scores by the users who liked both, each weighing 1 / log(2 + likes), since who likes everything says little;
    shrunk where they are few (c / (c + 1)); over the other movie's likes to the power of 0.7, so that what everybody
    likes does not lead every list.

    Args:
        likes: (U, N) ones.
        movies: N, the catalogue.
        tconsts: the movies asked about.
        n: how many others at the most.
    """
    from scipy import sparse

    counts = np.asarray(likes.sum(axis=0)).ravel()  # (N,)
    activity = np.asarray(likes.sum(axis=1)).ravel()  # (U,)
    weighted = sparse.csr_matrix(sparse.diags(1 / np.log(2 + activity)) @ likes)  # (U, N)
    damping = np.maximum(np.asarray(weighted.sum(axis=0)).ravel(), 1e-9) ** POPULARITY_EXPONENT  # (N,)
    position = {movie.tconst: row for row, movie in enumerate(movies)}
    asked = [position[tconst] for tconst in tconsts if counts[position[tconst]] >= MIN_LIKES]
    columns = likes.tocsc()
    for start in range(0, len(asked), _CHUNK):
        rows = asked[start : start + _CHUNK]
        chosen = columns[:, rows].T.tocsr()  # (Q, U)
        together = (chosen @ likes).toarray()  # (Q, N)
        scores = (chosen @ weighted).toarray() * together / np.maximum(together + SHRINKAGE, 1) / damping  # (Q, N)
        scores[(together < MIN_TOGETHER) | (counts < MIN_LIKES)] = 0
        scores[np.arange(len(rows)), rows] = 0
        for row, score in zip(rows, scores, strict=True):
            best = _take_best(score, movies, movies[row].label, n)
            if best:
                yield movies[row].tconst, best


def _take_best(score: NDArray[np.float64], movies: Sequence[Movie], label: str, n: int) -> list[str]:
    """Return the best ids; films of one title and year, which a list can't tell apart, stand once."""
    seen = {label}
    best: list[str] = []
    # Rounded, so that equal scores come in the catalogue's order on every machine.
    for other in np.argsort(-np.round(score, 9), kind="stable")[: 2 * n]:
        if score[other] <= 0 or len(best) == n:
            break
        if movies[other].label not in seen:
            seen.add(movies[other].label)
            best.append(movies[other].tconst)
    return best
