"""The learning rate's course: a linear warm-up, then a cosine down to zero."""

import math
from collections.abc import Callable


def cosine_with_warmup(steps: int, warmup_share: float) -> Callable[[int], float]:
    """Return the factor of the learning rate at each optimiser step.

    Args:
        steps: optimiser steps of the whole training, at least 1.
        warmup_share: the part of them, 0 to 1, over which the rate rises.

    Returns:
        A function from the step (0-based) to a factor in [0, 1].

    Example:
        >>> factor = cosine_with_warmup(steps=10, warmup_share=0.2)
        >>> [round(factor(step), 2) for step in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = math.ceil(steps * warmup_share)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, steps - warmup))
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor
