"""How far a mean over cases may be off: the percentile bootstrap.

Legend: B draws, N cases.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_DRAWS = 2000


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it as ``.872 [.851, .893]``."""
        mean, low, high = (f"{value:.3f}" for value in self)
        return f"{mean} [{low}, {high}]".replace("0.", ".")


def measure_mean(values: Sequence[float] | NDArray[np.float64], seed: int = 0) -> Interval:
    """Return the mean of independent cases with its 95 % interval.

    Args:
        values: one value a case, for example 1 for a hit and 0 for a miss.
        seed: of the draws.

    Example:
        >>> str(measure_mean([1.0] * 90 + [0.0] * 10))
        '.900 [.840, .960]'

    Source:
        Efron & Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.
    """
    cases = np.asarray(values, dtype=np.float64)
    if not len(cases):
        return Interval(float("nan"), float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    # Drawn as counts of each case, (B, N), block by block: a matrix of all draws would be large for many cases.
    means = [cases[rng.integers(len(cases), size=len(cases))].mean() for _ in range(_DRAWS)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(cases.mean()), float(low), float(high))
