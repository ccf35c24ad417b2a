import numpy as np
import pytest

from moviebot.rag.take_best import take_best


@pytest.mark.parametrize("size", [0, 1, 40, 5_000, 100_000])
@pytest.mark.parametrize("kind", ["drawn", "few values", "one value", "sorted", "mostly zero"])
def test_is_what_sorting_them_all_gives(size: int, kind: str) -> None:
    rng = np.random.default_rng(size)
    scores = {
        "drawn": rng.normal(size=size),
        "few values": rng.integers(0, 5, size),
        "one value": np.ones(size),
        "sorted": np.arange(size),
        "mostly zero": np.where(rng.uniform(size=size) < 0.001, rng.uniform(size=size), 0.0),
    }[kind].astype(np.float32)
    assert take_best(scores, 30) == np.argsort(-scores, kind="stable")[:30].tolist()
