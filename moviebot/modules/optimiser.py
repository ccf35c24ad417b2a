"""The optimisers that LoRA matrices are trained with."""

import logging
from collections.abc import Iterable
from typing import Literal

import torch
from bitsandbytes import optim as bnb_optim
from torch import nn

logger = logging.getLogger(__name__)

Optimiser = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"]


def build_optimiser(
    name: Optimiser,
    parameters: Iterable[tuple[str, nn.Parameter]],
    lr: float,
    weight_decay: float = 0.0,
    lora_plus_ratio: float = 1.0,
    fused: bool = True,
) -> torch.optim.Optimizer:
    """Build an AdamW over LoRA matrices.

    Args:
        name: ``adamw`` (torch's), or bitsandbytes' with 8-bit moments, paged (spilling to the CPU's memory where a GPU
            is full), or both.
        parameters: names and parameters; those that are not trained are passed over.
        lr: the learning rate, of A where B has another.
        weight_decay: decoupled.
        lora_plus_ratio: how many times faster B learns than A (LoRA+, https://arxiv.org/abs/2402.12354: 16); 1 for
            equal rates.
        fused: torch's one-kernel step; Lightning refuses to clip gradients before it under mixed precision.
    """
    ups: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for parameter_name, parameter in parameters:
        if parameter.requires_grad:
            (ups if ".lora_B." in parameter_name else others).append(parameter)
    if lora_plus_ratio == 1.0:
        groups = [{"params": [*others, *ups], "lr": lr}]
    else:
        groups = [{"params": others, "lr": lr}, {"params": ups, "lr": lr * lora_plus_ratio}]
    if name.startswith("paged_") and all(p.device.type == "cpu" for p in [*others, *ups]):
        logger.warning("%s has no effect on a CPU, which has nothing to page to: its plain form is used", name)
        name = "adamw_8bit" if name == "paged_adamw_8bit" else "adamw"
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=fused)
    kind = {
        "adamw_8bit": bnb_optim.AdamW8bit,
        "paged_adamw": bnb_optim.PagedAdamW,
        "paged_adamw_8bit": bnb_optim.PagedAdamW8bit,
    }[name]
    optimiser: torch.optim.Optimizer = kind(groups, lr=lr, weight_decay=weight_decay)
    return optimiser
