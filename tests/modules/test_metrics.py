"""The figures by hand, and the traps of torchmetrics."""

import pytest
import torch
from torchmetrics.classification import BinaryF1Score

from moviebot.modules.metrics import (
    RANKED_DEPTH,
    CosineF1,
    TunedF1,
    append_missed,
    build_pair_metrics,
    build_rank_metrics,
)


def test_ranks_by_hand() -> None:
    metrics = build_rank_metrics("val/")
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    right = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()  # ranks 1, 3, none
    numbers = torch.tensor([[0], [1], [2]]).expand(3, 4)
    metrics.update(scores[:1], right[:1], numbers[:1])
    metrics.update(scores[1:], right[1:], numbers[1:])
    found = {key: round(value.item(), 4) for key, value in metrics.compute().items()}
    assert found == {
        "val/hit@1": 0.3333,
        "val/hit@3": 0.6667,
        "val/hit@10": 0.6667,
        "val/hit@20": 0.6667,
        "val/mrr": 0.4444,
        "val/ndcg@20": 0.5,  # (1 + 1 / log2(4) + 0) / 3
        "val/recall@20": 0.6667,
    }


def test_right_documents_beyond_the_ranking_are_counted() -> None:
    """One of three right ones is first, one is beyond the K best: torchmetrics knows of it only if it is told."""
    scores, target = torch.tensor([[2.9, 2.8], [2.9, 0.0]]), torch.tensor([[True, False], [False, False]])
    scores, target = append_missed(scores, target, torch.tensor([3, 0]))
    assert target.tolist() == [[True, False, True, True], [False] * 4]
    assert (scores[0, 2:] < 2.8).all()
    assert (scores[0, 2:] > 0).all()
    filler = torch.arange(RANKED_DEPTH, 0, -1.0)[None] + 10  # a hundred wrong documents before the missed ones
    ranked, right = append_missed(filler, torch.zeros(1, RANKED_DEPTH, dtype=torch.bool), torch.tensor([2]))
    metrics = build_rank_metrics("test/")
    metrics.update(ranked, right, torch.zeros_like(ranked, dtype=torch.long))
    assert all(value == 0 for value in metrics.compute().values()), "a rank beyond 100 counts as none, for mrr too"
    metrics.reset()
    metrics.update(scores[:1], target[:1], torch.zeros(1, 4, dtype=torch.long))
    assert metrics.compute()["test/hit@1"] == 1
    assert metrics.compute()["test/ndcg@20"] < 1, "rank one is not the best possible where three are right"


def test_pairs_by_hand() -> None:
    metrics = build_pair_metrics("test/")
    metrics.update(torch.tensor([0.9, 0.6, 0.3]), torch.tensor([1, 1, 1]))
    metrics.update(torch.tensor([0.7, 0.1, -0.2]), torch.tensor([0, 0, 0]))
    found = {key: round(value.item(), 4) for key, value in metrics.compute().items()}
    assert found["test/cosine"] == 0.6
    assert found["test/f1"] == 0.6667  # above 0.5: 2 right, 1 wrong, 1 missed
    assert found["test/f1_tuned"] == 0.8571  # at 0.3: 3 right, 1 wrong


def test_one_negative_cosine_does_not_lift_all_pairs() -> None:
    """torchmetrics' own class takes them for logits: sigmoid(0.1) > 0.5."""
    cosines, labels = torch.tensor([0.9, 0.1, -0.2]), torch.tensor([1, 0, 0])
    ours, theirs = CosineF1(), BinaryF1Score()
    ours.update(cosines, labels)
    theirs.update(cosines, labels)
    assert ours.compute() == 1
    assert theirs.compute() < 1


def test_tuned_threshold_is_kept_for_the_test_pairs() -> None:
    metric = TunedF1()
    metric.update(torch.tensor([0.8, 0.2]), torch.tensor([1, 0]))
    assert metric.find_threshold() == pytest.approx(0.8)
    held = TunedF1()
    held.threshold = 0.8
    held.update(torch.tensor([0.7, 0.2]), torch.tensor([1, 0]))
    assert held.compute() == 0, "0.7 is below the validation's threshold: nothing is chosen on the test pairs"


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_pairs_of_one_label_do_not_fail(labels: list[int]) -> None:
    metrics = build_pair_metrics("val/")
    metrics.update(torch.tensor([0.6, 0.4]), torch.tensor(labels))
    assert all(value.isfinite() for value in metrics.compute().values())
