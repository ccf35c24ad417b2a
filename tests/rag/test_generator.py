from pathlib import Path

from moviebot.rag.generator import Generator


def test_streams_what_it_would_write_at_once(tiny_llama: Path) -> None:
    generator = Generator(str(tiny_llama), None, max_new_tokens=12)
    prompt = "### Response:\n"
    [text] = generator.generate([prompt])
    assert "".join(generator.stream(prompt)).strip() == text


def test_a_stream_left_early_stops(tiny_llama: Path) -> None:
    generator = Generator(str(tiny_llama), None, max_new_tokens=400)
    stream = generator.stream("### Response:\n")
    next(stream)
    stream.close()  # type: ignore[attr-defined]


def test_a_stream_after_one_left_early_is_whole(tiny_llama: Path) -> None:
    generator = Generator(str(tiny_llama), None, max_new_tokens=12)
    whole = "".join(generator.stream("### Input:\nUp\n\n### Response:\n"))
    next(generator.stream("### Input:\nJaws\n\n### Response:\n"))
    assert "".join(generator.stream("### Input:\nUp\n\n### Response:\n")) == whole
