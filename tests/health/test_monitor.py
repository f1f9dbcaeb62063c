"""All rules together: precedence, order, verdict, modes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from speech_contract.findings import Verdict
from speech_contract.progress import Rule
from speech_contract.thresholds import HealthMode, OnExceeded, SkippedSamples, Stall, ZeroLoss
from speech_health.monitor import detector_of


def test_before_any_sample_nothing_is_healthy(run: Any) -> None:
    assert run.monitor.verdict is Verdict.UNKNOWN
    run.step(1, loss=1.0)
    assert run.monitor.verdict is Verdict.HEALTHY


def test_what_a_worker_says_after_the_end_does_not_soften_the_last_word(run: Any) -> None:
    run.step(1, loss=1.0, gated=True, non_finite_steps=0)
    run.step(2, gated=True, non_finite_steps=1, bad_step=2, bad_component="total")
    run.monitor.finish(run.now, 40)
    assert run.monitor.verdict is Verdict.CRITICAL
    told = run.finding(Rule.NON_FINITE)
    run.step(3, rank=1, gated=True, non_finite_steps=2, bad_step=3, bad_component="total")
    run.tick(1.0)
    assert run.monitor.verdict is Verdict.CRITICAL
    assert run.finding(Rule.NON_FINITE) == told


def test_off_judges_nothing_and_claims_nothing(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.OFF)
    for step in range(1, 50):
        run.step(step, loss=math.nan)
    run.tick(10_000.0)
    run.monitor.finish(run.now, 0)
    assert run.rules == []
    assert run.monitor.decision is None
    assert run.monitor.verdict is Verdict.UNKNOWN


def test_the_first_decision_stays_and_ends_the_judging(run: Any) -> None:
    for step in range(1, 30):
        run.step(step, loss=0.0)
    first = run.monitor.decision
    for step in range(30, 60):
        run.step(step, loss=math.nan)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision is first
    assert run.rules == [Rule.ZERO_LOSS]


def test_non_finite_beats_zero_loss(run_with: Callable[..., Any]) -> None:
    run = run_with(zero_loss=ZeroLoss(for_steps=3, on_exceeded=OnExceeded.WARN))
    for step in range(1, 6):
        run.step(step, loss=0.0)
    assert run.rules == [Rule.ZERO_LOSS]
    run.step(6, losses={"loss": 0.0, "mel": math.nan})
    assert run.rules == [Rule.NON_FINITE]


def test_a_stall_beats_the_staleness_of_another_rank(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in range(1, 6):
        run.step(step, rank=0, gated=True)
        run.step(step, rank=1, gated=True)
    for age in range(1, 131):
        rows = row(0, step=5 + age, phase_age=0.1), row(1, step=5, phase_age=float(age))
        run.tick(1.0, *rows)
    assert run.rules == [Rule.STALLED]
    assert run.finding(Rule.STALLED).rank == 1


def test_findings_come_active_first_then_by_severity(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(
        mode=HealthMode.NOTIFY,
        stall=Stall(floor_seconds=5),
        skipped_samples=SkippedSamples(on_exceeded=OnExceeded.WARN),
    )
    run.step(1, loss=1.0, gradient_norm=math.inf)
    run.step(2, loss=1.0, samples_total=980, skipped={"Silent": 20})
    run.tick(9.0, row(step=2, phase_age=9.0))
    assert run.rules == [Rule.STALLED, Rule.SKIPPED_SAMPLES, Rule.NON_FINITE]
    run.step(3, loss=1.0)
    run.tick(0.0, row(step=3))
    assert run.rules == [Rule.SKIPPED_SAMPLES, Rule.NON_FINITE, Rule.STALLED]


def test_one_finding_a_rule_with_its_time(run: Any) -> None:
    run.step(1, loss=math.nan)
    since = run.monitor.findings[0].since
    assert since == 1_700_000_001.0
    run.step(2, loss=math.nan)
    assert [f.since for f in run.monitor.findings] == [since]


def test_every_rule_but_the_operators_own_has_a_detector() -> None:
    own = [rule for rule in Rule if detector_of(rule) is None]
    assert own == [Rule.TELEMETRY_UNREACHABLE, Rule.NOT_STARTING]


def test_a_reporter_that_tells_steps_alone_does_not_silence_stdout(run: Any) -> None:
    for step in range(1, 6):
        run.step(step)
        run.say(step, loss=math.nan)
    assert run.rules == [Rule.NON_FINITE]


def test_what_the_attempt_ends_for_stands_before_what_was_critical_earlier(run: Any) -> None:
    for step in range(1, 8):
        run.step(step, loss=1.0 / step, gradient_norm=1.0, gated=True, non_finite_steps=step)
    assert run.rules == [Rule.NON_FINITE]
    for step in (8, 9):
        run.step(step, loss=1.0 / step, gradient_norm=0.0, gated=True, non_finite_steps=7)
    assert run.rules == [Rule.NO_GRADIENT, Rule.NON_FINITE]


def test_a_reporter_with_losses_silences_stdout(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, loss=1.0 / step)
        run.say(step, loss=math.nan)
    assert run.rules == []
