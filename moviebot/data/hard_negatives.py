"""Movies that are easily taken for another one: what a retriever must learn to keep apart."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from rich.progress import track

from moviebot.data.schemas import Movie
from moviebot.data.splits import franchise_key, normalise_title

NEAR_SPELLING = 75.0
"""rapidfuzz's ratio, 0 to 100: "alien" and "aliens" have 91, "jaws" and "paws" 75."""
RELATIVE_MARGIN = 0.95
"""A mined movie is no closer than this share of the closest possible: what is closer may be the same movie twice."""
_CHUNK = 512


def find_rivals(movies: Sequence[Movie], wanted: Collection[str], per_kind: int = 4) -> dict[str, list[str]]:
    """Find for each movie those of its title, of its franchise, and of a title that is spelt nearly the same.

    Args:
        movies: those to choose from: the training split's, for a test movie's title must not be seen in training.
        wanted: ids of the movies whose rivals are asked for.
        per_kind: at most so many of each kind.

    Returns:
        Ids by id, closest kind first; never a movie that reads the same as the wanted one. Movies without rivals are
        left out.

    Example:
        >>> films = [Movie("tt1", "Alien", year=1979), Movie("tt2", "Aliens", year=1986), Movie("tt3", "Up", year=2009)]
        >>> find_rivals(films, {"tt1", "tt3"})
        {'tt1': ['tt2']}
    """
    titles = [normalise_title(movie.title) for movie in movies]
    by_title, by_franchise = _group(titles), _group([franchise_key(movie.title) for movie in movies])
    rows = [row for row, movie in enumerate(movies) if movie.tconst in wanted]
    near = _find_near_spellings(titles, rows, per_kind)
    rivals: dict[str, list[str]] = {}
    for row in rows:
        movie = movies[row]
        same = [other for other in by_title[titles[row]] if other != row][:per_kind]
        series = [other for other in by_franchise[franchise_key(movie.title)] if other != row][:per_kind]
        found = [movies[other] for other in dict.fromkeys([*same, *series, *near[row]])]
        ids = [other.tconst for other in found if other.label != movie.label]
        if ids:
            rivals[movie.tconst] = ids
    return rivals


def mine_rivals(vectors: NDArray[np.float32], rows: Sequence[int], count: int) -> dict[int, list[int]]:
    """Find for each document those that an encoder takes for the most alike.

    Args:
        vectors: ``(N, D)`` documents, each row of length 1.
        rows: whose rivals are asked for.
        count: rivals a document.

    Returns:
        Rows by row, closest first, none closer than :data:`RELATIVE_MARGIN` of the document's cosine with itself.
    """
    mined: dict[int, list[int]] = {}
    for start in track(range(0, len(rows), _CHUNK), description="Mining", transient=True, disable=len(rows) < _CHUNK):
        chunk = list(rows[start : start + _CHUNK])
        cosines = vectors[chunk] @ vectors.T  # (chunk, N)
        cosines[cosines > RELATIVE_MARGIN] = -1
        best = np.argpartition(-cosines, min(count, len(vectors) - 1), axis=1)[:, :count]
        for line, row in enumerate(chunk):
            order = sorted(best[line].tolist(), key=lambda other: (-cosines[line, other], other))
            mined[row] = [other for other in order if cosines[line, other] > 0]
    return mined


def _group(keys: Sequence[str]) -> Mapping[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        groups[key].append(row)
    return groups


def _find_near_spellings(titles: Sequence[str], rows: Sequence[int], count: int) -> dict[int, list[int]]:
    near: dict[int, list[int]] = {}
    starts = range(0, len(rows), _CHUNK)
    for start in track(starts, description="Near spellings", transient=True, disable=len(rows) < _CHUNK):
        chunk = list(rows[start : start + _CHUNK])
        scores = process.cdist(
            [titles[row] for row in chunk], titles, scorer=fuzz.ratio, score_cutoff=NEAR_SPELLING, dtype=np.uint8
        )  # (chunk, N), 0 below the cutoff
        for line, row in enumerate(chunk):
            found = np.flatnonzero(scores[line])
            order = sorted(found.tolist(), key=lambda other: (-int(scores[line, other]), other))
            near[row] = [other for other in order if other != row][:count]
    return near
