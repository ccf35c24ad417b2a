"""The losses equal sentence-transformers' own in value and gradient, on a grid; the mask keeps false negatives out."""

import itertools

import pytest
import torch
from sentence_transformers.sentence_transformer import losses as reference
from torch import Tensor

from moviebot.modules.losses import ContrastiveLoss, InBatchNegativesLoss

WIDTH = 16


def draw(rows: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(vectors, dim=-1).requires_grad_()


def tangent(gradient: Tensor | None, vectors: Tensor) -> Tensor:
    """The part along the sphere: cosine similarity also normalises, so only that part of the reference's counts."""
    assert gradient is not None
    unit = vectors.detach()
    return gradient - (gradient * unit).sum(-1, keepdim=True) * unit


@pytest.mark.parametrize(
    ("rows", "margin", "seed"), list(itertools.product([1, 2, 7, 32], [0.0, 0.3, 0.5, 1.5], [0, 1]))
)
def test_contrastive_equals_the_published_loss(rows: int, margin: float, seed: int) -> None:
    labels = torch.randint(0, 2, (rows,), generator=torch.Generator().manual_seed(seed))
    ours, theirs = [draw(rows, seed), draw(rows, seed + 9)], [draw(rows, seed), draw(rows, seed + 9)]
    value = ContrastiveLoss(margin)(*ours, labels)
    expected = reference.ContrastiveLoss(torch.nn.Identity(), margin=margin).compute_loss_from_embeddings(
        theirs, labels
    )
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(tangent(mine.grad, mine), tangent(other.grad, other))


def test_contrastive_grid_is_not_vacuous() -> None:
    """Some negatives within the margin, some beyond, gradients not zero: else the equality above says nothing."""
    anchors, samples = draw(32, 0), draw(32, 9)
    negatives = torch.zeros(32, dtype=torch.long)
    within = ContrastiveLoss(1.5)(anchors, samples, negatives)
    within.backward()
    assert anchors.grad is not None
    assert anchors.grad.norm() > 0.01
    assert ContrastiveLoss(0.5)(anchors, samples, negatives) < within


@pytest.mark.parametrize(
    ("rows", "hard", "scale", "seed"),
    list(itertools.product([2, 7, 32], [0, 1, 2], [1.0, 20.0, 50.0], [0, 1])),
)
def test_in_batch_equals_the_published_loss(rows: int, hard: int, scale: float, seed: int) -> None:
    columns = 2 + hard  # anchors, their positives, and `hard` negatives each
    ours = [draw(rows, seed + 100 * column) for column in range(columns)]
    theirs = [draw(rows, seed + 100 * column) for column in range(columns)]
    value = InBatchNegativesLoss(scale)(ours[0], torch.cat(ours[1:]))
    loss = reference.MultipleNegativesRankingLoss(torch.nn.Identity(), scale=scale)
    expected = loss.compute_loss_from_embeddings(theirs, torch.zeros(0))
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert tangent(mine.grad, mine).norm() > 1e-9
        torch.testing.assert_close(tangent(mine.grad, mine), tangent(other.grad, other))


def test_excluded_documents_are_no_negatives() -> None:
    """With the mask, the loss is that of a batch without the false negative; without it, it is another."""
    anchors, documents = draw(4, 0), draw(4, 9).detach()
    documents[3] = anchors[0].detach()  # the other question's title is right for the first question too
    excluded = torch.zeros(4, 4, dtype=torch.bool)
    excluded[0, 3] = True
    scores = 20 * anchors @ documents.T
    first = -(scores[0, 0] - scores[0, :3].logsumexp(0))
    others = [-(scores[row, row] - scores[row].logsumexp(0)) for row in range(1, 4)]
    masked = InBatchNegativesLoss()(anchors, documents, excluded)
    torch.testing.assert_close(masked, (first + sum(others)) / 4)
    assert InBatchNegativesLoss()(anchors, documents) > masked + 1


def test_an_anchors_own_document_is_never_excluded() -> None:
    """The mask's diagonal is true (a movie is right for itself) and must not hide the positive."""
    anchors, documents = draw(3, 0), draw(3, 9)
    own = torch.eye(3, dtype=torch.bool)
    loss = InBatchNegativesLoss()(anchors, documents, own)
    torch.testing.assert_close(loss, InBatchNegativesLoss()(anchors, documents))
    assert own.diagonal().all(), "the caller's mask is left as it was"
