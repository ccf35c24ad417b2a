"""Which low-rank update is trained, and from what it starts.

LoRA https://arxiv.org/abs/2106.09685, rsLoRA https://arxiv.org/abs/2312.03732, DoRA https://arxiv.org/abs/2402.09353,
PiSSA https://arxiv.org/abs/2404.02948, LoftQ https://arxiv.org/abs/2310.08659.

Shapes: I and O features in and out of a projection, r rank.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from bitsandbytes.functional import quantize_4bit
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from moviebot.errors import UserError
from moviebot.modules.quantisation import dequantise_weight, quiet_peft

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Targets = Literal["all", "attention", "mlp", "qv"]
TARGETS: dict[str, tuple[Projection, ...]] = {
    "all": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
    "qv": ("q_proj", "v_proj"),
}
Init = Literal["default", "pissa", "loftq"]

_ADAPTER = "default"
_SVD_ROUNDS = 8  # power iterations of the randomised SVD: the first singular vectors to about 1e-3


@dataclass
class LoraSettings:
    """The low-rank update that is trained.

    Attributes:
        r: the rank.
        alpha: the update is scaled by ``alpha / r`` (``alpha / sqrt(r)`` with ``use_rslora``).
        dropout: on the update's input, one mask for the projections that share it; 0 is faster.
        targets: which projections are adapted: all seven, those of attention, those of the MLP, q and v, or a list of
            module names.
        use_rslora: scale by ``alpha / sqrt(r)``, so that large ranks learn as fast as small ones.
        use_dora: train the length of each weight row apart from its direction; slower (PEFT's own code computes it).
        init: what the update starts from. ``default``: nothing. ``pissa``: the largest singular directions of each
            weight, which leave the base; the saved adapter has twice the rank, and fits the base as published.
            ``loftq``: the largest part of what quantisation lost; the adapter then belongs to the 4-bit base.
    """

    r: int = 32
    alpha: int = 16
    dropout: float = 0.0
    targets: Targets | list[str] = "all"
    use_rslora: bool = False
    use_dora: bool = False
    init: Init = "default"

    def find_faults(self) -> list[str]:
        """Return what is wrong with the settings, each with what is allowed."""
        faults = []
        if self.r < 1:
            faults.append(f"lora.r: {self.r} is not allowed; give a rank of at least 1, for example 16")
        if self.alpha <= 0:
            faults.append(f"lora.alpha: {self.alpha} is not allowed; give more than 0, for example twice the rank")
        if not 0 <= self.dropout < 1:
            faults.append(f"lora.dropout: {self.dropout} is not allowed; give at least 0 and less than 1")
        if not self.targets:
            faults.append(f"lora.targets: nothing is adapted; give one of {', '.join(TARGETS)}, or module names")
        if self.init == "pissa" and self.use_dora:
            faults.append("lora.init: pissa does not go with use_dora (its adapter can't hold row lengths); give one")
        return faults


def add_lora(base: PreTrainedModel, settings: LoraSettings, folder: Path) -> PeftModel:
    """Add the matrices that are trained to a frozen model.

    Args:
        base: the model, its linear layers in NF4 or dense.
        settings: rank, scale, targets and start.
        folder: the base model's files, from which ``loftq`` and ``pissa`` read the weights before quantisation.

    Returns:
        The model with LoRA matrices in float32, whatever the base's dtype.

    Raises:
        UserError: the model has no such module, or its weights can't be read.
    """
    targets = settings.targets if isinstance(settings.targets, list) else list(TARGETS[settings.targets])
    real = sorted({name.rpartition(".")[2] for name, module in base.named_modules() if isinstance(module, nn.Linear)})
    unknown = [name for name in targets if name.rpartition(".")[2] not in real]
    if unknown:
        raise UserError(
            f"lora.targets: {', '.join(unknown)} is no linear layer of this model; its own are {', '.join(real)}"
        )
    config = LoraConfig(
        r=settings.r, lora_alpha=settings.alpha, lora_dropout=settings.dropout, bias="none", target_modules=targets,
        task_type="CAUSAL_LM", use_rslora=settings.use_rslora, use_dora=settings.use_dora,
    )  # fmt: skip
    with quiet_peft():
        model = cast(PeftModel, get_peft_model(base, config))
    if settings.init != "default":
        _start_from_weights(model, settings.init, folder)
    return model


def _start_from_weights(model: PeftModel, init: Init, folder: Path) -> None:
    """Let each update start from the singular directions of its weight (PiSSA), or of what 4 bits lost (LoftQ)."""
    weights = _WeightFiles(folder)
    for name, layer in model.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        base = layer.get_base_layer()
        device = layer.lora_A[_ADAPTER].weight.device
        published = weights.read(f"{name}.weight").to(device).float()  # (O, I)
        rank, scale = layer.r[_ADAPTER], layer.scaling[_ADAPTER]
        if init == "loftq":
            if not isinstance(base, Linear4bit):
                raise UserError("lora.init loftq makes up for 4-bit rounding: give quantise true, or another init")
            up, down = factorise(published - dequantise_weight(base).float(), rank, scale)
        else:
            up, down = factorise(published, rank, scale)
            _replace_weight(base, published - scale * up @ down)
            # What the update is at the start has left the base: a saved adapter must take it away again.
            layer.register_buffer("moviebot_start_A", down.clone(), persistent=False)
            layer.register_buffer("moviebot_start_B", up.clone(), persistent=False)
        with torch.no_grad():
            layer.lora_A[_ADAPTER].weight.copy_(down)
            layer.lora_B[_ADAPTER].weight.copy_(up)


def factorise(matrix: Tensor, rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return B (O, r) and A (r, I) such that ``scale * B A`` is the best approximation of a matrix by that rank.

    Deterministic: the random start of the SVD has a seed of its own, so that a resumed run starts from the same.

    Args:
        matrix: (O, I), float32.
        rank: r.
        scale: of the update.

    Example:
        >>> wanted = torch.outer(torch.arange(1.0, 4.0), torch.tensor([1.0, -2.0]))
        >>> up, down = factorise(wanted, 1, 0.5)
        >>> torch.allclose(0.5 * up @ down, wanted, atol=1e-5)
        True
    """
    with torch.random.fork_rng(devices=[matrix.device] if matrix.device.type == "cuda" else []):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(matrix, q=min(rank + 8, *matrix.shape), niter=_SVD_ROUNDS)
    share = (values[:rank] / scale).sqrt()  # (r,)
    return left[:, :rank] * share, (right[:, :rank] * share).t().contiguous()


def join_start(layer: LoraLayer) -> tuple[Tensor, Tensor] | None:
    """Return the update of a PiSSA layer against the base as published: rank 2r. None for other layers.

    The base in memory lacks ``s B0 A0``, so that what was learnt is ``s (B A - B0 A0)``.

    Returns:
        B (O, 2r) and A (2r, I), for the layer's own scale.
    """
    if not hasattr(layer, "moviebot_start_A"):
        return None
    up, down = layer.lora_B[_ADAPTER].weight.detach(), layer.lora_A[_ADAPTER].weight.detach()
    start_up, start_down = cast(Tensor, layer.moviebot_start_B), cast(Tensor, layer.moviebot_start_A)
    return torch.cat([up, -start_up], dim=1), torch.cat([down, start_down])


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write a standard PEFT folder that fits the base as published, whatever the update started from.

    Args:
        model: with its LoRA matrices.
        folder: written into; it may exist.
    """
    joined = {
        name: parts
        for name, layer in model.named_modules()
        if isinstance(layer, LoraLayer) and (parts := join_start(layer)) is not None
    }
    if not joined:
        model.save_pretrained(str(folder), save_embedding_layers=False)
        return
    config = model.peft_config[_ADAPTER]
    scale = next(layer.scaling[_ADAPTER] for layer in model.modules() if isinstance(layer, LoraLayer))
    # Twice the rank, and the same scale: alpha / 2r.
    wider = replace(config, r=2 * config.r, lora_alpha=scale * 2 * config.r, use_rslora=False)
    tensors = {}
    for name, (up, down) in joined.items():
        tensors[f"{name}.lora_A.weight"] = down.cpu().contiguous()
        tensors[f"{name}.lora_B.weight"] = up.cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    wider.inference_mode = True
    wider.save_pretrained(str(folder))


def _replace_weight(layer: nn.Module, weight: Tensor) -> None:
    """Give a frozen layer another weight, quantised as its own is."""
    if not isinstance(layer, Linear4bit):
        cast(nn.Linear, layer).weight.data = weight.to(cast(nn.Linear, layer).weight.dtype)
        return
    state: Any = layer.weight.quant_state
    layer.weight.data, layer.weight.quant_state = quantize_4bit(
        weight.to(state.dtype), blocksize=state.blocksize, compress_statistics=state.nested, quant_type=state.quant_type
    )
    layer.quant_state = layer.weight.quant_state


class _WeightFiles:
    """The tensors of a model folder's safetensors files, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as handle:
                self.files |= dict.fromkeys(handle.keys(), path)
        if not self.files:
            raise UserError(f"lora.init: {folder} has no safetensors file to read weights from; give init default")

    def read(self, name: str) -> Tensor:
        with safe_open(self.files[name], framework="pt") as handle:
            return cast(Tensor, handle.get_tensor(name))
