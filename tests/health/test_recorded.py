"""Rows of a finished run → samples."""

from __future__ import annotations

from typing import Any

import pytest

from speech_health.recorded import Rows
from speech_health.samples import StepSample


def read(*rows: dict[str, Any]) -> list[StepSample]:
    return list(Rows().read(rows))


def train(step: int, **more: Any) -> dict[str, Any]:
    return {"step": step, "loss": 1.5, **more}


EVALUATIONS: dict[str, tuple[list[dict[str, Any]], list[tuple[int, dict[str, float] | None, bool]]]] = {
    "with its training row, and kept": (
        [train(1), train(2, val_loss=3.0), train(3)],
        [(1, None, False), (2, {"val_loss": 3.0}, True), (3, {"val_loss": 3.0}, False)],
    ),
    "with the next training row": (
        [train(1), {"step": 2, "val_loss": 3.0}, train(3)],
        [(1, None, False), (3, {"val_loss": 3.0}, True)],
    ),
    "before all training rows": (
        [{"step": 0, "val_loss": 3.0}, train(1)],
        [(1, {"val_loss": 3.0}, True)],
    ),
    "rows of one step are one": (
        [train(1), {"step": 2, "val_a": 3.0}, {"step": 2, "val_b": 4.0}, train(3), train(4)],
        [
            (1, None, False),
            (3, {"val_a": 3.0, "val_b": 4.0}, True),
            (4, {"val_a": 3.0, "val_b": 4.0}, False),
        ],
    ),
    "so are a row without training and one with": (
        [train(1), {"step": 2, "val_a": 3.0}, train(2, val_b=4.0)],
        [(1, None, False), (2, {"val_a": 3.0, "val_b": 4.0}, True)],
    ),
    "of several steps all but the newest by themselves": (
        [train(1), {"step": 2, "val_a": 3.0}, {"step": 3, "val_b": 4.0}, train(4, val_a=5.0)],
        [
            (1, None, False),
            (2, {"val_a": 3.0}, True),
            (3, {"val_b": 4.0}, True),
            (4, {"val_a": 5.0}, True),
        ],
    ),
    "after all training rows": (
        [train(1), {"step": 2, "val_a": 3.0}, {"step": 3, "val_a": 4.0}],
        [(1, None, False), (2, {"val_a": 3.0}, True), (3, {"val_a": 4.0}, True)],
    ),
    "before an event": (
        [train(1), {"step": 2, "val_a": 3.0}, {"event": "checkpoint_saved", "step": 2}, train(3)],
        [(1, None, False), (2, {"val_a": 3.0}, True), (2, None, False), (3, {"val_a": 3.0}, False)],
    ),
    "without a step": (
        [train(7), {"val_a": 3.0}, {"step": "nan", "val_b": 4.0}],
        [(7, None, False), (7, {"val_a": 3.0, "val_b": 4.0}, True)],
    ),
    "of another run": (
        [train(8, val_a=2.0), train(9), {"step": 9, "val_a": 3.0}, train(1), train(2, val_a=4.0)],
        [
            (8, {"val_a": 2.0}, True),
            (9, {"val_a": 2.0}, False),
            (1, None, False),
            (2, {"val_a": 4.0}, True),
        ],
    ),
    "in the first row of another run": (
        [train(8), train(9), {"step": 9, "val_a": 3.0}, train(1, val_a=4.0)],
        [(8, None, False), (9, None, False), (1, {"val_a": 4.0}, True)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EVALUATIONS)
def test_each_evaluation_is_told_once_in_its_place(case: str) -> None:
    rows, told = EVALUATIONS[case]
    assert [(one.step, one.evaluation, one.evaluated) for one in read(*rows)] == told


def test_an_event_whose_step_is_damaged_is_of_the_step_before() -> None:
    events = [{"event": "rolled_back", "step": step} for step in ("nan", "inf", "?", None)]
    assert [one.step for one in read(train(7), *events)] == [7] * 5
