"""The movie that a question is about: is it found, by an encoder alone and by the bot?

Shapes: N movies, Q questions, P pairs, D embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.modules.encoder import encode_texts, load_encoder
from moviebot.modules.metrics import CosineF1
from moviebot.rag.answer import MAX_QUERY_CHARS, Query
from moviebot.rag.pipeline import MovieBot

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


class CachedEncoder:
    """Encodes each text once, however many measurements want it.

    Args:
        folder: a sentence-transformers folder.
    """

    def __init__(self, folder: Path) -> None:
        self.encoder = load_encoder(folder)
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (N, D), each row of length 1."""
        new = sorted(set(texts) - self._vectors.keys())
        self._vectors.update(zip(new, encode_texts(self.encoder, new), strict=True))
        return np.stack([self._vectors[text] for text in texts])


@dataclass(frozen=True)
class LookupScores:
    """How well the movie that a question is about is found.

    Attributes:
        hit_1: share of the questions whose movie is first.
        hit_10: share whose movie is among the first ten.
        mrr: mean reciprocal rank; beyond the ranks that were looked at it counts 0.
        cosine: mean cosine of a question and its movie's label.
        f1: of "this is the question's movie" by a cosine above 0.5, one random negative a positive.
        count: questions asked.
    """

    hit_1: float
    hit_10: float
    mrr: float
    cosine: float
    f1: float
    count: int


@dataclass(frozen=True)
class PairScores:
    """The published measures, over labelled pairs.

    Attributes:
        cosine: mean cosine of the positive pairs.
        f1: of the rule "cosine above 0.5".
        positives: positive pairs.
    """

    cosine: float
    f1: float
    positives: int


def evaluate_encoder_lookup(
    encode: Encode, movies: Sequence[Movie], questions: Sequence[tuple[str, str]], seed: int = 0
) -> LookupScores:
    """Rank the catalogue's labels by the encoder alone.

    Args:
        encode: texts to vectors.
        movies: the catalogue.
        questions: (question, tconst) pairs.
        seed: draws the negatives of F1.
    """
    labels = encode([movie.label for movie in movies])  # (N, D)
    asked = encode([question for question, _ in questions])  # (Q, D)
    position = {movie.tconst: row for row, movie in enumerate(movies)}
    gold = np.array([position[tconst] for _, tconst in questions])
    cosines = asked @ labels.T  # (Q, N)
    ranks = _rank_of(cosines, gold)
    positive = cosines[np.arange(len(gold)), gold]
    draw = np.random.default_rng(seed).integers(1, max(2, len(movies)), len(gold))
    negative = cosines[np.arange(len(gold)), (gold + draw) % len(movies)]
    return LookupScores(
        hit_1=float((ranks <= 1).mean()),
        hit_10=float((ranks <= 10).mean()),
        mrr=float((1 / ranks).mean()),
        cosine=float(positive.mean()),
        f1=_f1(positive, negative),
        count=len(gold),
    )


def evaluate_pairs(encode: Encode, pairs: Sequence[tuple[str, str, int]]) -> PairScores:
    """Measure mean cosine and F1 over pairs, as published.

    Args:
        encode: texts to vectors.
        pairs: (anchor, sample, label) rows, label 1 or 0.
    """
    texts = sorted({text for anchor, sample, _ in pairs for text in (anchor, sample)})
    row = {text: number for number, text in enumerate(texts)}
    vectors = encode(texts)  # (N, D)
    anchors = vectors[[row[anchor] for anchor, _, _ in pairs]]
    samples = vectors[[row[sample] for _, sample, _ in pairs]]
    cosines = (anchors * samples).sum(axis=1)  # (P,)
    labels = np.array([label for _, _, label in pairs])
    positive, negative = cosines[labels == 1], cosines[labels == 0]
    return PairScores(float(positive.mean()), _f1(positive, negative), len(positive))


def find_movies(bot: MovieBot, questions: Sequence[str]) -> dict[str, str | None]:
    """Return the tconst of the movie that the bot would answer each question about, None where it abstains.

    Args:
        bot: needs no generator; the questions go through its encoders together.
        questions: each is asked alone, without a conversation; longer ones than the bot reads find nothing.
    """
    asked = [question for question in dict.fromkeys(questions) if len(question) <= MAX_QUERY_CHARS]
    answers = bot.prepare([Query(question) for question in asked])
    found = {answer.query: answer.movie.tconst if answer.movie else None for answer in answers}
    return {question: found.get(question) for question in questions}


def _rank_of(cosines: NDArray[np.float32], gold: NDArray[np.int64]) -> NDArray[np.float64]:
    own = cosines[np.arange(len(gold)), gold][:, None]
    ahead = (cosines > own).sum(axis=1)
    ties = (cosines == own).sum(axis=1) - 1
    ranks: NDArray[np.float64] = 1 + ahead + ties / 2  # the expected place among equals
    return ranks


def _f1(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    metric = CosineF1()
    cosines = torch.from_numpy(np.concatenate([positive, negative]))
    metric.update(cosines, torch.tensor([1] * len(positive) + [0] * len(negative)))
    return float(metric.compute())
