"""Loading a sentence encoder and turning texts into vectors: one implementation for training, indexing and answering.

Shapes: N texts, D embedding.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from sentence_transformers import SentenceTransformer

from moviebot.artefact import write_whole
from moviebot.errors import UserError

_QUIET_TEXTS = 256  # fewer take less than two seconds even on one slow core, so no progress bar
_CPU_TOKENS = 1024  # of 512, 1,024 and 2,048 the fastest on two cores: what a batch needs stays in their caches
_GPU_TOKENS = 16_384
_COUNTED = 10_000


def load_encoder(folder: Path, device: str | None = None) -> SentenceTransformer:
    """Load a sentence-transformers folder, without a look at the network.

    Args:
        folder: a folder that :func:`~moviebot.pretrained.resolve_model` gave, or that a training run wrote.
        device: for example ``cpu`` or ``cuda:1``; the GPU where there is one by default.

    Raises:
        UserError: the folder holds no encoder.
    """
    if not (folder / "modules.json").is_file():
        raise UserError(
            f"{folder} is no sentence-transformers folder (no modules.json in it): give the folder that "
            "`moviebot fit --config configs/retriever/...` wrote"
        )
    return SentenceTransformer(str(folder), device=device, local_files_only=True)


def save_encoder(encoder: SentenceTransformer, folder: Path) -> None:
    """Write a sentence-transformers folder, whole or not at all."""
    with write_whole(folder) as temporary:
        encoder.save(str(temporary), create_model_card=False)


def embed(encoder: SentenceTransformer, texts: Sequence[str]) -> torch.Tensor:
    """Encode one batch, with gradients where they are on.

    Args:
        encoder: the encoder, on any device.
        texts: N texts; more tokens than ``encoder.max_seq_length`` are cut off.

    Returns:
        ``(N, D)``, each row of length 1, so that a dot product is a cosine.
    """
    device = next(encoder.parameters()).device
    features = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in encoder.preprocess(list(texts)).items()
    }
    vectors: torch.Tensor = encoder(features)["sentence_embedding"]  # (N, D)
    return torch.nn.functional.normalize(vectors, dim=-1)


@torch.inference_mode()
def encode_texts(
    encoder: SentenceTransformer, texts: Sequence[str], batch_tokens: int | None = None
) -> NDArray[np.float32]:
    """Encode any number of texts, in the order given.

    Args:
        encoder: the encoder, on any device.
        texts: N texts.
        batch_tokens: tokens that go through together, padding counted; 1,024 on a CPU and 16,384 elsewhere by default.

    Returns:
        ``(N, D)`` float32, each row of length 1; ``(0, D)`` where there are no texts.
    """
    encoder.eval()
    if batch_tokens is None:
        batch_tokens = _CPU_TOKENS if encoder.device.type == "cpu" else _GPU_TOKENS
    width = encoder.get_embedding_dimension()
    vectors = np.zeros((len(texts), width or 0), dtype=np.float32)
    batches = _batch_by_tokens(_count_tokens(encoder, texts), batch_tokens)
    for rows in track(batches, description="Encoding", transient=True, disable=len(texts) < _QUIET_TEXTS):
        vectors[rows] = embed(encoder, [texts[row] for row in rows]).float().cpu().numpy()
    return vectors


def _count_tokens(encoder: SentenceTransformer, texts: Sequence[str]) -> list[int]:
    lengths: list[int] = []
    for start in range(0, len(texts), _COUNTED):  # the ids themselves are let go of: gigabytes for a whole IMDb
        ids = encoder.tokenizer(
            list(texts[start : start + _COUNTED]), truncation=True, max_length=encoder.max_seq_length
        )
        lengths += [len(line) for line in ids["input_ids"]]
    return lengths


def _batch_by_tokens(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Put rows of like length together, longest first, so that memory is known to suffice at once.

    Example:
        >>> _batch_by_tokens([3, 9, 4, 3], 12)
        [[1], [2, 0, 3]]
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
