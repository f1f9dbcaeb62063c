"""Rule NoGradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule
from speech_contract.thresholds import NoGradient, OnExceeded


@pytest.mark.parametrize("rate", [2e-5, None])
def test_two_zero_norms_stop_the_run(run: Any, rate: float | None) -> None:
    run.step(1, loss=4.2, gradient_norm=0.0, learning_rate=rate)
    assert run.rules == []
    run.step(2, loss=4.2, gradient_norm=0.0, learning_rate=rate)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.finding.rule) == (41, Rule.NO_GRADIENT)
    assert "2 report(s)" in decision.finding.evidence


@pytest.mark.parametrize(
    "fields",
    [
        {"gradient_norm": 0.0, "learning_rate": 0.0},
        {"gradient_norm": 1e-30, "learning_rate": 1e-3},
        {"learning_rate": 1e-3},
    ],
    ids=["warm-up at rate 0", "tiny norm", "norm never reported"],
)
def test_healthy_or_silent_runs_are_not_accused(run: Any, fields: dict[str, float]) -> None:
    for step in range(1, 30):
        run.step(step, loss=1.0, **fields)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_reports_without_a_norm_between_do_not_acquit(run: Any) -> None:
    for step in range(1, 12):
        run.step(step, gradient_norm=0.0 if step % 10 == 1 else None)
    assert run.monitor.decision.exit_code == 41


def test_the_same_step_again_is_no_second_update(run: Any) -> None:
    run.step(1, gradient_norm=0.0)
    run.step(1, gradient_norm=0.0)
    assert run.rules == []


def test_dead_modules_are_named_after_the_first_steps(run: Any) -> None:
    run.step(1, missing_gradients=["duration", "flow", "decoder"])
    run.step(2, missing_gradients=["flow", "duration"])
    assert run.rules == []
    run.step(3, missing_gradients=["duration", "flow", "encoder"])
    decision = run.monitor.decision
    assert decision.exit_code == 41
    assert decision.finding.evidence.endswith("duration, flow")


def test_modules_that_all_had_a_gradient_do_not_excuse_a_norm_of_0(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(no_gradient=NoGradient(on_exceeded=OnExceeded.WARN))
    for step in range(1, 5):
        run.step(step, gradient_norm=0.0, missing_gradients=[])
    assert run.finding(Rule.NO_GRADIENT).status is FindingStatus.ACTIVE


def test_a_module_that_got_one_gradient_is_alive(run: Any) -> None:
    run.step(1, missing_gradients=["flow"])
    run.step(2, missing_gradients=[])
    for step in range(3, 20):
        run.step(step, missing_gradients=["flow"])
    assert run.rules == []


def test_steps_without_updates_are_convicted_at_exit(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, loss=1.0, updates=0)
    assert run.rules == []
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision.exit_code == 41
    assert "5 steps and 0 optimizer updates" in run.monitor.decision.finding.evidence


@pytest.mark.parametrize("updates", [None, 1])
def test_updates_unknown_or_made_complete(run: Any, updates: int | None) -> None:
    for step in range(1, 6):
        run.step(step, loss=1.0, updates=updates)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_a_crash_is_not_judged(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, updates=0)
    run.monitor.finish(run.now, 1)
    assert run.rules == []


def test_warning_heals_with_a_gradient(run_with: Callable[..., Any]) -> None:
    run = run_with(no_gradient=NoGradient(on_exceeded=OnExceeded.WARN))
    for step in range(1, 4):
        run.step(step, gradient_norm=0.0)
    assert run.rules == [Rule.NO_GRADIENT]
    run.step(4, gradient_norm=0.7)
    assert run.finding(Rule.NO_GRADIENT).status is FindingStatus.HEALED


def test_batches_with_nothing_to_learn_from_are_left_to_zero_loss(run: Any) -> None:
    for step in range(1, 10):
        run.step(step, loss=1.0 + step / 7, gradient_norm=1.0)
    for step in range(10, 29):
        run.step(step, loss=0.0, gradient_norm=0.0)
    assert run.rules == []
    run.step(29, loss=0.0, gradient_norm=0.0)
    assert run.rules == [Rule.ZERO_LOSS]


def test_from_the_start_they_are_not(run: Any) -> None:
    for step in (1, 2):
        run.step(step, loss=0.0, gradient_norm=0.0)
    assert Rule.NO_GRADIENT in run.rules


@pytest.mark.parametrize(("steps", "stops"), [(1, False), (2, True)])
def test_a_run_that_never_updates_needs_as_many_steps_as_updates_are_asked_for(
    run_with: Callable[..., Any], steps: int, stops: bool
) -> None:
    """Two steps may end without an update of accumulated gradients only where two are a fault."""
    run = run_with(no_gradient=NoGradient(for_updates=2))
    for step in range(8, 8 + steps):
        run.step(step, loss=1.0 + step, updates=0)
    run.monitor.finish(run.now, 0)
    assert (run.monitor.decision is not None) is stops


def test_equal_rewards_leave_no_gradient_and_prove_nothing(run: Any) -> None:
    for step in range(1, 60):
        equal = step % 12 in (6, 7, 8)
        norm, spread = (0.0, 0.0) if equal else (0.7, 0.2)
        run.step(step, loss=0.002, gradient_norm=norm, reward=0.4, reward_spread=spread)
    assert run.rules == []


def test_zero_norms_behind_a_nan_are_left_to_non_finite(run: Any) -> None:
    run.step(1, loss=2.0, gradient_norm=1.0)
    for step in range(2, 12):
        run.step(step, loss=math.nan, gradient_norm=0.0)
    assert run.rules == [Rule.NON_FINITE]
