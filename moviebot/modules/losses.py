"""The two losses a retriever is trained with: the published one, and the one that ranks better.

Shapes: B pairs, N documents of the batch (N >= B), D embedding. Vectors come in at length 1, so that a dot product is a
cosine.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ContrastiveLoss(nn.Module):
    """Pulls the two sides of a positive pair together and pushes those of a negative pair a margin apart.

    ``0.5 * mean(y * d^2 + (1 - y) * relu(margin - d)^2)`` with the cosine distance ``d = 1 - cos``. Each pair is judged
    on its own, which raises the mean cosine of positives but says nothing of their rank: see
    :class:`InBatchNegativesLoss` for the alternative.

    Args:
        margin: negatives further apart than this cost nothing, 0 to 2.

    Source:
        Hadsell, Chopra, LeCun: Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006, equation 4, with
        the cosine distance of sentence-transformers' loss of the same name.

    Example:
        >>> loss = ContrastiveLoss(margin=0.5)
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> loss(east, north, torch.tensor([1])).item(), loss(east, north, torch.tensor([0])).item()
        (0.5, 0.0)
    """

    def __init__(self, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, anchors: Tensor, samples: Tensor, labels: Tensor) -> Tensor:
        """Return the mean over the pairs.

        Args:
            anchors: ``(B, D)``, each row of length 1.
            samples: ``(B, D)``, each row of length 1.
            labels: ``(B,)``, 1 for a positive pair and 0 for a negative one.

        Returns:
            A scalar.
        """
        labels = labels.to(anchors.dtype)
        distance = 1 - (anchors * samples).sum(dim=-1)  # (B,)
        pull = labels * distance.pow(2)
        push = (1 - labels) * functional.relu(self.margin - distance).pow(2)
        return 0.5 * (pull + push).mean()


class InBatchNegativesLoss(nn.Module):
    """Makes each anchor's own document the most similar of all documents in the batch (InfoNCE).

    The cross-entropy of ``scale * cos`` over the batch's documents. It optimises the rank itself, and every document
    serves as a negative for all other anchors, so a batch of 32 gives 31 negatives for the price of none.

    Args:
        scale: the inverse temperature; 20 is sentence-transformers' default.

    Source:
        Van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive Coding, 2018, equation 4;
        ``MultipleNegativesRankingLoss`` in sentence-transformers.

    Example:
        >>> vectors = torch.eye(2)
        >>> round(InBatchNegativesLoss(scale=1.0)(vectors, vectors).item(), 4)  # log(1 + 1/e)
        0.3133
    """

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(
        self, anchors: Tensor, documents: Tensor, excluded: Tensor | None = None, own: Tensor | None = None
    ) -> Tensor:
        """Return the mean over the anchors.

        Args:
            anchors: ``(B, D)``, each row of length 1.
            documents: ``(N, D)``, each row of length 1: the anchors' own, and others that serve as negatives only.
            excluded: ``(B, N)`` bool; True where a document is no negative of the anchor, because it is another
                positive of it or the very movie it is about. The anchor's own document counts whatever stands here.
            own: ``(B,)`` int64, which document is each anchor's own; anchor i's is document i where None.

        Returns:
            A scalar.
        """
        scores = self.scale * anchors @ documents.T  # (B, N)
        rows = torch.arange(len(anchors), device=anchors.device)
        own = rows if own is None else own
        if excluded is not None:
            hidden = excluded.clone()
            hidden[rows, own] = False
            scores = scores.masked_fill(hidden, float("-inf"))
        return functional.cross_entropy(scores, own)
