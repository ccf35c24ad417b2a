"""Does an answer mean what a description says, though in other words? An encoder looks at what is borderline."""

import re
from collections.abc import Sequence
from itertools import pairwise

from moviebot.data.prompts import clean_text
from moviebot.errors import UserError
from moviebot.pretrained import MINILM, resolve_model

SIMILAR_COSINE = 0.6
"""Chosen as `support.SUPPORTED_SHARE` is: from 0.5 to 0.7 the good pairs kept and the bad ones found change by less
than two in a hundred."""
_BATCH = 64
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def measure_similarity(pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the cosine of each answer to what is nearest to it in its text: the whole, a sentence, or two in a row.

    Args:
        pairs: answers, each with the text that it should follow from.

    Returns:
        One number from -1 to 1 for each pair, to three digits: beyond them machines differ.

    Raises:
        UserError: the encoder is nowhere to be had.
    """
    if not pairs:
        return []
    import torch
    from sentence_transformers import SentenceTransformer

    try:
        folder = resolve_model(MINILM)
    except UserError as error:
        raise UserError(f"{error}; or leave borderline answers out with --similarity false") from error
    encoder = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    passages = [_cut(text) for _, text in pairs]
    texts = sorted({answer for answer, _ in pairs} | {passage for cut in passages for passage in cut})
    row = {text: number for number, text in enumerate(texts)}
    with torch.inference_mode():
        vectors = encoder.encode(
            texts, batch_size=_BATCH, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
        )  # (texts, D)
    return [
        round(max(float(vectors[row[answer]] @ vectors[row[passage]]) for passage in cut), 3)
        for (answer, _), cut in zip(pairs, passages, strict=True)
    ]


def _cut(text: str) -> list[str]:
    whole = clean_text(text)
    sentences = _SENTENCE.split(whole)
    return [whole, *sentences, *(f"{first} {second}" for first, second in pairwise(sentences))]
