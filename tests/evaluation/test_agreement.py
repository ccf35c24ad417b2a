"""Shares and agreement against figures that were computed by hand or published."""

import math

import pytest

from moviebot.evaluation.agreement import measure_kappa, measure_share

# Fleiss' worked example: ten items, fourteen judges, five categories; the published kappa is 0.210.
FLEISS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (82, 100, 0.7333, 0.8830)],
)
def test_wilson_interval(right: int, count: int, low: float, high: float) -> None:
    share = measure_share(right, count)
    assert share.mean == right / count
    assert list(share[1:]) == pytest.approx([low, high], abs=1e-4)


def test_share_of_nothing_and_of_nonsense() -> None:
    assert math.isnan(measure_share(0, 0).mean)
    with pytest.raises(ValueError, match="11 of 10 is no share"):
        measure_share(11, 10)


def test_cohen_by_hand() -> None:
    items = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert measure_kappa(items) == pytest.approx((0.7 - 0.5) / 0.5)  # 35 of 50 agree; chance .5 * .6 + .5 * .4


def test_fleiss_as_published() -> None:
    items = [[label for label, number in enumerate(row) for _ in range(number)] for row in FLEISS]
    assert measure_kappa(items) == pytest.approx(0.210, abs=5e-4)


def test_undefined_agreement() -> None:
    assert math.isnan(measure_kappa([]))
    assert math.isnan(measure_kappa([("y",)]))
    assert math.isnan(measure_kappa([("y", "y"), ("y", "y")]))
    with pytest.raises(ValueError, match="different numbers"):
        measure_kappa([("y", "y"), ("y", "n", "n")])
