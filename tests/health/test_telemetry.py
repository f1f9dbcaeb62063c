"""Rules TelemetryMissing and TelemetryStale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import Stall, Telemetry, Thresholds
from speech_health.monitor import Monitor


def test_missing_after_the_threshold_until_the_first_sample(
    run: Any, row: Callable[..., Any]
) -> None:
    mute = row(registered=False, phase=Phase.STARTING)
    run.tick(299.0, mute)
    assert run.rules == []
    run.tick(1.0, mute)
    finding = run.finding(Rule.TELEMETRY_MISSING)
    assert finding.severity is Severity.WARNING
    assert "300 s" in finding.evidence
    assert run.monitor.verdict is Verdict.UNKNOWN
    assert run.monitor.decision is None
    run.say(1, loss=1.0)
    run.tick(1.0, mute)
    assert run.finding(Rule.TELEMETRY_MISSING).status is FindingStatus.HEALED
    assert run.monitor.verdict is Verdict.HEALTHY


def test_a_rank_that_says_it_is_starting_is_not_missing(run: Any, row: Callable[..., Any]) -> None:
    run.tick(1.0, row(phase=Phase.DATA))
    run.tick(1000.0, row(phase=Phase.DATA, phase_age=1000.0))
    assert run.rules == []


def test_exit_without_a_sample_is_a_warning_and_no_decision(run: Any) -> None:
    run.now = 12.0
    run.monitor.finish(run.now, 0)
    assert run.rules == [Rule.TELEMETRY_MISSING]
    assert run.monitor.verdict is Verdict.UNKNOWN
    assert run.monitor.decision is None


def test_steps_without_a_loss_prove_nothing(run: Any) -> None:
    """A Hugging Face script below its first `logging_steps` shows a progress bar and nothing else."""
    run.say(1)
    run.say(2)
    assert run.monitor.verdict is Verdict.UNKNOWN
    run.monitor.finish(60.0, 0)
    assert "without one loss or gradient norm" in run.finding(Rule.TELEMETRY_MISSING).evidence
    assert run.monitor.verdict is Verdict.UNKNOWN


def test_a_gradient_norm_alone_can_be_judged(run: Any) -> None:
    run.say(1, gradient_norm=2.5)
    assert run.monitor.verdict is Verdict.HEALTHY


def test_a_crash_without_a_sample_is_only_a_crash(run: Any) -> None:
    run.monitor.finish(12.0, 1)
    assert run.rules == []


def test_stale_when_the_stamp_moves_and_samples_stopped(run: Any, row: Callable[..., Any]) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    for step in range(11, 130):
        run.tick(1.0, row(step=step, phase_age=0.2))
    assert run.rules == []
    run.tick(1.0, row(step=130, phase_age=0.2))
    finding = run.finding(Rule.TELEMETRY_STALE)
    assert "no sample for 120 s" in finding.evidence
    assert run.monitor.verdict is Verdict.UNKNOWN
    run.step(131, gated=True)
    run.tick(0.0, row(step=131))
    assert run.finding(Rule.TELEMETRY_STALE).status is FindingStatus.HEALED


def test_an_evaluation_is_not_staleness(run: Any, row: Callable[..., Any]) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    for _ in range(60):
        run.tick(10.0, row(step=10, phase=Phase.EVALUATION, phase_age=1.0))
    run.tick(1.0, row(step=10, phase_age=0.5))
    assert run.rules == []


def test_a_hang_is_a_stall_and_not_staleness(run: Any, row: Callable[..., Any]) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    run.tick(500.0, row(step=10, phase_age=500.0))
    assert run.rules == [Rule.STALLED]


def test_prints_do_not_stand_in_for_a_reporter_that_stopped(
    run: Any, row: Callable[..., Any]
) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    for step in range(11, 140):
        run.say(step, loss=1.0)
        run.tick(0.0, row(step=step, phase_age=0.2))
    assert run.rules == [Rule.TELEMETRY_STALE]


def test_a_stamp_that_stands_still_is_not_staleness(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(stall=Stall(floor_seconds=1000))
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    run.tick(500.0, row(step=10, phase_age=500.0))
    assert run.rules == []


def test_healthy_is_earned_by_a_step(run: Any) -> None:
    run.step(0, updates=0, total_steps=30)
    run.monitor.finish(9.0, 0)
    assert run.monitor.verdict is Verdict.UNKNOWN
    assert (
        "without one training step (0 of 30 planned)"
        in run.finding(Rule.TELEMETRY_MISSING).evidence
    )


@pytest.mark.parametrize(("last", "verdict"), [(14, Verdict.UNKNOWN), (15, Verdict.HEALTHY)])
def test_healthy_is_earned_by_coming_near_the_plan(run: Any, last: int, verdict: Verdict) -> None:
    for step in range(1, last + 1):
        run.step(step, loss=1.0 / step, total_steps=30)
    run.monitor.finish(run.now, 0)
    assert run.monitor.verdict is verdict


def test_much_talk_without_a_step_is_named(run: Any) -> None:
    for line in range(13_000):
        run.monitor.hear_line(line / 40, 0)
    run.tick(301.0)
    evidence = run.finding(Rule.TELEMETRY_MISSING).evidence
    assert "13000 line(s) were printed (43.2 a second), none of a training step" in evidence


@pytest.mark.parametrize(
    ("missing", "lines", "loud"),
    [(300, 0, False), (300, 299, False), (300, 300, True), (1, 1, True)],
)
def test_a_line_a_second_is_much_talk_and_the_remedy_asks_for_the_loader(
    run_with: Callable[..., Any], missing: int, lines: int, loud: bool
) -> None:
    run = run_with(telemetry=Telemetry(missing_seconds=missing))
    for _ in range(lines):
        run.monitor.hear_line(0.5, 0)
    run.tick(float(missing))
    remedy = run.finding(Rule.TELEMETRY_MISSING).remedy
    assert ("whether the loader gave a batch" in remedy) is loud


@pytest.mark.parametrize("ends", [False, True])
def test_waiting_counts_from_the_start_of_the_ranks(ends: bool) -> None:
    monitor = Monitor(Thresholds(), started=1000.0, wall=lambda: 0.0)
    monitor.tick(1299.0, [])
    assert monitor.findings == []
    if ends:
        monitor.finish(1299.0, 0)
    else:
        monitor.tick(1300.0, [])
    (finding,) = monitor.findings
    assert ("after 299 s without" if ends else "in 300 s, threshold 300 s") in finding.evidence


def move(run: Any, row: Callable[..., Any], first: int, last: int, *ranks: int) -> None:
    """A second a step, in which stamps move and nobody reports."""
    for step in range(first, last + 1):
        run.tick(1.0, *(row(rank, step=step, phase_age=0.2) for rank in ranks))


@pytest.mark.parametrize(
    ("ended", "rules"),
    [({}, [Rule.TELEMETRY_STALE]), ({"exit_code": 0}, []), ({"registered": False}, [])],
)
def test_a_rank_that_ended_or_is_not_there_is_not_stale(
    run: Any, row: Callable[..., Any], ended: dict[str, Any], rules: list[Rule]
) -> None:
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    move(run, row, 11, 129, 0)
    run.tick(1.0, row(step=130, phase_age=0.2, **ended))
    assert run.rules == rules


def test_of_stale_ranks_the_one_that_is_silent_for_longest_is_named(
    run: Any, row: Callable[..., Any]
) -> None:
    for rank, step in ((0, 1), (1, 1), (0, 2)):
        run.step(step, rank=rank, gated=True)
        run.tick(0.0, *(row(other, step=step) for other in range(rank + 1)))
    move(run, row, 3, 130, 0, 1)
    finding = run.finding(Rule.TELEMETRY_STALE)
    assert (finding.rank, run.now - 2.0) == (1, 129.0)
    assert (
        "rank 1 moves (phase Training, stamp 0 s old) but sent no sample for 129 s"
        in finding.evidence
    )


def test_a_rank_that_reports_seldom_is_stale_after_three_of_its_gaps(
    run: Any, row: Callable[..., Any]
) -> None:
    for step in range(1, 6):
        run.step(step, after=100.0, gated=True)
        run.tick(0.0, row(step=step))
    move(run, row, 6, 304, 0)
    assert run.rules == []
    move(run, row, 305, 305, 0)
    assert "no sample for 300 s" in run.finding(Rule.TELEMETRY_STALE).evidence


@pytest.mark.parametrize(("later", "stale"), [(1.5, False), (1.625, True)])
def test_a_stamp_that_moved_once_more_right_after_a_report_is_no_life(
    run_with: Callable[..., Any], row: Callable[..., Any], later: float, stale: bool
) -> None:
    """Stamps come second-hand, once a second: only what is later than that tells of another step."""
    run = run_with(stall=Stall(floor_seconds=1000))
    for step in range(1, 11):
        run.step(step, gated=True)
        run.tick(0.0, row(step=step))
    run.tick(later, row(step=11))
    run.tick(200.0, row(step=11, phase_age=200.0))
    assert run.rules == ([Rule.TELEMETRY_STALE] if stale else [])
