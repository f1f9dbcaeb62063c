"""Finished runs: rows → samples → what would have fired."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_health.recorded import Rows
from speech_health.replay import replay
from speech_health.samples import StepSample
from speech_health.stretch import LONGEST


def test_our_own_events_tell_of_gated_steps_and_roll_backs() -> None:
    bad = {"event": "update_skipped", "bad_component": "generator/kl"}
    rows: list[dict[str, Any]] = [{**bad, "step": step} for step in range(12, 17)]
    rows.append({"event": "rolled_back", "step": 10})
    result = replay(Rows().read([{"event": "model_built"}, *rows]))
    (fired,) = result.findings
    assert (fired.rule, fired.step, fired.severity) == (Rule.NON_FINITE, 12, Severity.CRITICAL)
    assert result.reports == 6


def test_our_own_events_tell_of_compared_checkpoints() -> None:
    row = {"event": "checkpoints_compared", "step": 20, "since": 10, "updates": 10, "movement": {}}
    result = replay(Rows().read([row, {**row, "unchanged": {"flow": 1.0}, "rate_sum": 0.1}]))
    (fired,) = result.findings
    assert (fired.rule, fired.step, fired.action) == (Rule.NOT_UPDATING, 10, Action.WOULD_STOP)


def test_codebooks_of_a_log_are_judged() -> None:
    low = {"q0": {"perplexity": 1, "size": 512}, "q1": {"unheard": 1}, "q2": 7}
    rows = [{"step": step, "loss": 1.0 / step, "codebooks": low} for step in range(1, 300)]
    (fired,) = replay(Rows().read(rows)).findings
    assert (fired.rule, fired.step) == (Rule.CODEBOOK_COLLAPSE, 201)


def test_held_out_scores_that_fall_behind_are_told() -> None:
    rows: list[dict[str, Any]] = []
    for step in range(1, 400):
        rows.append({"step": step, "loss": 10.0 * 0.99**step})
        if step % 40 == 0:
            rows.append(
                {"step": step, "eval_loss": 2.0 + max(0, step - 200) / 100, "eval_runtime": step}
            )
    (fired,) = replay(Rows().read(rows)).findings
    assert (fired.rule, fired.step) == (Rule.GOAL_UNREACHABLE, 361)
    assert "held-out eval_loss" in fired.evidence


def test_every_episode_is_an_entry_and_nothing_ends_the_judging() -> None:
    losses = [0.0] * 25 + [1.0] * 5 + [0.0] * 30 + [1.0, 1.1]
    result = replay(Rows().read({"loss": loss} for loss in losses))
    assert [(f.rule, f.step, f.status) for f in result.findings] == [
        (Rule.ZERO_LOSS, 1, FindingStatus.HEALED),
        (Rule.ZERO_LOSS, 31, FindingStatus.HEALED),
    ]
    assert {f.action for f in result.findings} == {Action.WOULD_STOP}
    assert result.critical


def test_episodes_come_in_their_order_however_long_a_file_is() -> None:
    """A stretch that is judged at once has an end, and the next one begins after it."""
    losses = [0.0] * 25 + [1.0 + n % 7 for n in range(LONGEST)] + [0.0] * 30 + [1.0, 1.1]
    result = replay(Rows().read({"loss": loss} for loss in losses))
    told = [f.step for f in result.findings if f.rule is Rule.ZERO_LOSS]
    assert told == [1, 26 + LONGEST]


def test_a_file_ends_as_a_run_that_went_well() -> None:
    steps = [StepSample(float(n), float(n), rank=0, step=n, updates=0) for n in range(1, 9)]
    (fired,) = (f for f in replay(steps).findings if f.rule is Rule.NO_GRADIENT)
    assert "0 optimizer updates at the end of the run" in fired.evidence


def test_a_sound_run_gives_nothing() -> None:
    result = replay(Rows().read({"loss": 1.0 + 1.0 / step} for step in range(1, 50)))
    assert (result.findings, result.critical, result.last_step) == ([], False, 49)


def held(value: float) -> list[dict[str, float]]:
    """A report and an evaluation in turn, as a file holds them; and one that repeats no value."""
    train = [{"step": step, "loss": 2.0 + math.sin(step) / 9} for step in range(1, 41)]
    return [row for one in train for row in (one, {"step": one["step"], "eval_loss": value})]


def test_each_evaluation_of_a_file_counts_whatever_it_says() -> None:
    still = replay(Rows().read(held(3.1234567891234)))
    assert [fired.rule for fired in still.findings] == [Rule.NOT_UPDATING]
    bad = replay(Rows().read(held(math.nan)))
    assert [fired.rule for fired in bad.findings] == [Rule.NON_FINITE]
    assert "in 40 evaluations in a row" in bad.findings[0].evidence


def test_evaluations_in_the_rows_of_training_count_too() -> None:
    rows = [
        {"epoch": epoch, "loss": 2.0 + math.sin(epoch) / 9, "val_loss": 3.1234567891234}
        for epoch in range(1, 20)
    ]
    assert [fired.rule for fired in replay(Rows().read(rows)).findings] == [Rule.NOT_UPDATING]


@pytest.mark.parametrize("name", ["step_seconds", "step_time", "train/step_time"])
def test_the_time_of_a_step_is_read_where_a_file_has_it(name: str) -> None:
    rows = [
        {"step": step, "loss": 2.0 + math.sin(step), name: 0.5 if step < 100 else 3.0}
        for step in range(1, 300)
    ]
    assert [fired.rule for fired in replay(Rows().read(rows)).findings] == [Rule.SLOWDOWN]


def test_a_zero_norm_between_nans_is_told_by_one_rule_alone() -> None:
    rows = [
        {"step": step, "loss": math.nan if step > 40 else 2.0 + math.sin(step) / 9,
         "grad_norm": 0.0 if step > 40 and step % 2 else 0.5 + step % 7, "learning_rate": 1e-4}
        for step in range(1, 200)
    ]  # fmt: skip
    assert [fired.rule for fired in replay(Rows().read(rows)).findings] == [Rule.NON_FINITE]
