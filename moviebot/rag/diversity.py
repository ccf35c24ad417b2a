"""Twenty that differ: maximal marginal relevance (Carbonell and Goldstein, 1998) over the best of a ranking."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pick_diverse(scores: Sequence[float], vectors: NDArray[np.float32], k: int, weight: float) -> list[int]:
    """Return the places of ``k`` candidates, each the best after what it repeats of those before it is taken off.

    Args:
        scores: ``(C,)`` of the candidates, best first.
        vectors: ``(C, D)`` unit vectors of the candidates.
        k: how many.
        weight: how much a whole likeness costs, in standard deviations of the scores; 0 keeps the order.

    Example:
        >>> same = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
        >>> pick_diverse([3.0, 2.9, 2.8], same, 2, 2.0)
        [0, 2]
    """
    if not len(scores):
        return []
    left = np.array(scores, dtype=np.float64)
    cost = weight * float(left.std())
    likeness = np.full(len(left), -1.0)
    picked: list[int] = []
    for _ in range(min(k, len(left))):
        best = int(np.argmax(left - (cost * np.maximum(likeness, 0.0) if picked else 0.0)))
        picked.append(best)
        left[best] = -np.inf
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return picked
