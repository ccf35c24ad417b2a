"""The base model in 4 bits (NF4, double quantisation), and the way back to dense weights.

NF4 and double quantisation: QLoRA, https://arxiv.org/abs/2305.14314, sections 3 and 4.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Params4bit
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel


class DenseSwap(NamedTuple):
    """A layer that a dense copy replaced: where it hung in the model, and what it was."""

    path: str
    original: nn.Module


def load_base(folder: Path, dtype: torch.dtype, device: torch.device, quantise: bool = True) -> PreTrainedModel:
    """Load a causal language model, frozen, its linear layers in NF4 where ``quantise``.

    Args:
        folder: a local model folder.
        dtype: of everything that is not quantised, and of the computation.
        device: the one device that holds the whole model (under DDP, this rank's).
        quantise: False loads plain ``dtype`` weights.

    Returns:
        The model on ``device``, no parameter of it trainable.
    """
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, device_map={"": device}, quantization_config=nf4 if quantise else None
    )
    model.requires_grad_(False)
    for parameter in model.parameters():
        if device.type == "cpu" and not isinstance(parameter, Params4bit):
            # A view of the file, which would stay mapped whole: 13 GB for the sake of the embeddings.
            parameter.data = parameter.data.clone()
    forbid_repacking(model)
    return model


def forbid_repacking(model: nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit weights in place during an eval-mode forward.

    On a CPU with AVX512-BF16 it does so by default, and the repacked kernel has no gradient: training after the first
    validation (Lightning's sanity check is one) silently loses the gradient through the base.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence peft 0.21's use of a name that transformers 5.23 deprecates (it asks whether checkpointing is on)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield


def dequantise_weight(layer: Linear4bit) -> torch.Tensor:
    """Return a 4-bit layer's weight as the dense matrix it stands for, in the dtype it was quantised from."""
    weight: torch.Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return weight  # (out, in)


def make_dense(model: nn.Module, dtype: torch.dtype) -> list[DenseSwap]:
    """Replace every 4-bit or LoRA layer by one dense layer: its (dequantised) weight plus its LoRA update.

    The sum is taken in float32 and rounded once. Embeddings, norms and the head are shared, not copied.

    Args:
        model: any model with :class:`Linear4bit` or PEFT LoRA layers.
        dtype: of the dense layers.

    Returns:
        What :func:`undo_dense` needs to put the original layers back.
    """
    swaps: list[DenseSwap] = []
    for path, module in list(model.named_modules()):
        if swaps and path.startswith(f"{swaps[-1].path}."):
            continue  # the inside of a LoRA layer
        if isinstance(module, (Linear4bit, LoraLayer)):
            swaps.append(DenseSwap(path, module))
    for path, original in swaps:
        model.set_submodule(path, _dense_layer(original, dtype))
    return swaps


def undo_dense(model: nn.Module, swaps: list[DenseSwap]) -> None:
    """Put back the layers that :func:`make_dense` replaced."""
    for path, original in swaps:
        model.set_submodule(path, original)


@torch.no_grad()
def _dense_layer(layer: nn.Module, dtype: torch.dtype) -> nn.Linear:
    base = cast(nn.Linear, layer.get_base_layer() if isinstance(layer, LoraLayer) else layer)
    weight = (dequantise_weight(base) if isinstance(base, Linear4bit) else base.weight).float()  # (out, in)
    if isinstance(layer, LoraLayer):
        for adapter in layer.active_adapters:
            weight = weight + layer.get_delta_weight(adapter).float()
    # On "meta" first: the random start values of a new layer would cost time and change the random state.
    dense = nn.Linear(weight.shape[1], weight.shape[0], bias=base.bias is not None, device="meta")
    dense.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    if base.bias is not None:
        dense.bias = nn.Parameter(base.bias.detach().to(dtype), requires_grad=False)
    return dense.train(layer.training)
