"""Rule NonFinite on runs that others would judge too soon, or by another rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from speech_contract.findings import FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import NonFinite, OnExceeded

NAN, INF = math.nan, math.inf


def test_scaler_overflow_is_mentioned_not_counted(run: Any) -> None:
    for step in range(1, 17):
        run.step(step, loss=2.0, gradient_norm=INF)
    assert run.finding(Rule.NON_FINITE).severity is Severity.INFO
    assert run.monitor.verdict is Verdict.HEALTHY
    run.step(17, loss=2.0, gradient_norm=1.0)
    run.step(18, loss=2.0, gradient_norm=NAN)
    assert run.finding(Rule.NON_FINITE).severity is Severity.INFO


def test_a_scaler_that_never_comes_down_is_a_fault(run: Any) -> None:
    for step in range(1, 25):
        run.step(step, loss=2.0, gradient_norm=INF)
    assert run.monitor.decision.exit_code == 40


def test_a_run_that_recovered_completes(run: Any) -> None:
    run.say(1, loss=NAN)
    run.say(2, loss=1.0)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision is None


def test_a_disguised_nan_never_counts_as_a_zero_loss(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(on_exceeded=OnExceeded.WARN))
    for step in range(1, 60):
        run.step(step, loss=0.0, gradient_norm=NAN)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision is None
    assert run.rules == [Rule.NON_FINITE]


def test_zero_loss_beside_nan_norm_is_a_nan_in_disguise(run: Any) -> None:
    for step in range(1, 5):
        run.say(step, loss=0.0, gradient_norm=NAN)
    assert run.rules == [Rule.NON_FINITE]
    assert "disguise" in run.finding(Rule.NON_FINITE).evidence
    assert run.monitor.decision.exit_code == 40


def test_a_roll_back_speaks_of_training_whatever_was_told_of_evaluations(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=5))
    for step in (8, 9):
        run.step(step, gated=True, evaluation={"eval_loss": NAN}, evaluated=True)
    assert "held-out" in run.finding(Rule.NON_FINITE).evidence
    run.step(4, gated=True, rollbacks=1)
    assert run.finding(Rule.NON_FINITE).evidence == "roll-back 1 of at most 2: non-finite steps"
    run.step(9, gated=True, rollbacks=1)
    assert run.finding(Rule.NON_FINITE).status is FindingStatus.HEALED
