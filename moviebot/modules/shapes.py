"""A base model's sizes without its weights: from its config file, which is a few hundred bytes."""

from pathlib import Path

from transformers import AutoConfig

from moviebot.errors import UserError
from moviebot.modules.memory_model import ModelShape
from moviebot.pretrained import find_config

# Gated models, whose config can't be read without a login: as their papers give them (https://arxiv.org/abs/2307.09288).
_KNOWN = {
    "llama-2-7b": ModelShape(4096, 11008, 32, 32, 32, 128, 32000, tied=False),
    "llama-2-13b": ModelShape(5120, 13824, 40, 40, 40, 128, 32000, tied=False),
    "llama-2-70b": ModelShape(8192, 28672, 80, 64, 8, 128, 32000, tied=False),
}


def find_shape(base: str) -> ModelShape | None:
    """Return a base model's sizes; None where neither its config nor its name says them.

    Args:
        base: a folder, or a name on the hub.
    """
    folder: Path | None
    try:
        folder = find_config(base)
    except UserError:
        folder = None
    if folder is not None:
        return ModelShape.of(AutoConfig.from_pretrained(folder))
    name = base.rpartition("/")[2].lower()
    return next((shape for known, shape in _KNOWN.items() if name.startswith(known)), None)
