"""Evaluations that a script prints: told once, at their end, by losses whose names say held-out."""

from __future__ import annotations

from typing import Any

import pytest

from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import Thresholds
from speech_health.monitor import Monitor
from speech_telemetry.printed import LineReader

NAN = float("nan")


def evaluations(*lines: str) -> list[dict[str, float]]:
    reader = LineReader(rank=0)
    samples = [reader.feed(line, float(n)) for n, line in enumerate(lines)]
    found = [s for s in samples if s is not None and s.evaluation]
    assert all(s.evaluated for s in found)
    return [dict(s.evaluation or {}) for s in found]


def bar(step: int, epoch: int, held: str) -> str:
    return f"Epoch {epoch}: {step * 10}%|##| {step}/10 [00:0{step}<00:01, 4.00it/s, train_loss=0.5, val_loss={held}]"


@pytest.mark.parametrize(
    ("line", "scores"),
    [
        ("{'eval_loss': 0.41, 'eval_wer': 0.3, 'epoch': 1.0}", {"eval_loss": 0.41}),
        ("epoch 1 train_loss=0.5 val_loss=0.6", {"val_loss": 0.6}),
        ("step 500: train loss 2.1000, val loss 2.2000", {}),  # no sign between name and number
        ("Training loss: 0.5 | Val loss: 0.7", {"val_loss": 0.7}),
        ("100/100 - 3s - loss: 0.4 - val_loss: nan", {"val_loss": NAN}),
        ("epoch 1 train_loss=0.5 val_acc=0.6", {}),
        ("epoch 1 train_loss=0.5 best_val_loss=0.6", {}),
        ("Test: [10/100] test_loss=0.3", {}),  # a batch of an evaluation
        ("Step 500/1000: val_loss=2.1", {"val_loss": 2.1}),
        ("Epoch [3/200] val_loss: 0.3", {"val_loss": 0.3}),
        ("Epoch 1, validation: loss=0.3", {}),  # may be a batch's
        ("epoch 1 train_loss=0.5 val_loss_step=0.6", {}),  # is one
    ],
)
def test_losses_whose_names_say_held_out(line: str, scores: dict[str, float]) -> None:
    found = evaluations("epoch 1 step 1 loss=0.9", line)
    assert repr(found) == repr([scores] if scores else [])


def test_nothing_is_evaluated_before_training_begins() -> None:
    assert evaluations("val_loss=3.0") == []


def test_one_place_of_training_has_one_evaluation() -> None:
    batches = [f"val_loss={n / 10}" for n in range(5)]
    assert len(evaluations("step 1 loss=0.9", *batches, "step 2 loss=0.8", *batches)) == 2


def test_the_same_score_at_the_next_place_is_another_evaluation() -> None:
    lines = [line for n in range(1, 4) for line in (f"step {n} loss={n}", "eval_loss=0.5")]
    assert evaluations(*lines) == [{"eval_loss": 0.5}] * 3


def test_a_bar_that_goes_on_showing_a_score_says_nothing_new() -> None:
    old = [bar(step, 1, "0.6") for step in range(1, 11)]
    new = [bar(step, 2, "0.6" if step < 10 else "0.5") for step in range(1, 11)]
    assert evaluations(*old, *new) == [{"val_loss": 0.6}, {"val_loss": 0.5}]


def test_a_bar_whose_score_stays_nan_is_one_an_epoch() -> None:
    lines = [bar(step, epoch, "nan") for epoch in (1, 2, 3) for step in range(1, 11)]
    assert len(evaluations(*lines)) == 3


def test_rows_of_a_table_bring_theirs() -> None:
    table = ["epoch  train_loss  valid_loss  dur", "-----  ----------  ----------  ---"]
    rows = [f"    {n}      0.{n}00       0.{n}50  0.1" for n in range(1, 4)]
    assert evaluations(*table, *rows) == [{"valid_loss": value} for value in (0.15, 0.25, 0.35)]


@pytest.mark.parametrize(
    "held", ["{'eval_loss': nan, 'epoch': 1.0}", "100/100 - 3s - val_loss: nan", "val_loss = inf"]
)
def test_evaluations_that_stay_nan_are_warned_of_and_stop_nothing(held: str) -> None:
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    reader, lines = LineReader(rank=0), [f"step {n} loss={9 / n}\n{held}" for n in range(1, 8)]
    for now, line in enumerate("\n".join(lines).splitlines()):
        sample: Any = reader.feed(line, float(now))
        if sample is not None:
            monitor.feed(sample)
    assert [(f.rule, f.severity) for f in monitor.findings] == [(Rule.NON_FINITE, Severity.WARNING)]
    assert "held-out" in monitor.findings[0].evidence
    assert "evaluations in a row" in monitor.findings[0].evidence


def test_a_line_about_held_out_data_alone_is_of_the_evaluation() -> None:
    reader = LineReader(rank=0)
    reader.feed("step 1 loss=0.9", 0.0)
    sample = reader.feed("eval_loss=0.5", 1.0)
    assert sample is not None
    assert (sample.phase, sample.losses, sample.step) == (Phase.EVALUATION, None, 1)
