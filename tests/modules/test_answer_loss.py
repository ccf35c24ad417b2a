"""The cross-entropy without its logits equals the one with them."""

import pytest
import torch
from torch.nn import functional

from moviebot.modules.answer_loss import answer_loss


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_equals_cross_entropy(chunk: int) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(7, 16, requires_grad=True)
    head, labels = torch.randn(50, 16), torch.randint(50, (7,))
    logits = hidden @ head.t()
    expected = functional.cross_entropy(logits, labels, reduction="sum")
    (wanted,) = torch.autograd.grad(expected, hidden)
    loss, right = answer_loss(hidden, head, labels, chunk)
    (gradient,) = torch.autograd.grad(3 * loss, hidden)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert right.item() == (logits.argmax(1) == labels).sum().item()
    torch.testing.assert_close(gradient, 3 * wanted)


def test_works_without_gradients() -> None:
    with torch.no_grad():
        loss, right = answer_loss(torch.eye(3), 9 * torch.eye(3), torch.tensor([0, 1, 2]))
    assert right.item() == 3
    assert loss.item() == pytest.approx(0.0, abs=1e-2)
