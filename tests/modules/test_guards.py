"""The checks at a training's start: each passes on a sound training, and finds its fault."""

from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from torch import nn

from moviebot.modules.guards import CheckpointingCheck, check_gradients, check_not_repacked, check_packing
from moviebot.modules.quantisation import load_base


def test_repacked_weights_are_found(tiny_llama: Path) -> None:
    model = load_base(tiny_llama, torch.float32, torch.device("cpu"))
    check_not_repacked(model)
    layer = next(module for module in model.modules() if isinstance(module, Linear4bit))
    layer.weight.quant_state.packing_format_for_cpu = True
    with pytest.raises(RuntimeError, match=r"4-bit weights of .*q_proj were repacked"):
        check_not_repacked(model)


def named(**gradients: torch.Tensor | None) -> list[tuple[str, nn.Parameter]]:
    parameters = []
    for name, gradient in gradients.items():
        parameter = nn.Parameter(torch.ones(2))
        parameter.grad = gradient
        parameters.append((f"layer.{name}.weight", parameter))
    return parameters


def test_gradients_that_are_missing_are_found() -> None:
    check_gradients(named(lora_A=torch.zeros(2), lora_B=torch.ones(2)), scaled=False)
    with pytest.raises(RuntimeError, match=r"1 of 2 LoRA matrices have no gradient .* layer\.lora_A"):
        check_gradients(named(lora_A=None, lora_B=torch.ones(2)), scaled=False)
    with pytest.raises(RuntimeError, match="a gradient of zero"):
        check_gradients(named(lora_A=torch.zeros(2), lora_B=torch.zeros(2)), scaled=False)
    infinite = named(lora_A=torch.zeros(2), lora_B=torch.full((2,), torch.inf))
    with pytest.raises(RuntimeError, match="not finite"):
        check_gradients(infinite, scaled=False)
    check_gradients(infinite, scaled=True)  # a scaler's first steps may overflow
    frozen = named(lora_A=None)
    frozen[0][1].requires_grad_(False)
    check_gradients(frozen, scaled=False)


def test_packing_that_mixes_is_found() -> None:
    hidden, loss = torch.ones(3, 4), torch.tensor(2.0)
    check_packing((hidden * 1.01, loss), (hidden, loss * 1.001))
    with pytest.raises(RuntimeError, match=r"hidden states differ by 50\.0%"):
        check_packing((hidden * 1.5, loss), (hidden, loss))
    with pytest.raises(RuntimeError, match=r"the loss by 10\.0%"):
        check_packing((hidden, loss * 1.1), (hidden, loss))


def test_checkpointing_that_is_off_is_found() -> None:
    layer = nn.Linear(2, 2)
    off, on = CheckpointingCheck(layer), CheckpointingCheck(layer)
    layer(torch.ones(2))
    with pytest.raises(RuntimeError, match="gradient checkpointing was asked for and is not active"):
        off.finish()
    layer(torch.ones(2))
    on.finish()
    layer(torch.ones(2))
    assert on.runs == 2  # it no longer counts
