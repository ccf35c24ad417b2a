from pathlib import Path

import pytest
from transformers import GenerationConfig

from moviebot.rag.generator import Generator


def test_streams_what_it_would_write_at_once(tiny_llama: Path) -> None:
    generator = Generator(str(tiny_llama), None, max_new_tokens=12)
    prompt = "### Response:\n"
    [text] = generator.generate([prompt])
    assert "".join(generator.stream(prompt)).strip() == text


def test_streams_and_writes_with_the_same_settings(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Generator(str(tiny_llama), None, max_new_tokens=3)
    settings: list[GenerationConfig] = []
    generate = generator.model.generate

    def watch(*args: object, **kwargs: object) -> object:
        assert isinstance(kwargs["generation_config"], GenerationConfig)
        assert not {"do_sample", "max_new_tokens", "eos_token_id", "pad_token_id"} & kwargs.keys()
        settings.append(kwargs["generation_config"])
        return generate(*args, **kwargs)

    monkeypatch.setattr(generator.model, "generate", watch)
    generator.generate(["Hi"])
    list(generator.stream("Hi"))
    assert len(settings) == 2
    assert settings[0].to_dict() == settings[1].to_dict()


def test_a_stream_left_early_stops(tiny_llama: Path) -> None:
    generator = Generator(str(tiny_llama), None, max_new_tokens=400)
    stream = generator.stream("### Response:\n")
    next(stream)
    stream.close()  # type: ignore[attr-defined]
