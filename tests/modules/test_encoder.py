from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from moviebot.modules import encoder as module
from moviebot.modules.encoder import encode_texts, load_encoder

TEXTS = [
    "Up (2009)",
    "",
    "a boat " * 400,
    "名前",
    "Night Ferry (1962)",
    "who directed Night Ferry?",
    "\x00 😀",
    "Up",
] * 3


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> SentenceTransformer:
    return load_encoder(tiny_encoder, "cpu")


@pytest.mark.parametrize("batch_tokens", [1, 30, 1_000_000])
def test_the_batches_do_not_change_the_vectors(encoder: SentenceTransformer, batch_tokens: int) -> None:
    alone = encoder.encode(TEXTS, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(encode_texts(encoder, TEXTS, batch_tokens), alone, atol=1e-5)


def test_a_batch_holds_like_lengths_and_no_more_tokens_than_told(
    encoder: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def embed(encoder: SentenceTransformer, texts: list[str]) -> object:
        seen.append(tuple(encoder.preprocess(texts)["input_ids"].shape))
        return original(encoder, texts)

    original = module.embed
    monkeypatch.setattr(module, "embed", embed)
    encode_texts(encoder, TEXTS, batch_tokens=64)
    assert sum(rows for rows, _ in seen) == len(TEXTS)
    assert all(rows * width <= 64 or rows == 1 for rows, width in seen)
    assert [width for _, width in seen] == sorted((width for _, width in seen), reverse=True)
    assert max(rows for rows, _ in seen) > 1


def test_no_text_gives_no_row(encoder: SentenceTransformer) -> None:
    assert encode_texts(encoder, []).shape == (0, encoder.get_embedding_dimension())
