"""NEFTune: noise on the embeddings while training (https://arxiv.org/abs/2310.05914).

The noise is uniform in +-alpha / sqrt(T D), T the tokens of the sample and D the features, as in the paper; it comes
from torch's random state, which the module seeds by the batch, so that a resumed run draws the same.
"""

import torch
from torch import Tensor, nn


class NoisyEmbeddings:
    """Adds noise to what an embedding returns in training mode.

    Args:
        embedding: the layer; a forward hook is put on it.
        alpha: how much; the paper's values are 5 to 15.
    """

    def __init__(self, embedding: nn.Module, alpha: float) -> None:
        self.alpha = alpha
        self.segments: tuple[int, ...] | None = None  # of the next packed row; None: each row is one sample
        self.handle = embedding.register_forward_hook(self._add_noise)

    def _add_noise(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not module.training:
            return output
        tokens, features = output.shape[-2:]
        lengths = torch.tensor(self.segments or (tokens,), device=output.device)
        bounds = (self.alpha / (lengths * features).sqrt()).repeat_interleave(lengths)  # (T,)
        noise = torch.empty_like(output).uniform_(-1, 1)  # (B, T, D)
        return output + noise * bounds[:, None].to(output.dtype)
