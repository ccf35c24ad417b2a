"""The loss of the recommend retriever: an anchor has several right documents in its batch.

Shapes: A anchors, N documents of the batch, D embedding. Vectors come in at length 1, so that a dot product is a
cosine.
"""

from torch import Tensor, nn


class MultiPositiveLoss(nn.Module):
    """Makes it likely that the document drawn for an anchor is *any* of its right ones: ``-log sum p`` over these.

    ``p`` is the softmax of ``scale * cos`` over the batch's documents.
    :class:`~moviebot.modules.losses.InBatchNegativesLoss` knows one right document an anchor and hides the others. The
    mean of ``-log p`` over the right ones would pull at each of them, those too that nothing in the texts foretells;
    this one is content with those that can be told, which is what twenty shown movies are judged by.

    Args:
        scale: the inverse temperature.

    Source:
        Miech et al.: End-to-End Learning of Visual Representations from Uncurated Instructional Videos (MIL-NCE),
        CVPR 2020, equation 1.

    Example:
        >>> loss = MultiPositiveLoss(scale=1.0)
        >>> anchor, documents = torch.tensor([[1.0, 0.0]]), torch.eye(2)
        >>> round(loss(anchor, documents, torch.tensor([[True, False]])).item(), 4)  # log(1 + 1/e)
        0.3133
        >>> loss(anchor, documents, torch.tensor([[True, True]])).item()
        0.0
    """

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, anchors: Tensor, documents: Tensor, relevant: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the mean over the anchors that have a right document in the batch; 0 where none has.

        Args:
            anchors: ``(A, D)``, each row of length 1.
            documents: ``(N, D)``, each row of length 1.
            relevant: ``(A, N)`` bool; True where the document is right for the anchor.
            hidden: ``(A, N)`` bool; True where a document is neither right nor wrong, as the anchor's own movie.

        Returns:
            A scalar.
        """
        scores = self.scale * anchors @ documents.T  # (A, N)
        if hidden is not None:
            scores = scores.masked_fill(hidden & ~relevant, float("-inf"))
        judged = relevant.any(dim=1)  # (A,)
        if not judged.any():
            return 0 * scores.masked_fill(scores.isinf(), 0).sum()
        scores, relevant = scores[judged], relevant[judged]
        right = scores.masked_fill(~relevant, float("-inf")).logsumexp(dim=1)  # (A,)
        return (scores.logsumexp(dim=1) - right).mean()
