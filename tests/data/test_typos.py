import random

from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import OSA

from moviebot.data.typos import add_typo


@given(st.text(min_size=1, max_size=30), st.integers(0, 1000))
def test_one_or_two_edits(text: str, seed: int) -> None:
    typed = add_typo(text, random.Random(seed))
    assert OSA.distance(text, typed) <= (1 if len(text) < 8 else 2) * 1 + 1  # two edits at one place may read as three
    assert typed != text or not any(char.isalnum() for char in text)


def test_only_the_title_is_misspelt() -> None:
    for seed in range(200):
        typed = add_typo("Who directed Casablanca in 1942?", random.Random(seed), within="casablanca")
        assert typed.startswith("Who directed ")
        assert typed.endswith(" in 1942?")
        assert typed != "Who directed Casablanca in 1942?"


def test_short_titles_get_one_mistake() -> None:
    assert all(OSA.distance("Jaws", add_typo("Jaws", random.Random(seed))) == 1 for seed in range(200))


def test_deterministic() -> None:
    assert add_typo("Metropolis", random.Random("a")) == add_typo("Metropolis", random.Random("a"))
    assert len({add_typo("Metropolis", random.Random(seed)) for seed in range(100)}) > 30
