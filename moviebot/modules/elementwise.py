"""The passes over memory between a layer's matrix products: plain, or each compiled to one kernel.

torch.compile sees these functions alone, not the layers: bitsandbytes' weights, drawn masks and packed samples stay out
of its sight, so that nothing is compiled anew while training.

Shapes: B batch, T tokens, D features, F inner features of the MLP, H heads, E features of a head.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moviebot.errors import UserError


@dataclass(frozen=True)
class Elementwise:
    """The functions below, plain or compiled."""

    rms_norm: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    rms_norm_backward: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor]
    swiglu: Callable[[Tensor, Tensor], Tensor]
    swiglu_parts: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    swiglu_backward: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return x / rms(x) * weight (..., D), and 1 / rms(x) (..., 1) in float32 (https://arxiv.org/abs/1910.07467)."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)  # (..., 1)
    inverse = (length.square() / x.shape[-1] + epsilon).rsqrt()
    return (x * inverse).to(x.dtype) * weight, inverse


def rms_norm_backward(gradient: Tensor, x: Tensor, weight: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient of x (..., D)."""
    weighted = (gradient * weight).float()
    normed = x * inverse  # float32, as inverse is
    along = (weighted * normed).mean(dim=-1, keepdim=True)  # (..., 1)
    return weighted.sub_(normed.mul_(along)).mul_(inverse).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + E/2) of features by its angle (https://arxiv.org/abs/2104.09864). (B, H, T, E), as x."""
    half = x.shape[-1] // 2
    result = x * cos
    # cos and sin repeat after E/2
    result[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    result[..., half:].addcmul_(x[..., :half], sin[..., :half])
    return result


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return silu(gate) * up (..., F) (https://arxiv.org/abs/2002.05202)."""
    return functional.silu(gate).mul_(up)


def swiglu_parts(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return silu(gate), and its product with up; each (..., F)."""
    activated = functional.silu(gate)
    return activated, activated * up


def swiglu_backward(gradient: Tensor, gate: Tensor, up: Tensor, activated: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate and of up (..., F); ``gradient`` and ``activated`` may be overwritten."""
    of_up = activated.mul_(gradient)
    return torch.ops.aten.silu_backward(gradient.mul_(up), gate), of_up


PLAIN = Elementwise(rms_norm, rms_norm_backward, rotate, swiglu, swiglu_parts, swiglu_backward)


@functools.cache
def compile_elementwise(device: str) -> Elementwise:
    """Compile the functions, for any length; a small one is tried at once.

    Args:
        device: where they will run; the trial needs it.

    Raises:
        UserError: no compiler works here.
    """
    functions = (getattr(PLAIN, name) for name in Elementwise.__dataclass_fields__)
    compiled = Elementwise(*(_without_history(torch.compile(function, dynamic=True)) for function in functions))
    try:
        compiled.swiglu(torch.ones(2, 8, device=device), torch.ones(2, 8, device=device))
    except Exception as error:  # torch wraps whatever its compiler's tools raise
        raise UserError(
            f"compile_layers: torch.compile does not work here ({str(error).strip().splitlines()[0]}); install a C++ "
            "compiler (CPU) or Triton (GPU), or give --model.init_args.compile_layers false"
        ) from error
    return compiled


def _without_history(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hide from the compiler where a tensor comes from, of which it would make another kernel: gradients are ours."""

    def call(*arguments: Tensor | float) -> Any:  # noqa: ANN401
        return function(*(value.detach() if isinstance(value, Tensor) else value for value in arguments))

    return call
