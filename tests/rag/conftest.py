"""A bundle of the twelve test movies with tiny random models, and a generator that says what it is told to."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from moviebot.data.schemas import Movie, write_catalogue
from moviebot.rag.bundle import build_bundle


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


@pytest.fixture(scope="session")
def bundle_folder(
    tmp_path_factory: pytest.TempPathFactory, movies: list[Movie], tiny_encoder: Path, tiny_llama: Path
) -> Path:
    """A whole bundle on disk; tests that change it copy it first."""
    data = tmp_path_factory.mktemp("data")
    write_catalogue(data / "catalogue.parquet", movies)
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    build_bundle(data, tiny_encoder, tiny_encoder, str(tiny_llama), out)
    return out
