"""The loss that stands for the run."""

from __future__ import annotations

import pytest

from speech_contract.losses import headline


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), None),
        (("kl", "loss", "total"), "total"),
        (("kl", "loss"), "loss"),
        (("mel", "kl"), "mel"),
    ],
)
def test_total_then_loss_then_the_first(names: tuple[str, ...], expected: str | None) -> None:
    assert headline(names) == expected
    assert headline(dict.fromkeys(names, 0.0)) == expected
