"""The highest of many scores, where sorting them all would take most of the time.

Shapes: N scores.
"""

import numpy as np
from numpy.typing import NDArray

_SAMPLED = 64  # one score in so many tells where to cut
_ENOUGH = 4  # times what is asked for: so many scores above the cut are expected


def take_best(scores: NDArray[np.float32], count: int) -> list[int]:
    """Return the rows of the highest scores, highest first, equal ones by row.

    Args:
        scores: ``(N,)``.
        count: how many rows at the most.

    Example:
        >>> take_best(np.array([0.1, 0.9, 0.9, 0.5], dtype=np.float32), 3)
        [1, 2, 3]
    """
    count = min(count, len(scores))
    if not count:
        return []
    sampled = scores[::_SAMPLED]
    rank = max(1, _ENOUGH * count // _SAMPLED)
    if rank < len(sampled) // 2:
        cut = np.partition(sampled, -rank)[-rank]
        high = np.flatnonzero(scores >= cut)
        if count <= len(high):
            # Sorting is right for any cut; one that lets too many pass only takes longer.
            return _sort(high, scores, count)
    return _sort(np.arange(len(scores)), scores, count)


def _sort(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> list[int]:
    if len(rows) > 8 * count:
        least = np.partition(scores[rows], -count)[-count]
        rows = rows[scores[rows] >= least]
    order = np.argsort(-scores[rows], kind="stable")[:count]
    return [int(row) for row in rows[order]]
