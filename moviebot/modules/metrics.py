"""How good a retriever is: cosine and F1 of pairs (the published figures), and the rank of the right document.

The mean cosine hides failure: the published loss raises it while it ruins the ranking of remakes. So the ranks decide,
and the pair figures are there to compare with. torchmetrics' own classes wherever it has one.

Shapes: B pairs or queries, K ranked documents a query.
"""

from typing import Final

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import BinaryF1Score
from torchmetrics.functional.classification import binary_precision_recall_curve
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalNormalizedDCG, RetrievalRecall
from torchmetrics.utilities import dim_zero_cat

HIT_DEPTHS: Final = (1, 3, 10, 20)
LIST_DEPTH: Final = 20
"""Movies recommended at a time: the depth of nDCG and recall."""
RANKED_DEPTH: Final = 100
"""Documents kept a query: a reciprocal rank below 1/100 counts as 0, and memory does not grow with the catalogue."""
PUBLISHED_THRESHOLD: Final = 0.5


def build_pair_metrics(prefix: str) -> MetricCollection:
    """Return the metrics of labelled pairs, for ``update(preds, target)``, both ``(B,)``: cosines, and labels 0 or 1.

    * ``cosine``: mean cosine of the positive pairs (published: 0.8356 for questions, 0.7531 for recommendations);
    * ``f1``: F1 of the rule "cosine above 0.5", the published loss's margin;
    * ``f1_tuned``: F1 at the threshold that is best on the validation pairs; in ``test/`` the threshold is the
      validation's (:attr:`TunedF1.threshold`), so that nothing is chosen on the test pairs.

    Args:
        prefix: ``val/`` or ``test/``.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "cosine": PositiveCosine(),
        "f1": CosineF1(threshold=PUBLISHED_THRESHOLD),
        "f1_tuned": TunedF1(),
    }
    return MetricCollection(metrics, prefix=prefix, compute_groups=False)


def build_rank_metrics(prefix: str) -> MetricCollection:
    """Return the metrics of rankings, for ``update(preds, target, indexes)``, all three ``(B, K)``.

    The scores of each query's K best documents, **above zero** (torchmetrics' MRR passes over the others without a
    word), whether each is a right one, and the query's number. Right documents that are not among the best must be
    there too, below them (:func:`append_missed`): torchmetrics knows of no others.

    * ``hit@k``: the share of queries with a right document among the first k;
    * ``mrr``: the mean of 1 / rank of the first right one, 0 where none is among the first 100;
    * ``ndcg@20``: the gain of the right ones among the first 20, discounted by the logarithm of the rank, as a share of
      the best possible;
    * ``recall@20``: the share of the right ones that are among the first 20.

    Args:
        prefix: ``val/`` or ``test/``.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        f"hit@{depth}": RetrievalHitRate(top_k=depth) for depth in HIT_DEPTHS
    }
    metrics |= {
        "mrr": RetrievalMRR(top_k=RANKED_DEPTH),
        f"ndcg@{LIST_DEPTH}": RetrievalNormalizedDCG(top_k=LIST_DEPTH),
        f"recall@{LIST_DEPTH}": RetrievalRecall(top_k=LIST_DEPTH),
    }
    return MetricCollection(metrics, prefix=prefix, compute_groups=False)


def append_missed(scores: Tensor, target: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Append the right documents that are not among the K best, as the last of the ranking.

    Args:
        scores: ``(B, K)``, above zero where a document counts as ranked.
        target: ``(B, K)`` bool, which of them are right.
        right: ``(B,)`` int64, how many right documents each query has in all.

    Returns:
        Scores and target ``(B, K + M)``; M is the most that any query misses.

    Example:
        >>> append_missed(torch.tensor([[3.0, 2.0]]), torch.tensor([[True, False]]), torch.tensor([2]))[1]
        tensor([[ True, False,  True]])
    """
    missed = (right - target.sum(dim=1)).clamp(min=0)  # (B,)
    place = torch.arange(int(missed.max()) if len(missed) else 0, device=scores.device)  # (M,)
    extra = place[None, :] < missed[:, None]  # (B, M)
    lowest = scores.clamp(min=0).where(scores > 0, torch.inf).amin(dim=1, keepdim=True).nan_to_num(posinf=1.0) / 2
    return torch.cat([scores, lowest * extra], dim=1), torch.cat([target, extra], dim=1)


class PositiveCosine(Metric):
    """The mean cosine of the positive pairs; 0 where there are none.

    Example:
        >>> metric = PositiveCosine()
        >>> metric.update(torch.tensor([0.9, 0.7, 0.1]), torch.tensor([1, 1, 0]))
        >>> round(metric.compute().item(), 3)
        0.8
    """

    full_state_update = False
    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs: ``(B,)`` cosines and ``(B,)`` labels."""
        self.total += preds[target == 1].double().sum()
        self.count += (target == 1).sum()

    def compute(self) -> Tensor:
        """Return the mean, a scalar."""
        return (self.total / self.count.clamp(min=1)).float()


class CosineF1(BinaryF1Score):
    """torchmetrics' F1 over cosines instead of probabilities.

    torchmetrics takes values outside 0 to 1 for logits and puts the whole batch through a sigmoid: one negative cosine
    would lift every pair above the threshold of 0.5. Clamping leaves the comparison with the threshold as it is.

    Example:
        >>> metric = CosineF1(threshold=0.5)
        >>> metric.update(torch.tensor([0.9, 0.4, -0.1]), torch.tensor([1, 0, 0]))
        >>> metric.compute().item()
        1.0
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs: ``(B,)`` cosines and ``(B,)`` labels."""
        super().update(preds.clamp(0, 1), target)


class TunedF1(Metric):
    """F1 of the rule "cosine at least the threshold", with the threshold that is best for the pairs seen.

    Attributes:
        threshold: where set, it is used as it is, and nothing is chosen.

    Example:
        >>> metric = TunedF1()
        >>> metric.update(torch.tensor([0.4, 0.3, 0.2, -0.1]), torch.tensor([1, 1, 0, 0]))
        >>> metric.compute().item(), round(metric.find_threshold().item(), 2)
        (1.0, 0.3)
    """

    full_state_update = False
    higher_is_better = True
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.threshold: float | None = None
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs: ``(B,)`` cosines and ``(B,)`` labels."""
        self.preds.append(preds.float().clamp(0, 1))
        self.target.append(target)

    def compute(self) -> Tensor:
        """Return F1, a scalar; 0 where no pair is positive."""
        target = dim_zero_cat(self.target)
        if not target.any():
            return torch.zeros((), device=self.device)
        threshold = self.threshold if self.threshold is not None else self.find_threshold().item()
        predicted = dim_zero_cat(self.preds) >= threshold
        true_positives = (predicted & (target == 1)).sum()
        return 2 * true_positives / (predicted.sum() + (target == 1).sum())

    def find_threshold(self) -> Tensor:
        """Return the cosine at which F1 is largest for the pairs seen, a scalar."""
        preds, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        precision, recall, thresholds = binary_precision_recall_curve(preds, target)
        f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
        return thresholds[f1[:-1].argmax()]  # the curve's last point has no threshold
