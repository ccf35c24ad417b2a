"""Contrastive pairs for the two retrievers: question -> movie, and movie -> recommended movie."""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from moviebot.artefact import write_whole
from moviebot.data.documents import movie_text
from moviebot.data.schemas import PAIR_SCHEMA, Movie, QAPair, RecommendationList, Split
from moviebot.data.splits import normalise_title
from moviebot.data.typos import add_typo

NEGATIVES = 2  # a positive, as published
TYPO_SHARE = 0.2  # of the questions, as published
MAY_SEE: dict[Split, tuple[Split, ...]] = {
    "train": ("train",),
    "val": ("train", "val"),
    "test": ("train", "val", "test"),
}
"""The splits whose movies a row of a split may show: no test movie is ever seen in training."""

PairRow = dict[str, str | int]


class PairBuilder:
    """Builds pairs; the same input and seed give the same pairs.

    Args:
        movies: the catalogue.
        splits: the split of each movie.
        seed: of the negatives and the typos.
    """

    def __init__(self, movies: Sequence[Movie], splits: Mapping[str, Split], seed: int = 0) -> None:
        self._movies = {movie.tconst: movie for movie in movies}
        self._titles = {movie.tconst: normalise_title(movie.title) for movie in movies}
        self._texts: dict[str, str] = {}
        self._pools = {
            split: [movie.tconst for movie in movies if splits[movie.tconst] in allowed]
            for split, allowed in MAY_SEE.items()
        }
        self._seed = seed

    def pair_questions(self, pairs: Iterable[QAPair]) -> list[PairRow]:
        """Pair each question with its movie's label, and with two others'; one question in five is misspelt."""
        rows: list[PairRow] = []
        for pair in pairs:
            rng = random.Random(f"{self._seed}:{pair.tconst}:{pair.question}")
            movie = self._movies[pair.tconst]
            question = pair.question
            if rng.random() < TYPO_SHARE:
                question = add_typo(question, rng, within=movie.title)
            negatives = self._draw(pair.split, rng, {pair.tconst})
            for label, tconst in [(1, pair.tconst), *((0, negative) for negative in negatives)]:
                rows.append(_row(question, self._movies[tconst].label, label, pair.tconst, tconst, pair.split))
        return rows

    def pair_recommendations(self, lists: Iterable[RecommendationList]) -> list[PairRow]:
        """Pair each movie's text with each recommended movie's, and with two others' for each of these."""
        rows: list[PairRow] = []
        for row in lists:
            rng = random.Random(f"{self._seed}:{row.tconst}:{row.source}")
            taken = {row.tconst, *row.recommended}
            for recommended in row.recommended:
                negatives = self._draw(row.split, rng, taken)
                for label, tconst in [(1, recommended), *((0, negative) for negative in negatives)]:
                    text, other = self._text(row.tconst), self._text(tconst)
                    rows.append(_row(text, other, label, row.tconst, tconst, row.split))
        return rows

    def _draw(self, split: Split, rng: random.Random, taken: set[str]) -> list[str]:
        """Draw movies of other titles than those taken; fewer than two only where there are no more."""
        pool = self._pools[split]
        titles = {self._titles[tconst] for tconst in taken}
        drawn: list[str] = []
        for tconst in rng.sample(pool, min(len(pool), NEGATIVES + 2 * len(taken) + 8)):
            if self._titles[tconst] not in titles:
                drawn.append(tconst)
                titles.add(self._titles[tconst])
            if len(drawn) == NEGATIVES:
                break
        return drawn

    def _text(self, tconst: str) -> str:
        if tconst not in self._texts:
            self._texts[tconst] = movie_text(self._movies[tconst])
        return self._texts[tconst]


def write_pairs(path: Path, rows: Sequence[PairRow]) -> None:
    """Write ``question_pairs.parquet`` or ``recommend_pairs.parquet``, whole or not at all."""
    with write_whole(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=PAIR_SCHEMA), temporary, compression="zstd")


def _row(anchor: str, sample: str, label: int, tconst_anchor: str, tconst_sample: str, split: Split) -> PairRow:
    return {"anchor": anchor, "sample": sample, "label": label, "tconst_anchor": tconst_anchor,
            "tconst_sample": tconst_sample, "split": split}  # fmt: skip
