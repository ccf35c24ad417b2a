"""Which movies tell a story like a query's words? For people who describe a movie instead of naming it.

Shapes: N movies.
"""

from collections.abc import Sequence
from functools import cached_property

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

from moviebot.data.schemas import Movie

# Short documents of like length: less saturation and less correction for length than the usual 1.2 and 0.75.
_K1, _B = 0.9, 0.4


class StoryIndex:
    """Ranks movies by the words of their title, people and description (BM25).

    Args:
        movies: the catalogue.

    Example:
        >>> stories = StoryIndex([Movie("tt1", "A", description="Two thieves rob a bank."), Movie("tt2", "B")])
        >>> (stories.score("a thief robs banks") > 0).tolist()
        [True, False]

    Source:
        Robertson & Zaragoza (2009), https://doi.org/10.1561/1500000019; the package bm25s.
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self.movies = movies

    def score(self, query: str) -> NDArray[np.float32]:
        """Return ``(N,)``, 0 where no word is shared."""
        words = dict.fromkeys(self._cut([query])[0])  # a word said ten times is no more of a sign
        index = self._index
        known = [word for word in words if word in index.vocab_dict] if index is not None else []
        if index is None or not known:
            return np.zeros(len(self.movies), dtype=np.float32)
        scores: NDArray[np.float32] = index.get_scores(known)  # (N,)
        return scores

    def score_best(self, query: str) -> float:
        """Return what a movie would score that has each of the query's known words about once: the scale of scores."""
        index = self._index
        if index is None:
            return 1.0
        count = len(self.movies)
        holders = [self._holders.get(word, 0) for word in dict.fromkeys(self._cut([query])[0])]
        return sum(float(np.log1p((count - held + 0.5) / (held + 0.5))) for held in holders if held) or 1.0

    @cached_property
    def _index(self) -> bm25s.BM25 | None:
        texts = [" ".join((m.title, *m.cast, *m.directors, m.description or "")) for m in self.movies]
        corpus = self._cut(texts)
        if not any(corpus):
            return None
        index = bm25s.BM25(k1=_K1, b=_B)
        index.index(corpus, show_progress=False)
        return index

    @cached_property
    def _holders(self) -> dict[str, int]:
        index = self._index
        assert index is not None
        starts = index.scores["indptr"]
        counts = np.diff(starts)  # bm25s adds an empty word of its own behind the others
        return {word: int(counts[number]) for word, number in index.vocab_dict.items() if number < len(counts)}

    def _cut(self, texts: Sequence[str]) -> list[list[str]]:
        cut: list[list[str]] = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        return cut

    @cached_property
    def _stemmer(self) -> Stemmer.Stemmer:
        return Stemmer.Stemmer("english")
