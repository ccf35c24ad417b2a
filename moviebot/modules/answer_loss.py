"""The cross-entropy of answer tokens without their logits: on a large vocabulary these would be most of the memory.

Logits are made for a chunk of tokens at a time, turned into the loss and, at once, into its gradient; only the
gradient of the hidden states, V/D times smaller, outlives the chunk. (The idea: https://arxiv.org/abs/2411.09009; the
head is frozen here, so that nothing else is wanted.)

Shapes: N tokens that have a label, D features, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_TOKENS = 512  # at a vocabulary of 49,152, 50 MB of bfloat16 logits


def answer_loss(
    hidden: Tensor, head: Tensor, labels: Tensor, chunk_tokens: int = CHUNK_TOKENS
) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy and the number of tokens whose most probable word is the label.

    Args:
        hidden: (N, D), of the positions before the labelled tokens.
        head: (V, D), the output matrix, frozen.
        labels: (N,), int64.
        chunk_tokens: tokens whose logits are held at a time.

    Returns:
        A float32 scalar with a gradient for ``hidden``, and an int64 scalar.
    """
    loss, right = _AnswerLoss.apply(hidden, head, labels, chunk_tokens)  # type: ignore[no-untyped-call]
    return loss, right


class _AnswerLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, chunk_tokens: int) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        wanted = ctx.needs_input_grad[0]
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        right = torch.zeros((), dtype=torch.int64, device=hidden.device)
        gradient = torch.empty_like(hidden) if wanted else None
        for start in range(0, len(labels), chunk_tokens):
            part = slice(start, start + chunk_tokens)
            logits = (hidden[part] @ head.t().to(hidden.dtype)).float()  # (chunk, V)
            target = labels[part, None]
            right += (logits.argmax(dim=-1, keepdim=True) == target).sum()
            log_total = torch.logsumexp(logits, dim=-1, keepdim=True)  # (chunk, 1)
            loss += (log_total - logits.gather(1, target)).sum()
            if gradient is not None:
                probability = logits.sub_(log_total).exp_()  # (chunk, V)
                probability.scatter_add_(1, target, torch.full_like(log_total, -1.0))
                gradient[part] = probability.to(hidden.dtype) @ head.to(hidden.dtype)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return gradient * of_loss.to(gradient.dtype), None, None, None
