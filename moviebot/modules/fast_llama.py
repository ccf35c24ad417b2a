"""Llama's layers with less memory traffic: the same mathematics, for training with LoRA.

:func:`speed_up` replaces the ``forward`` of a model's norms, attentions and MLPs in place; parameters, names and
checkpoints stay as they are. What differs from transformers' own:

* projections that read the same input are one step (:mod:`moviebot.modules.fused_lora`);
* RMSNorm and the rotation of positions keep no float32 copies for the backward pass;
* packed samples attend among themselves by one causal call each, instead of one call on all of them with a mask of
  T x T: with n samples of equal length that is n times less work, and it needs no FlashAttention.

Shapes: B batch, T tokens, D features, H heads, E features of a head.
"""

from collections.abc import Sequence
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm, repeat_kv

from moviebot.modules.elementwise import PLAIN, Elementwise
from moviebot.modules.fused_lora import ProjectionGroup, project, project_swiglu
from moviebot.modules.precision import AMPERE


def can_speed_up(model: PreTrainedModel) -> bool:
    """Say whether a model is a Llama (Llama 1 to 3, SmolLM2, TinyLlama, ...) with the usual activation."""
    config = model.config
    return config.model_type == "llama" and config.hidden_act in ("silu", "swish") and config.attention_dropout == 0


def speed_up(model: PreTrainedModel, cache: bool = False, steps: Elementwise = PLAIN) -> list[str]:
    """Replace the forward passes of a Llama's norms, attentions and MLPs.

    Args:
        model: a Llama whose weights are frozen but for LoRA.
        cache: keep the 4-bit weights dequantised, too.
        steps: what is computed between the matrix products.

    Returns:
        The names of the modules whose projections stay PEFT's (DoRA, projections without an adapter).
    """
    plain = []
    for name, module in model.named_modules():
        if isinstance(module, LlamaRMSNorm | LlamaAttention | LlamaMLP):
            module.moviebot_steps = steps
        if isinstance(module, LlamaRMSNorm):
            module.forward = MethodType(_norm_forward, module)
        elif isinstance(module, LlamaAttention):
            inputs = [module.q_proj, module.k_proj, module.v_proj]
            module.moviebot_groups = _make_groups([inputs, [module.o_proj]], cache)
            module.forward = MethodType(_attention_forward, module)
        elif isinstance(module, LlamaMLP):
            module.moviebot_groups = _make_groups([[module.gate_proj, module.up_proj], [module.down_proj]], cache)
            module.forward = MethodType(_mlp_forward, module)
        else:
            continue
        if None in getattr(module, "moviebot_groups", []):
            plain.append(name)
    return plain


def _make_groups(groups: Sequence[Sequence[nn.Module]], cache: bool) -> list[ProjectionGroup | None]:
    return [ProjectionGroup(layers, cache) if ProjectionGroup.fits(layers) else None for layers in groups]


def _usable_groups(module: nn.Module, x: Tensor) -> list[ProjectionGroup | None]:
    """Return a module's groups, but for those whose layers were replaced, or that generate token by token."""
    if x.shape[-2] == 1 and not module.training:
        return [None, None]  # bitsandbytes has a kernel for one token that dequantises nothing
    groups = cast(list[ProjectionGroup | None], module.moviebot_groups)
    return [group if group and group.layers[0] in module.children() else None for group in groups]


def _norm_forward(self: LlamaRMSNorm, hidden_states: Tensor) -> Tensor:
    return _RMSNorm.apply(hidden_states, self.weight, self.variance_epsilon, self.moviebot_steps)  # type: ignore[no-untyped-call, no-any-return]


def _mlp_forward(self: LlamaMLP, x: Tensor) -> Tensor:
    into, out = _usable_groups(self, x)
    gate, up = project(x, into) if into else (self.gate_proj(x), self.up_proj(x))
    if out:
        return project_swiglu(gate, up, out, cast(Elementwise, self.moviebot_steps))
    result: Tensor = self.down_proj(functional.silu(gate) * up)
    return result


def _attention_forward(
    self: LlamaAttention,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,  # noqa: ANN401 (transformers' cache)
    segments: tuple[int, ...] | None = None,
    **kwargs: Any,  # noqa: ANN401
) -> tuple[Tensor, Tensor | None]:
    """Attend as transformers does; ``segments`` are the lengths of packed samples (B is 1 then)."""
    batch, tokens, _ = hidden_states.shape
    into, out = _usable_groups(self, hidden_states)
    parts = project(hidden_states, into) if into else tuple(
        layer(hidden_states) for layer in (self.q_proj, self.k_proj, self.v_proj)
    )  # fmt: skip
    query, key, value = (part.view(batch, tokens, -1, self.head_dim).transpose(1, 2) for part in parts)  # (B, H, T, E)
    cos, sin = (part.unsqueeze(1) for part in position_embeddings)  # (B, 1, T, E)
    steps = self.moviebot_steps
    query, key = (_Rotate.apply(part, cos, sin, steps) for part in (query, key))  # type: ignore[no-untyped-call]
    if past_key_values is not None:
        key, value = past_key_values.update(key, value, self.layer_idx)
    if segments is not None:
        attended = _attend_within(query, key, value, segments, self.scaling)  # (B, T, H, E)
    else:
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        attended, _ = attend(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
    attended = attended.reshape(batch, tokens, -1)
    return (project(attended, out)[0] if out else self.o_proj(attended)), None


def _attend_within(query: Tensor, key: Tensor, value: Tensor, segments: tuple[int, ...], scale: float) -> Tensor:
    """Let each of the packed samples attend to itself alone, causally. (1, H, T, E) -> (1, T, H, E)."""
    grouped = query.shape[1] != key.shape[1]
    if grouped and not _has_grouped_attention(query.device):
        key, value = (repeat_kv(part, query.shape[1] // part.shape[1]) for part in (key, value))
        grouped = False
    # split, not slices: the gradient of a slice is a tensor of zeros as large as all samples together
    parts = zip(*(torch.split(part, list(segments), dim=2) for part in (query, key, value)), strict=True)
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        attended = [_CPUAttention.apply(q, k, v, scale) for q, k, v in parts]  # type: ignore[no-untyped-call]
    else:
        attended = [
            functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=grouped)
            for q, k, v in parts
        ]
    return torch.cat([part.transpose(1, 2) for part in attended], dim=1)


def _has_grouped_attention(device: torch.device) -> bool:
    """Say whether a fast kernel takes fewer heads of keys than of queries (before Ampere only the slow one does)."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= AMPERE


class _CPUAttention(torch.autograd.Function):
    """Causal attention of bfloat16 on a CPU, whose gradient is computed in float32.

    torch 2.13's own backward pass in bfloat16 takes 1.5 times as long as the one in float32 (220 tokens, AVX512-BF16).
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:  # noqa: ANN401
        repeats = query.shape[1] // key.shape[1]
        output, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, repeat_kv(key, repeats), repeat_kv(value, repeats), 0.0, True, scale=scale
        )  # (1, H, T, E), (1, H, T)
        ctx.scale, ctx.repeats = scale, repeats
        ctx.save_for_backward(query, key, value, output, log_sums)
        result: Tensor = output
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, output, log_sums = ctx.saved_tensors
        of_query, of_key, of_value = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient.float(), query.float(), repeat_kv(key, ctx.repeats).float(),
            repeat_kv(value, ctx.repeats).float(), output.float(), log_sums, 0.0, True, scale=ctx.scale,
        )  # each (1, H, T, E), float32  # fmt: skip
        grouped = (*key.shape[:2], ctx.repeats, *key.shape[2:])
        of_key, of_value = (part.reshape(grouped).sum(dim=2).to(key.dtype) for part in (of_key, of_value))
        return of_query.to(query.dtype), of_key, of_value, None


class _RMSNorm(torch.autograd.Function):
    """RMSNorm with a frozen weight; keeps x and one number a token."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, steps: Elementwise) -> Tensor:  # noqa: ANN401
        normed, inverse = steps.rms_norm(x, weight, epsilon)
        ctx.steps = steps
        ctx.save_for_backward(x, weight, inverse)
        return normed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return ctx.steps.rms_norm_backward(gradient, *ctx.saved_tensors), None, None, None


class _Rotate(torch.autograd.Function):
    """Rotary positions; their gradient is the rotation backwards, nothing is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, steps: Elementwise) -> Tensor:  # noqa: ANN401
        ctx.steps = steps
        ctx.save_for_backward(cos, sin)
        return steps.rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        cos, sin = ctx.saved_tensors
        return ctx.steps.rotate(gradient, cos, -sin), None, None, None
