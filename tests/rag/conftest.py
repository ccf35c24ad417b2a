"""A generator that says what it is told to, and the embedded sample's movies."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from moviebot.data.catalogue import CATALOGUE_NAME, build_catalogue
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.rag.bundle import Bundle
from moviebot.rag.evidence import EvidenceReader
from moviebot.rag.intent import IntentClassifier
from moviebot.rag.pair_scorer import PairScorer
from moviebot.rag.resolver import MovieResolver


class ScriptedGenerator:
    """Stands in for the language model: replies by a function, and notes the prompts it saw."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply = reply
        self.prompts: list[str] = []

    def generate(self, prompts: Sequence[str]) -> list[str]:
        self.prompts.extend(prompts)
        return [self.reply(prompt) for prompt in prompts]

    def stream(self, prompt: str) -> Iterator[str]:
        self.prompts.append(prompt)
        yield from self.reply(prompt).split(" ")


@cache
def sample_movies() -> tuple[Movie, ...]:
    """Return the embedded catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        build_catalogue(Path(folder), sample=True)
        return tuple(read_catalogue(Path(folder) / CATALOGUE_NAME))


@pytest.fixture(scope="session")
def sample_bundle() -> Bundle:
    """The embedded catalogue with the models that read a query fitted without encoders: seconds, no weights."""
    movies = list(sample_movies())
    reader = EvidenceReader(movies)
    found = {
        "movies": movies,
        "resolver": MovieResolver.fit(reader),
        "intent": IntentClassifier.fit(),
        "pair_scorer": PairScorer.default(),
        "text_index": SimpleNamespace(vectors=None),
        "encode_texts": lambda texts: np.zeros((len(texts), 1), dtype=np.float32),
    }
    return cast("Bundle", SimpleNamespace(**found))
