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
def encode_texts(encoder: SentenceTransformer, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
    """Encode any number of texts, in the order given.

    Args:
        encoder: the encoder, on any device.
        texts: N texts.
        batch_size: texts of like length go through together, so that little is spent on padding.

    Returns:
        ``(N, D)`` float32, each row of length 1; ``(0, D)`` where there are no texts.
    """
    encoder.eval()
    width = encoder.get_embedding_dimension()
    vectors = np.zeros((len(texts), width or 0), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    starts = range(0, len(order), batch_size)
    for start in track(starts, description="Encoding", transient=True, disable=len(texts) < _QUIET_TEXTS):
        rows = order[start : start + batch_size]
        vectors[rows] = embed(encoder, [texts[row] for row in rows]).float().cpu().numpy()
    return vectors
