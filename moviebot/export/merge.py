"""Merge an adapter into its base: ``W + scale * B @ A``, summed in float32 and rounded once.

Never into 4-bit weights: rounding the sum to 4 bits again loses most of what was learnt.
"""

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraConfig, LoraLayer
from rich.progress import track
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from moviebot.data.tokenise import load_tokenizer
from moviebot.errors import UserError
from moviebot.export.chat_template import render_jinja
from moviebot.modules.dense import ADAPTER_FILES, check_adapter, greedy_decoding
from moviebot.modules.quantisation import load_base, quiet_peft
from moviebot.pretrained import resolve_model

ExportDtype = Literal["bfloat16", "float16"]
DTYPES: dict[ExportDtype, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
MAX_NEW_TOKENS = 96  # an answer is a sentence or two, a list three titles
logger = logging.getLogger(__name__)


def load_base_config(base: str) -> Any:  # noqa: ANN401 (every architecture has a class of its own)
    """Read a base's configuration.

    Args:
        base: a folder, or a name on the hub.

    Returns:
        The ``transformers`` configuration.

    Raises:
        UserError: the base is nowhere to be had, is gated, is no language model, or is itself quantised.
    """
    folder = resolve_model(base)
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"--base {base} is no language model's folder ({_first_line(error)}): give one with config.json, the "
            "weights as safetensors and the tokenizer, or a name on the hub"
        ) from error
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(
            f"--base {base} is itself quantised, and merging into quantised weights loses what was learnt: give the "
            "16-bit model it was made from"
        )
    return config


def load_base_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """Load a base's tokenizer.

    Raises:
        UserError: the base has none that can be read, or it has no end token.
    """
    try:
        return load_tokenizer(base)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"--base {base} has no tokenizer that can be read ({_first_line(error)}): get the whole model again"
        ) from error


def check_lora(adapter: Path, base: str) -> LoraConfig:
    """Read an adapter's configuration, and see that it is a whole LoRA that can be merged.

    Args:
        adapter: the PEFT folder.
        base: the base that was given for it.

    Returns:
        The adapter's configuration.

    Raises:
        UserError: files are absent or damaged, it is for another base, or it trains more than linear layers.
    """
    check_adapter(adapter, base)
    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{adapter / ADAPTER_FILES[0]} can't be read ({_first_line(error)}): train the adapter with `moviebot fit`"
        ) from error
    if not isinstance(config, LoraConfig):
        raise UserError(f"{adapter} is no LoRA (its peft_type is {config.peft_type}): only LoRA can be exported")
    if config.modules_to_save or config.bias != "none":
        trained = config.modules_to_save or f"biases ({config.bias})"
        raise UserError(
            f"{adapter} also trains {trained}: only LoRA on linear layers can be exported; train without them"
        )
    return config


def load_adapted(base: str, adapter: Path, dtype: torch.dtype | None, device: torch.device) -> PeftModel:
    """Load a base in 16 or 32 bits with an adapter beside it, not merged.

    Args:
        base: the base model, a folder or a hub name.
        adapter: a PEFT folder.
        dtype: of the base's weights; None takes what they are stored in.
        device: where to.

    Returns:
        The model in eval mode; its LoRA matrices are float32.

    Raises:
        UserError: the base or the adapter is absent, damaged, or they do not belong together.
    """
    config = load_base_config(base)
    check_lora(adapter, base)
    stored = config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32
    try:
        model = load_base(resolve_model(base), dtype or stored, device, quantise=False)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"--base {base} can't be loaded ({_first_line(error)}): get the whole model again") from error
    try:
        with quiet_peft():
            adapted = PeftModel.from_pretrained(model, str(adapter))
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        raise UserError(
            f"the adapter {adapter} is damaged or does not fit {base} ({_first_line(error)}): give the base it was "
            "trained on, or copy the adapter again"
        ) from error
    _check_whole(adapted, adapter, base)
    return adapted.eval()


def _check_whole(model: PeftModel, adapter: Path, base: str) -> None:
    """PEFT passes over matrices that a file lacks, and they stay zero: a part of what was learnt would be lost."""
    with safe_open(adapter / ADAPTER_FILES[1], framework="pt") as file:
        stored = set(file.keys())
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    if stored != wanted:
        example = min(stored ^ wanted)
        raise UserError(
            f"the adapter {adapter} is not whole or not for {base}: {len(wanted - stored)} matrices are missing and "
            f"{len(stored - wanted)} unknown, for example {example}; copy it again, or give the base it was trained on"
        )


@torch.no_grad()
def merge_adapter(model: PeftModel, dtype: torch.dtype) -> PreTrainedModel:
    """Merge an adapter's matrices into the base's weights.

    PEFT's own merge does the sum (plain LoRA, rsLoRA and DoRA alike), one layer at a time in float32, so that it takes
    little more memory than the base.

    Args:
        model: a base with its LoRA, see :func:`load_adapted`; it is used up.
        dtype: what the sum is rounded to.

    Returns:
        The dense model, all of it in ``dtype``.

    Raises:
        UserError: a layer is not linear, or a merged weight is not a number that ``dtype`` holds.
    """
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    tied = bool(getattr(model.get_base_model().config, "tie_word_embeddings", False))
    for name, layer in track(layers, description="Merging", transient=True):
        linear = layer.get_base_layer()
        if not isinstance(linear, nn.Linear) or (tied and name.endswith("lm_head")):
            raise UserError(
                f"the adapter trains {name}, which is no linear layer of its own (or is tied to the embedding): it "
                "can't be merged; train the projections only"
            )
        linear.weight.data = linear.weight.data.float()  # (out, in)
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise UserError(f"the adapter's matrices of {name} hold no numbers: take an earlier checkpoint") from error
        linear.weight.data = linear.weight.data.to(dtype)
        if not bool(torch.isfinite(linear.weight).all()):
            raise UserError(f"merged weights of {name} are too large for float16: give --dtype bfloat16")
    with quiet_peft():
        merged: PreTrainedModel = model.unload()
    return merged.to(dtype).eval()


def save_merged(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, max_new_tokens: int = MAX_NEW_TOKENS
) -> None:
    """Save a merged model so that ``from_pretrained`` gives a model that answers as it was trained to.

    Beside the weights: the tokenizer with the training prompt as its chat template (an instruct base brings another,
    which the adapter has never seen), and greedy decoding that stops at the end token.

    Args:
        model: see :func:`merge_adapter`.
        tokenizer: the base's own.
        folder: a new folder.
        max_new_tokens: where an answer without an end token is cut, unless the caller says otherwise.
    """
    model.generation_config = greedy_decoding(tokenizer, max_new_tokens)
    model.config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    tokenizer.chat_template = render_jinja(tokenizer)
    tokenizer.save_pretrained(folder)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
