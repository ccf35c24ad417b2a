"""Which movie does a query mean?

Four views of the catalogue, from the surest to the vaguest: titles and aliases that stand in the query word for word
(:class:`~moviebot.rag.titles.TitleIndex`); titles spelt like a part of it; titles whose embedding is near the query's
(the question retriever's index); and descriptions that tell the same story (words, and the recommend retriever's
index). A score of 0 to 1 says how sure the first place is; below a threshold the resolver names no movie.

Shapes: N movies, Q queries, D embedding, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

from moviebot.data.schemas import Movie
from moviebot.rag.titles import Mention, TitleIndex

MAX_CANDIDATES = 10
ABSTAIN_BELOW = 0.5
_POOL = 50  # movies that each view puts forward
_COSINE_WEIGHT = 1.5  # beside the word score, whose best is 1; 1 to 2 are equally good on plots of other texts
_LONG_WORDS = 12  # as long, and without a title: it tells of something
_BM25_K1, _BM25_B = 1.2, 0.75  # the defaults of Robertson & Zaragoza (2009), https://doi.org/10.1561/1500000019


@dataclass(frozen=True)
class Resolution:
    """Movies a query may mean.

    Attributes:
        rows: catalogue rows, likeliest first, at most :data:`MAX_CANDIDATES`.
        score: 0 to 1, how sure the first is; 0 where there is none.
    """

    rows: tuple[int, ...]
    score: float

    @property
    def row(self) -> int | None:
        """The movie meant, or None where the score is too low to name one."""
        return self.rows[0] if self.rows and self.score >= ABSTAIN_BELOW else None


class MovieResolver:
    """Finds the movie a query means.

    Args:
        movies: the catalogue, N movies.
        label_vectors: ``(N, D)`` embeddings of the movies' labels, or None to go without.
        text_vectors: ``(N, D)`` embeddings of the movies' texts (descriptions in them), or None to go without.
    """

    def __init__(
        self,
        movies: Sequence[Movie],
        label_vectors: NDArray[np.float32] | None = None,
        text_vectors: NDArray[np.float32] | None = None,
    ) -> None:
        self.movies = movies
        self.titles = TitleIndex(movies)
        self.label_vectors = label_vectors
        self.text_vectors = text_vectors

    def resolve(
        self,
        query: str,
        mentions: Sequence[Mention],
        is_description: bool = False,
        label_query: NDArray[np.float32] | None = None,
        text_query: NDArray[np.float32] | None = None,
    ) -> Resolution:
        """Rank the movies for one query.

        Args:
            query: the person's words.
            mentions: what :meth:`TitleIndex.find_mentions` found in it.
            is_description: the query tells a plot, so that a title found in it counts for little.
            label_query: ``(D,)`` the query's embedding by the question retriever.
            text_query: ``(D,)`` the query's embedding by the recommend retriever.
        """
        scores: dict[int, float] = {}
        for mention in mentions:
            for place, row in enumerate(mention.rows[:MAX_CANDIDATES]):
                scores[row] = max(scores.get(row, 0.0), mention.score - 0.02 * place)
        is_long = len(query.split()) >= _LONG_WORDS and max(scores.values(), default=0.0) < 0.6
        if is_description or is_long:
            # "When Rocky is defeated by ..." may well be a Rocky movie; "a heist in Rome" is not the movie "Rome".
            scores = {row: 0.3 * score for row, score in scores.items()}
            for row, score in self._match_story(query, text_query).items():
                scores[row] = scores.get(row, 0.0) + score
        elif max(scores.values(), default=0.0) < 0.85 or len(scores) < MAX_CANDIDATES:
            for row, score in self._match_spelling(query, label_query).items():
                # Below what stands in the query word for word, unless that has little evidence.
                scores[row] = max(scores.get(row, 0.0), 0.8 * score)
        ranked = sorted(scores.items(), key=lambda item: (-item[1], -(self.movies[item[0]].votes or 0), item[0]))
        best = ranked[:MAX_CANDIDATES]
        return Resolution(tuple(row for row, _ in best), round(min(1.0, best[0][1]), 4) if best else 0.0)

    def _match_spelling(self, query: str, vector: NDArray[np.float32] | None) -> dict[int, float]:
        similar = dict(self.titles.find_similar(query, _POOL))
        if vector is None or self.label_vectors is None:
            return similar
        cosines = self.label_vectors @ vector  # (N,)
        near = np.argpartition(-cosines, min(_POOL, len(cosines) - 1))[:_POOL]
        rows = {int(row) for row in near} | set(similar)
        return {row: 0.9 * similar.get(row, 0.0) + 0.1 * max(0.0, float(cosines[row])) for row in rows}

    def _match_story(self, query: str, vector: NDArray[np.float32] | None) -> dict[int, float]:
        words = self._weigh_words(query)  # (N,)
        total = words / max(float(words.max()), 1e-9)
        if vector is not None and self.text_vectors is not None:
            cosines = self.text_vectors @ vector  # (N,)
            total = (total + _COSINE_WEIGHT * cosines) / (1 + _COSINE_WEIGHT)
            sure = float(cosines.max())
        else:
            sure = 0.5
        rows = np.argpartition(-total, min(_POOL, len(total) - 1))[:_POOL]
        # The best place's share of what is possible says little; how near its text is says whether there is one at all.
        best = max(float(total.max()), 1e-9)
        return {int(row): float(total[row]) / best * (0.2 + 0.8 * sure) for row in rows}

    def _weigh_words(self, query: str) -> NDArray[np.float32]:
        vectoriser, weights = self._bm25
        counts = vectoriser.transform([query])  # (1, V)
        counts.data[:] = 1
        scores: NDArray[np.float32] = (weights @ counts.T).toarray()[:, 0]
        return scores

    @cached_property
    def _bm25(self) -> tuple[CountVectorizer, "_Matrix"]:
        vectoriser = CountVectorizer(stop_words="english", dtype=np.float32)
        texts = [
            " ".join((movie.title, *movie.cast, *movie.directors, movie.description or "")) for movie in self.movies
        ]
        counts = vectoriser.fit_transform(texts or ["none"]).tocsc()  # (N, V)
        n = counts.shape[0]
        lengths = np.asarray(counts.sum(axis=1))[:, 0]
        present = np.diff(counts.indptr)
        idf = np.log1p((n - present + 0.5) / (present + 0.5))
        norm = _BM25_K1 * (1 - _BM25_B + _BM25_B * lengths / max(float(lengths.mean()), 1e-9))
        column = np.repeat(np.arange(counts.shape[1]), present)
        counts.data = idf[column] * counts.data * (_BM25_K1 + 1) / (counts.data + norm[counts.indices])
        return vectoriser, counts.tocsr().astype(np.float32)


_Matrix = NDArray[np.float32]  # a scipy.sparse matrix, which has no types
