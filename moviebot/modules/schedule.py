"""The learning rate's course: a linear warm-up, then down to zero along a cosine or a line, or not at all."""

import math
from collections.abc import Callable
from typing import Literal

Schedule = Literal["cosine", "linear", "constant"]


def warm_up_and_decay(steps: int, warmup_share: float, schedule: Schedule = "cosine") -> Callable[[int], float]:
    """Return the factor of the learning rate at each optimiser step.

    Args:
        steps: optimiser steps of the whole training, at least 1.
        warmup_share: the part of them, 0 to 1, over which the rate rises.
        schedule: how it falls afterwards, to zero at the last step; ``constant`` does not.

    Returns:
        A function from the step (0-based) to a factor in [0, 1].

    Example:
        >>> factor = warm_up_and_decay(steps=10, warmup_share=0.2)
        >>> [round(factor(step), 2) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = math.ceil(steps * warmup_share)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        if schedule == "constant":
            return 1.0
        if schedule == "linear":
            return 1.0 - progress
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor
