"""Titles spelt like a part of a query: letters' n-grams choose some, an edit distance compares them with the query.

Shapes: K names, G n-grams, W runs of words.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from moviebot.data.schemas import Movie
from moviebot.rag.take_best import take_best
from moviebot.rag.words import COMMON, Word, fold

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

POOL = 200  # names that the n-grams hand to the edit distance: 97 % of titles with 1 or 2 edits are among them
KEPT = 40  # movies returned
LEAST_LIKENESS = 0.6
_LONGEST_RUN = 12  # words


@dataclass(frozen=True)
class Spelling:
    """A name that is spelt like a run of a query's words.

    Attributes:
        row: the movie.
        name: its name, folded.
        first: the run's first word.
        last: its last.
        likeness: 1 less the edits (insert, delete, substitute, swap) as a share of the longer one's letters.
    """

    row: int
    name: str
    first: int
    last: int
    likeness: float


class SpellingIndex:
    """Finds misspelt titles of a catalogue in text.

    Args:
        movies: the catalogue.

    Example:
        >>> from moviebot.rag.words import split_words
        >>> spellings = SpellingIndex([Movie("tt1", "Night Ferry"), Movie("tt2", "The Long Harbour")])
        >>> [(found.row, found.likeness > 0.8) for found in spellings.find(split_words("cast of nihgt fery"))]
        [(0, True)]
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self.movies = movies

    def find(self, words: Sequence[Word], known: Collection[str] = frozenset()) -> list[Spelling]:
        """Return the names spelt most like a run of words, best first, one a movie.

        Args:
            words: a query's.
            known: words that are surely no misspelling; the others are looked for once more on their own.
        """
        plain = [word.plain for word in words]
        rare = [word for word in plain if word not in COMMON]
        unknown = [word for word in rare if word not in known]
        texts = list(dict.fromkeys(" ".join(part) for part in (rare or plain, unknown) if part))
        if not texts or not self._names:
            return []
        vectoriser, matrix = self._ngrams
        scores = _multiply(vectoriser.transform(texts), matrix)  # (K,)
        pool = sorted(entry for entry in take_best(scores, POOL) if scores[entry] > 0)
        return self._compare(pool, plain)

    def _compare(self, pool: Sequence[int], plain: Sequence[str]) -> list[Spelling]:
        names = [self._names[entry][1] for entry in pool]
        if not names:
            return []
        longest = min(_LONGEST_RUN, 1 + max(name.count(" ") + 1 for name in names))
        runs = [
            (first, first + length - 1)
            for length in range(1, longest + 1)
            for first in range(len(plain) - length + 1)
            if not all(word in COMMON for word in plain[first : first + length])  # "directed" is no "Redirected"
        ]
        if not runs:
            return []
        texts = [" ".join(plain[first : last + 1]) for first, last in runs]
        likeness = process.cdist(names, texts, scorer=OSA.normalized_similarity, score_cutoff=LEAST_LIKENESS)  # (K, W)
        best = likeness.argmax(axis=1)
        found: dict[int, Spelling] = {}
        for number, entry in enumerate(pool):
            value = float(likeness[number, best[number]])
            row, name = self._names[entry]
            if value >= LEAST_LIKENESS and (row not in found or found[row].likeness < value):
                first, last = runs[best[number]]
                found[row] = Spelling(row, name, first, last, value)
        # A longer name that is as like tells more.
        ranked = sorted(found.values(), key=lambda spelling: (-_weigh(spelling), spelling.row))
        return ranked[:KEPT]

    @cached_property
    def _names(self) -> list[tuple[int, str]]:
        return [
            (row, plain)
            for row, movie in enumerate(self.movies)
            for plain in dict.fromkeys(
                fold(name) for name in (movie.title, movie.original_title or movie.title, *movie.akas)
            )
        ]

    @cached_property
    def _ngrams(self) -> "tuple[TfidfVectorizer, sparse.csr_matrix]":
        from scipy import sparse
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Within words: a typo leaves most of a title's n-grams whole.
        vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True, dtype=np.float32)
        return vectoriser, sparse.csr_matrix(vectoriser.fit_transform([name for _, name in self._names]).T)  # (G, K)


def _multiply(texts: "sparse.csr_matrix", matrix: "sparse.csr_matrix") -> NDArray[np.float32]:
    """Return ``(K,)`` each name's best product with any of the texts, by way of the names that hold their n-grams.

    scipy's product of two sparse matrices, and the maximum of what comes of it, take ten times as long.
    """
    best = np.zeros(matrix.shape[1], dtype=np.float32)
    for number in range(texts.shape[0]):
        scores = np.zeros_like(best)
        found = slice(texts.indptr[number], texts.indptr[number + 1])
        _compile_add()(texts.indices[found], texts.data[found], matrix.indptr, matrix.indices, matrix.data, scores)
        best = np.maximum(best, scores)
    return best


@cache
def _compile_add() -> Callable[..., None]:
    from moviebot.compiled import compile_loop

    return compile_loop(_add)


def _add(
    grams: NDArray[np.int32],
    shares: NDArray[np.float32],
    starts: NDArray[np.int32],
    holders: NDArray[np.int32],
    weights: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> None:
    for place in range(len(grams)):
        share = shares[place]
        for entry in range(starts[grams[place]], starts[grams[place] + 1]):
            scores[holders[entry]] += share * weights[entry]


def _weigh(spelling: Spelling) -> float:
    return spelling.likeness * min(1.0, 0.6 + 0.02 * len(spelling.name))
