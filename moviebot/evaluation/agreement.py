"""What people's judgements say: the share judged right with its Wilson interval, and how far the people agree.

Legend: N items, R judges of each.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from moviebot.evaluation.bootstrap import Interval

_Z = 1.959964  # the normal distribution's 97.5 % point, for 95 % intervals


def measure_share(right: int, count: int) -> Interval:
    """Return a share with its 95 % Wilson interval, which stays within 0 to 1 and is honest at 0 and at 1.

    Args:
        right: cases that hold.
        count: cases; a share of none is NaN.

    Raises:
        ValueError: more cases hold than there are, or fewer than none.

    Example:
        >>> str(measure_share(82, 100))
        '.820 [.733, .883]'

    Source:
        Wilson: Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    if not 0 <= right <= count:
        raise ValueError(f"{right} of {count} is no share")
    if not count:
        return Interval(math.nan, math.nan, math.nan)
    share, shrink = right / count, 1 + _Z**2 / count
    centre = (share + _Z**2 / (2 * count)) / shrink
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / shrink
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def measure_kappa(items: Sequence[Sequence[Hashable]]) -> float:
    """Return the agreement beyond chance: Cohen's kappa of two judges, Fleiss' of more; NaN where it is undefined.

    Undefined is: fewer than two judges, no item, or all judgements alike, where chance alone would agree wholly.

    Args:
        items: (N, R) the judgements of each item, the judges in the same order; only items that all have judged.

    Raises:
        ValueError: items have different numbers of judgements.

    Example:
        >>> round(measure_kappa([("y", "y"), ("y", "n"), ("n", "n"), ("n", "n")]), 2)
        0.5

    Source:
        Cohen: A coefficient of agreement for nominal scales, 1960; Fleiss: Measuring nominal scale agreement among
        many raters, 1971, equation 7.
    """
    judges = {len(item) for item in items}
    if len(judges) > 1:
        raise ValueError(f"items have different numbers of judgements: {sorted(judges)}")
    if not items or (raters := judges.pop()) < 2:
        return math.nan
    if raters == 2:
        first, second = (Counter(item[place] for item in items) for place in (0, 1))
        observed = sum(item[0] == item[1] for item in items) / len(items)
        chance = sum(first[label] * second[label] for label in first) / len(items) ** 2
    else:
        counts = [Counter(item) for item in items]
        agreeing = sum(number * (number - 1) for item in counts for number in item.values())
        observed = agreeing / (len(items) * raters * (raters - 1))
        total = sum(counts, Counter[Hashable]())
        chance = sum((number / (len(items) * raters)) ** 2 for number in total.values())
    return math.nan if chance == 1 else (observed - chance) / (1 - chance)
