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
