"""Fits a pair scorer to lists of what people liked together.

Legend: N movies, F features, L lists, C movies compared.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import group_movies
from moviebot.rag.pair_features import FEATURES, PairFeatures
from moviebot.rag.pair_scorer import PairScorer
from moviebot.rag.taste import fit_taste

MIN_LISTS = 200  # below, a fit follows the few lists
_FOLDS = 5  # of series: a list's taste features come from a taste that has not seen its movie, nor its series
_NEGATIVES = 300  # movies a list is told from, drawn evenly
_PENALTY = 0.001


def fit_pair_scorer(
    movies: Sequence[Movie],
    vectors: NDArray[np.float32],
    lists: Mapping[int, Sequence[int]],
    seed: int = 0,
    *,
    with_taste: bool = True,
) -> PairScorer | None:
    """Fit a scorer to lists of what people liked together.

    What is made likely is that a movie drawn by the scorer is *any* of the list: ``-log sum p`` over the list. The mean
    of ``-log p``, the usual listwise loss, spends the weights on those of a list that nothing foretells.

    Args:
        movies: the catalogue.
        vectors: ``(N, D)`` unit embeddings of the movies' texts.
        lists: a movie's row to the rows of its list, best first; only training movies, as seed and in the lists.
        seed: of the draw of negatives.
        with_taste: fit the taste too; without, the scorer knows nothing but what is in a catalogue.

    Returns:
        None where the lists are fewer than ``MIN_LISTS``.
    """
    lists = {row: found for row, found in lists.items() if found}
    if len(lists) < MIN_LISTS:
        return None
    groups = group_movies(movies)
    folds = np.array([_hash(groups[movie.tconst]) % _FOLDS for movie in movies])
    known = np.array(sorted({row for seeded, found in lists.items() for row in (seeded, *found)}))
    rng = np.random.default_rng(seed)
    blocks: list[NDArray[np.float32]] = []
    goals: list[NDArray[np.bool_]] = []
    for fold in range(_FOLDS):
        rest = {row: [x for x in found if folds[x] != fold] for row, found in lists.items() if folds[row] != fold}
        features = PairFeatures(movies, vectors, fit_taste(movies, vectors, rest) if with_taste else None)
        for row in (row for row in lists if folds[row] == fold):
            chosen = _draw(rng, len(movies), known, lists[row], row)
            blocks.append(features.compare(row)[chosen])
            goals.append(np.isin(chosen, lists[row]))
    weights = _maximise(blocks, goals, len(movies))
    return PairScorer(fit_taste(movies, vectors, lists) if with_taste else None, weights)


def _draw(
    rng: np.random.Generator, n: int, known: NDArray[np.int64], found: Sequence[int], seed: int
) -> NDArray[np.int64]:
    """Return a list's movies and others to tell them from, half of these from the lists, the harder half."""
    half = _NEGATIVES // 2
    drawn = (rng.choice(n, min(half, n), replace=False), rng.choice(known, min(half, len(known)), replace=False))
    chosen = np.unique(np.concatenate([*drawn, np.asarray(found)]))
    return np.asarray(chosen[chosen != seed])


def _maximise(blocks: Sequence[NDArray[np.float32]], goals: Sequence[NDArray[np.bool_]], n: int) -> NDArray[np.float32]:
    """Return the weights ``(F,)`` that make any of each list's movies most likely."""
    from scipy.optimize import minimize

    x, listed = np.vstack(blocks).astype(np.float64), np.concatenate(goals)  # (C, F), (C,)
    sizes = np.array([len(block) for block in blocks])
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    offset = np.where(listed, 0.0, np.log(n / _NEGATIVES))  # a drawn movie stands for those not drawn
    spread = x.std(axis=0)
    spread[spread < 1e-6] = np.inf  # what never differs weighs nothing
    x = (x - x.mean(axis=0)) / spread

    def measure_loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = x @ weights + offset
        odds = np.exp(logits - np.repeat(np.maximum.reduceat(logits, starts), sizes))
        right = np.where(listed, odds, 0.0)
        all_odds, right_odds = np.add.reduceat(odds, starts), np.add.reduceat(right, starts) + 1e-300
        loss = np.log(all_odds / right_odds).mean() + _PENALTY * weights @ weights
        slope = odds / np.repeat(all_odds, sizes) - right / np.repeat(right_odds, sizes)  # (C,)
        return float(loss), x.T @ slope / len(sizes) + 2 * _PENALTY * weights

    fitted = minimize(measure_loss, np.zeros(len(FEATURES)), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return np.asarray(fitted.x / spread, dtype=np.float32)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
