"""Other ways of finding the movie a query means, which tools/bench_lookup.py measures beside the bot's.

Each ranks the catalogue for a query and returns the best rows. Legend: N movies.
"""

from collections.abc import Callable, Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.modules.encoder import encode_texts
from moviebot.modules.index import MovieIndex

DEPTH = 10
Rank = Callable[[Sequence[str]], list[list[int]]]


def rank_by_longest_title(movies: Sequence[Movie]) -> Rank:
    """Take the movie with the longest title that stands in the query, word for word; the most voted of equals."""
    rows: dict[str, list[int]] = {}
    for row, movie in enumerate(movies):
        rows.setdefault(normalise_title(movie.title), []).append(row)
    for found in rows.values():
        found.sort(key=lambda row: -(movies[row].votes or 0))
    longest = max((title.count(" ") + 1 for title in rows), default=1)

    def rank(queries: Sequence[str]) -> list[list[int]]:
        answers = []
        for query in queries:
            words = normalise_title(query).split()
            runs = (
                " ".join(words[first : first + length])
                for length in range(1, longest + 1)
                for first in range(len(words) - length + 1)
            )
            known = sorted({run for run in runs if run in rows}, key=lambda run: -len(run))
            answers.append([row for run in known for row in rows[run]][:DEPTH])
        return answers

    return rank


def rank_by_bm25(texts: Sequence[str]) -> Rank:
    """Rank by the words that the query shares with a text a movie (bm25s with its own settings)."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize(list(texts), stopwords="en", show_progress=False), show_progress=False)

    def rank(queries: Sequence[str]) -> list[list[int]]:
        answers = []
        for words in bm25s.tokenize(list(queries), stopwords="en", return_ids=False, show_progress=False):
            known = [word for word in words if word in index.vocab_dict]
            answers.append(_find_best(index.get_scores(known)) if known else [])
        return answers

    return rank


def rank_by_ngrams(movies: Sequence[Movie]) -> Rank:
    """Rank labels by the 2 to 4 letters that the query shares with them (TF-IDF, cosine)."""
    vectoriser = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    matrix = vectoriser.fit_transform(movie.label for movie in movies)  # (N, n-grams)

    def rank(queries: Sequence[str]) -> list[list[int]]:
        return [_find_best((matrix @ vectoriser.transform([query]).T).toarray()[:, 0]) for query in queries]

    return rank


def rank_by_index(encoder: SentenceTransformer, index: MovieIndex) -> Rank:
    """Rank by an encoder's cosine alone."""

    def rank(queries: Sequence[str]) -> list[list[int]]:
        rows, _ = index.search_rows(encode_texts(encoder, list(queries)), DEPTH)
        found: list[list[int]] = rows.tolist()
        return found

    return rank


def _find_best(scores: NDArray[np.float32]) -> list[int]:
    """Return the rows of the highest scores above zero, the first of equals first."""
    count = min(DEPTH, len(scores))
    best = np.argpartition(-scores, count - 1)[:count]
    return [int(row) for row in best[np.lexsort((best, -scores[best]))] if scores[row] > 0]
