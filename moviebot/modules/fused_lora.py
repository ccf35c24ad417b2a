"""LoRA on frozen projections as one autograd function: fewer passes over memory, and less kept for the backward pass.

PEFT computes each adapted projection on its own: it keeps the input once for the base and once more, dropped out and
perhaps in another dtype, for the update, and adds results up in further passes. Here the projections that read the
same input (q, k and v; gate and up) are one step:

* the input is kept once, in the dtype of the computation; dropout's mask is drawn again from its seed, never kept;
* the frozen weight is never kept dense: it is dequantised again in the backward pass (or read from a cache);
* the rank-r products of all projections are one matrix product.

The gradients are LoRA's own (https://arxiv.org/abs/2106.09685, section 4.1), checked against PEFT's in the tests.

Shapes: T tokens (batch and sequence flattened), I and O features in and out, r rank, n projections of a group.
"""

from collections.abc import Sequence
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from moviebot.modules.elementwise import PLAIN, Elementwise
from moviebot.modules.quantisation import dequantise_weight

_SEEDS = 2**62


class ProjectionGroup:
    """The adapted projections of a layer that read the same input.

    Args:
        layers: PEFT LoRA layers with one active adapter, plain LoRA (no DoRA), equal dropout and no bias.
        cache: keep the dequantised weights: exactly the same numbers, sooner, for 2 bytes a weight.
    """

    def __init__(self, layers: Sequence[LoraLayer], cache: bool = False) -> None:
        self.layers = list(layers)
        self.cache = cache
        self.adapter: str = self.layers[0].active_adapters[0]
        dropout = self.layers[0].lora_dropout[self.adapter]
        self.dropout = dropout.p if isinstance(dropout, nn.Dropout) else 0.0
        self.scales = [float(layer.scaling[self.adapter]) for layer in self.layers]
        self._dense: list[Tensor | None] = [None] * len(self.layers)

    @staticmethod
    def fits(layers: Sequence[nn.Module]) -> bool:
        """Say whether layers can be a group."""
        return all(
            isinstance(layer, LoraLayer)
            and len(layer.active_adapters) == 1
            and layer.active_adapters[0] in layer.lora_A
            and not layer.lora_variant  # DoRA and its like compute otherwise
            and layer.get_base_layer().bias is None
            and not layer.lora_bias[layer.active_adapters[0]]
            for layer in layers
        )

    def weight(self, place: int, dtype: torch.dtype) -> Tensor:
        """Return a projection's frozen weight, dense. (O, I)."""
        kept = self._dense[place]
        if kept is not None and kept.dtype == dtype:
            return kept
        base = self.layers[place].get_base_layer()
        dense = (dequantise_weight(base) if isinstance(base, Linear4bit) else base.weight.detach()).to(dtype)
        if self.cache and isinstance(base, Linear4bit):
            self._dense[place] = dense
        return dense

    def matrices(self) -> list[Tensor]:
        """Return A (r, I) and B (O, r) of each projection in turn: the parameters that are trained."""
        return [
            matrix
            for layer in self.layers
            for matrix in (layer.lora_A[self.adapter].weight, layer.lora_B[self.adapter].weight)
        ]

    def draw_seed(self, training: bool) -> int | None:
        """Draw the seed of a dropout mask from torch's own random state; None where nothing is dropped."""
        return int(torch.randint(_SEEDS, ()).item()) if training and self.dropout > 0 else None


def project(x: Tensor, group: ProjectionGroup) -> tuple[Tensor, ...]:
    """Apply a group's projections, each ``W x + s B A x``.

    Args:
        x: (..., I), in the dtype to compute in.
        group: the projections.

    Returns:
        One (..., O) a projection.
    """
    return _Project.apply(x, group, group.draw_seed(group.layers[0].training), *group.matrices())  # type: ignore[no-untyped-call, no-any-return]


def project_swiglu(gate: Tensor, up: Tensor, group: ProjectionGroup, steps: Elementwise = PLAIN) -> Tensor:
    """Apply the MLP's last projection to ``silu(gate) * up``, which is computed again instead of kept.

    Args:
        gate: (..., I).
        up: (..., I).
        group: the one projection.
        steps: what computes the product.

    Returns:
        (..., O).
    """
    seed = group.draw_seed(group.layers[0].training)
    return _ProjectSwiGLU.apply(gate, up, group, steps, seed, *group.matrices())  # type: ignore[no-untyped-call, no-any-return]


def _drop(x: Tensor, group: ProjectionGroup, seed: int | None) -> Tensor:
    """Drop a part of x, or of a gradient that came through it: the same part for the same seed.

    The share is rounded to 1/256: a random word of 64 bits then decides on eight numbers, where bernoulli draws eight.
    """
    if seed is None:
        return x
    generator = torch.Generator(x.device).manual_seed(seed)
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
    draws = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: x.numel()].view(x.shape)
    dropped = max(1, round(256 * group.dropout))
    return (x * (draws >= dropped)).mul_(256 / (256 - dropped))


def _forward(
    x: Tensor, group: ProjectionGroup, seed: int | None, matrices: Sequence[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """Return each projection of x (T, I), and the rank-r products (T, n r)."""
    down = torch.cat([a.to(x.dtype) for a in matrices[0::2]])  # (n r, I)
    low = _drop(x, group, seed) @ down.t()  # (T, n r)
    outputs = []
    rank = 0
    for place, (scale, up) in enumerate(zip(group.scales, matrices[1::2], strict=True)):
        part = low[:, rank : rank + up.shape[1]]  # (T, r)
        rank += up.shape[1]
        output = x @ group.weight(place, x.dtype).t()  # (T, O)
        outputs.append(output.addmm_(part, up.to(x.dtype).t(), alpha=scale))
    return outputs, low


def _backward(
    gradients: Sequence[Tensor],
    x: Tensor,
    low: Tensor,
    group: ProjectionGroup,
    seed: int | None,
    matrices: Sequence[Tensor],
    want_input: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """Return the gradients of x (T, I) and of each A and B, from those of the outputs (T, O)."""
    of_low, of_up = [], []
    rank = 0
    for gradient, scale, up in zip(gradients, group.scales, matrices[1::2], strict=True):
        part = low[:, rank : rank + up.shape[1]]  # (T, r)
        rank += up.shape[1]
        of_up.append((gradient.t() @ part).to(up.dtype).mul_(scale))  # (O, r)
        of_low.append((gradient @ up.to(x.dtype)).mul_(scale))  # (T, r)
    low_gradient = torch.cat(of_low, dim=1)  # (T, n r)
    of_down = (low_gradient.t() @ _drop(x, group, seed)).to(matrices[0].dtype)  # (n r, I)
    result: Tensor | None = None
    if want_input:
        for place, gradient in enumerate(gradients):
            weight = group.weight(place, x.dtype)  # (O, I)
            result = gradient @ weight if result is None else result.addmm_(gradient, weight)
        assert result is not None
        down = torch.cat([a.to(x.dtype) for a in matrices[0::2]])  # (n r, I)
        if seed is None:
            result.addmm_(low_gradient, down)
        else:
            result += _drop(low_gradient @ down, group, seed)
    of_down_parts = torch.split(of_down, [a.shape[0] for a in matrices[0::2]])
    return result, [matrix for pair in zip(of_down_parts, of_up, strict=True) for matrix in pair]


class _Project(torch.autograd.Function):
    """Several projections of one input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProjectionGroup, seed: int | None, *matrices: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        flat = x.reshape(-1, x.shape[-1])  # (T, I)
        outputs, low = _forward(flat, group, seed, matrices)
        ctx.group, ctx.seed, ctx.shape = group, seed, x.shape
        ctx.save_for_backward(flat, low, *matrices)
        return tuple(output.view(*x.shape[:-1], -1) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, low, *matrices = ctx.saved_tensors
        flat = [gradient.reshape(-1, gradient.shape[-1]) for gradient in gradients]  # (T, O)
        of_x, of_matrices = _backward(flat, x, low, ctx.group, ctx.seed, matrices, ctx.needs_input_grad[0])
        return (None if of_x is None else of_x.view(ctx.shape), None, None, *of_matrices)


class _ProjectSwiGLU(torch.autograd.Function):
    """One projection of ``silu(gate) * up``."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        gate: Tensor,
        up: Tensor,
        group: ProjectionGroup,
        steps: Elementwise,
        seed: int | None,
        *matrices: Tensor,
    ) -> Tensor:
        hidden = steps.swiglu(gate, up).view(-1, gate.shape[-1])  # (T, I)
        (output,), low = _forward(hidden, group, seed, matrices)
        ctx.group, ctx.steps, ctx.seed = group, steps, seed
        ctx.save_for_backward(gate, up, low, *matrices)
        return output.view(*gate.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        gate, up, low, *matrices = ctx.saved_tensors
        activated, hidden = ctx.steps.swiglu_parts(gate, up)
        flat = gradient.reshape(-1, gradient.shape[-1])  # (T, O)
        of_hidden, of_matrices = _backward(
            [flat], hidden.view(-1, gate.shape[-1]), low, ctx.group, ctx.seed, matrices, True
        )
        assert of_hidden is not None
        of_gate, of_up = ctx.steps.swiglu_backward(of_hidden.view(gate.shape), gate, up, activated)
        return (of_gate, of_up, None, None, None, *of_matrices)
