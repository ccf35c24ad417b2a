"""LoRA as one autograd function: the same numbers as PEFT's, and less kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch.autograd.graph import saved_tensors_hooks

from moviebot.modules.fused_lora import ProjectionGroup, _drop, project, project_swiglu
from moviebot.modules.lora import LoraSettings
from moviebot.modules.qlora import QLoRALanguageModel


def make_layers(base: Path, names: list[str], **settings: Any) -> list[LoraLayer]:
    torch.manual_seed(0)
    lora = LoraSettings(**{"r": 4, "alpha": 8, **settings})
    model = QLoRALanguageModel(base=str(base), lora=lora, compute_dtype="float32", fast_layers=False)
    model.configure_model()
    layers: list[LoraLayer] = []
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and "layers.0." in name and name.rpartition(".")[2] in names:
            module.lora_B["default"].weight.data.normal_(std=0.1)
            layers.append(module)
    assert len(layers) == len(names)
    return layers


def gradients_of(layers: list[LoraLayer]) -> list[torch.Tensor]:
    grads = []
    for layer in layers:
        for matrices in (layer.lora_A, layer.lora_B):
            gradient = matrices["default"].weight.grad
            assert gradient is not None
            grads.append(gradient.clone())
            matrices["default"].weight.grad = None
    return grads


@contextmanager
def count_saved_bytes() -> Iterator[dict[int, int]]:
    """Note the storages that are kept for the backward pass, each once."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}])
@pytest.mark.parametrize("cache", [False, True])
def test_outputs_and_gradients_equal_pefts(tiny_llama: Path, settings: dict[str, Any], cache: bool) -> None:
    layers = make_layers(tiny_llama, ["q_proj", "k_proj", "v_proj"], **settings)
    x = torch.randn(2, 7, 64, requires_grad=True)
    weights = [torch.randn(2, 7, layer.get_base_layer().out_features) for layer in layers]
    expected = [layer(x) for layer in layers]
    sum((out * weight).sum() for out, weight in zip(expected, weights, strict=True)).backward()
    assert x.grad is not None
    expected_x, expected_grads = x.grad.clone(), gradients_of(layers)
    x.grad = None
    group = ProjectionGroup(layers, cache)
    for _ in range(2):  # the second time from the cache
        outputs = project(x, group)
        for output, wanted in zip(outputs, expected, strict=True):
            torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-5)
        sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True)).backward()  # type: ignore[union-attr]
        torch.testing.assert_close(x.grad, expected_x, rtol=1e-4, atol=1e-5)
        for gradient, wanted in zip(gradients_of(layers), expected_grads, strict=True):
            assert wanted.abs().max() > 0
            torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)
        x.grad = None


def test_swiglu_gradients_equal_those_step_by_step(tiny_llama: Path) -> None:
    (layer,) = make_layers(tiny_llama, ["down_proj"])
    gate, up = (torch.randn(2, 5, 128, requires_grad=True) for _ in range(2))
    weight = torch.randn(2, 5, 64)
    (layer(torch.nn.functional.silu(gate) * up) * weight).sum().backward()
    assert gate.grad is not None
    assert up.grad is not None
    wanted = [gate.grad.clone(), up.grad.clone(), *gradients_of([layer])]
    gate.grad = up.grad = None
    (project_swiglu(gate, up, ProjectionGroup([layer])) * weight).sum().backward()  # type: ignore[no-untyped-call]
    for gradient, expected in zip([gate.grad, up.grad, *gradients_of([layer])], wanted, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_dropout_that_was_drawn(tiny_llama: Path) -> None:
    """Numerically: the same seed drops the same part in the forward pass, so that differences are gradients."""
    layers = [layer.double() for layer in make_layers(tiny_llama, ["gate_proj", "up_proj"], dropout=0.5)]
    for layer in layers:
        dense = torch.nn.Linear(64, 128, bias=False).double().requires_grad_(False)
        layer.base_layer = dense
    group = ProjectionGroup(layers)
    assert group.dropout == 0.5

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(3)
        return project(x, group)

    x = torch.randn(3, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x,))
    a = layers[0].lora_A["default"].weight
    outputs = run(x)
    sum(out.sum() for out in outputs).backward()  # type: ignore[union-attr]
    assert a.grad is not None
    step = 1e-6
    with torch.no_grad():
        before = sum(out.sum().item() for out in run(x))
        a[0, 0] += step
        after = sum(out.sum().item() for out in run(x))
    assert (after - before) / step == pytest.approx(float(a.grad[0, 0]), abs=1e-4)
    torch.manual_seed(4)
    assert not torch.equal(project(x, group)[0], run(x)[0])  # something is dropped


def test_as_much_is_dropped_as_was_asked_for_and_the_mean_stays(tiny_llama: Path) -> None:
    group = ProjectionGroup(make_layers(tiny_llama, ["q_proj"], dropout=0.25))
    x = torch.ones(1000, 333)  # not a multiple of eight
    result = _drop(x, group, seed=7)
    assert (result == 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    assert result.mean().item() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(result, _drop(x, group, seed=7))
    columns = (result == 0).float().mean(dim=0)  # no byte of the random words is special
    assert columns.min() > 0.15
    assert columns.max() < 0.35


def test_eval_mode_drops_nothing(tiny_llama: Path) -> None:
    layers = make_layers(tiny_llama, ["q_proj"], dropout=0.9)
    layers[0].eval()
    x = torch.randn(4, 64)
    with torch.no_grad():
        torch.testing.assert_close(project(x, ProjectionGroup(layers))[0], layers[0](x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_no_copy_of_the_input_is_kept(tiny_llama: Path, dropout: float) -> None:
    layers = make_layers(tiny_llama, ["q_proj", "k_proj", "v_proj"], dropout=dropout)
    x = torch.randn(64, 64, requires_grad=True)
    with count_saved_bytes() as ours:
        project(x, ProjectionGroup(layers))
    with count_saved_bytes() as pefts:
        [layer(x) for layer in layers]
    assert sum(ours.values()) <= x.nbytes + 64 * 3 * 4 * 4  # the input once, and the rank-4 products
    if dropout:
        assert sum(pefts.values()) > 2 * sum(ours.values())  # else the line above would say little


def test_dora_is_left_to_peft(tiny_llama: Path) -> None:
    assert ProjectionGroup.fits(make_layers(tiny_llama, ["q_proj"]))
    assert not ProjectionGroup.fits(make_layers(tiny_llama, ["q_proj"], use_dora=True))
    assert not ProjectionGroup.fits([torch.nn.Linear(2, 2)])
