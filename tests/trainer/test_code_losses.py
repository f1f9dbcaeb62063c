"""The loss of codes in chunks equals plain cross-entropy of all logits at once, with its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from speech_trainer.data.delay import IGNORED
from speech_trainer.losses import codes as losses

PLACES, WIDTH, BOOKS, SIZE = 11, 6, 3, 5


@pytest.fixture
def inputs(seeded: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    monkeypatch.setattr(losses, "CHUNK", 4)  # the last one is shorter
    labels = torch.randint(0, SIZE, (PLACES, BOOKS))
    labels[torch.rand(PLACES, BOOKS) < 0.3] = IGNORED
    labels[2], labels[4:8] = IGNORED, IGNORED  # a place, and a whole chunk
    hidden = torch.randn(PLACES, WIDTH, dtype=torch.float64, requires_grad=True)
    head = torch.randn(BOOKS * SIZE, WIDTH, dtype=torch.float64, requires_grad=True)
    return hidden, head, labels


def plain(hidden: Tensor, head: Tensor, labels: Tensor, z_weight: float) -> Tensor:
    logits = (hidden @ head.T).unflatten(1, (BOOKS, SIZE))
    entropy = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    z = (logits.logsumexp(-1).square() * (labels != IGNORED)).sum()
    return entropy + z_weight * z


@pytest.mark.parametrize("z_weight", [0.0, 0.3])
def test_loss_and_gradients_are_those_of_plain_cross_entropy(
    inputs: tuple[Tensor, Tensor, Tensor], z_weight: float
) -> None:
    hidden, head, labels = inputs
    found = losses.code_losses(hidden, head, labels, z_weight)
    (2.5 * found.total).backward()
    gradients = hidden.grad, head.grad
    hidden.grad = head.grad = None
    expected = plain(hidden, head, labels, z_weight)
    (2.5 * expected).backward()
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-12)
    for own, theirs in zip(gradients, (hidden.grad, head.grad), strict=True):
        assert own is not None
        assert theirs is not None
        torch.testing.assert_close(own, theirs)


def test_books_are_told_apart_and_add_up(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    hidden, head, labels = inputs
    found = losses.code_losses(hidden, head, labels)
    assert found.books.sum().item() == pytest.approx(found.total.item())
    for book in range(BOOKS):
        alone = labels.clone()
        alone[:, [b for b in range(BOOKS) if b != book]] = IGNORED
        assert plain(hidden, head, alone, 0.0).item() == pytest.approx(found.books[book].item())


def test_nothing_known_costs_the_logarithm_of_the_choices() -> None:
    labels = torch.zeros(4, BOOKS, dtype=torch.long)
    found = losses.code_losses(torch.zeros(4, WIDTH), torch.randn(BOOKS * SIZE, WIDTH), labels)
    assert float(found.total) / labels.numel() == pytest.approx(math.log(SIZE), rel=1e-6)


def test_bf16_products_keep_float32_losses_and_gradients() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(PLACES, WIDTH, requires_grad=True)
    head = torch.randn(BOOKS * SIZE, WIDTH, requires_grad=True)
    labels = torch.zeros(PLACES, BOOKS, dtype=torch.long)
    exact = plain(hidden, head, labels, 0.0).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.code_losses(hidden, head, labels)
    found.total.backward()
    assert found.total.dtype is torch.float32
    assert found.total.item() == pytest.approx(exact, rel=0.02)
    assert hidden.grad is not None
    assert hidden.grad.dtype is torch.float32
