"""Implausible: claims above what a machine can do, and small data that is honestly fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import FindingStatus
from speech_contract.outcome import EXIT_NOT_LEARNING
from speech_contract.progress import Rule
from speech_contract.report import Plan
from speech_contract.thresholds import Implausible, OnExceeded

EPOCH = 1_700_000_000.0  # of the run's clock
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def train(run: Any, seconds: float, rate: float, *, start: float = 0.0, **fields: Any) -> float:
    """A report a second that claims `rate` seconds of audio a second; the audio in the end."""
    first = int(run.now)
    for second in range(1, int(seconds) + 1):
        start += rate
        run.step(first + second, loss=1.0 + second % 3, audio_seconds_total=start, **fields)
    return start


def test_hours_in_seconds_stop_the_run(run: Any) -> None:
    run.step(1, loss=2.0, plan=Plan(audio_seconds=36_000.0, samples=9000))
    train(run, 60, 90_000.0)
    decision = run.monitor.decision
    assert decision.exit_code == EXIT_NOT_LEARNING
    assert decision.finding.rule is Rule.IMPLAUSIBLE
    assert "9e+04 seconds of audio a second on one rank (limit 20000)" in decision.finding.evidence
    assert "an epoch of 10 h in 0.4 s" in decision.finding.evidence
    assert decision.finding.since - EPOCH <= 31.0


def test_the_share_of_the_data_set_stands_for_audio(run: Any) -> None:
    run.step(1, loss=2.0, plan=Plan(audio_seconds=36_000.0, samples=9000))
    for second in range(2, 40):
        run.step(second, loss=1.0, samples_total=second * 9000)
    assert "3.6e+04 seconds of audio a second" in run.finding(Rule.IMPLAUSIBLE).evidence


def test_updates_that_memory_could_not_carry(run: Any) -> None:
    run.step(1, loss=2.0, plan=Plan(parameters=3_000_000_000))
    for second in range(2, 40):
        run.step(second, loss=1.0, updates=second * 600)
    assert "updates of 3000000000 weights" in run.finding(Rule.IMPLAUSIBLE).evidence


def test_a_cpu_is_given_less(run_with: Callable[..., Any]) -> None:
    for device, rules in (("cpu", [Rule.IMPLAUSIBLE]), ("cuda (NVIDIA H200)", [])):
        run = run_with()
        train(run, 60, 6000.0, device=device)
        assert run.rules == rules


def test_one_fast_window_is_a_queue_that_was_emptied(run: Any) -> None:
    audio = train(run, 30, 100.0)
    audio = train(run, 9, 90_000.0, start=audio)
    train(run, 60, 100.0, start=audio)
    assert run.rules == []


def test_it_heals_at_a_possible_speed(run_with: Callable[..., Any]) -> None:
    run = run_with(implausible=Implausible(on_exceeded=OnExceeded.WARN))
    audio = train(run, 60, 90_000.0)
    train(run, 30, 100.0, start=audio)
    assert run.finding(Rule.IMPLAUSIBLE).status is FindingStatus.HEALED


@pytest.mark.parametrize("fields", [{}, {"samples_total": 10**9}, {"updates": None}])
def test_without_audio_or_a_plan_nothing_is_judged(run: Any, fields: dict[str, Any]) -> None:
    for second in range(1, 60):
        run.step(second, loss=1.0 + second, **fields)
    assert run.rules == []


def test_epochs_of_a_second_over_little_audio_are_no_fault(run: Any) -> None:
    run.step(1, loss=2.0, plan=Plan(audio_seconds=20.0, samples=10, parameters=1_000_000))
    for step in range(2, 5000):
        run.step(
            step,
            after=0.01,
            loss=1.0 + step % 5,
            audio_seconds_total=step * 8.0,
            samples_total=step * 4,
            updates=step,
            device="cpu",
        )
    assert run.alarms == []


def test_a_roll_back_and_a_restart_begin_anew(run: Any) -> None:
    train(run, 15, 100.0, start=5e6)
    train(run, 15, 100.0, start=0.0)
    assert run.rules == []


@quick
@given(
    rates=st.lists(st.floats(0.0, 19_999.0), min_size=1, max_size=80),
    gaps=st.lists(st.floats(0.01, 30.0), min_size=80, max_size=80),
)
def test_never_below_the_limit(
    run_with: Callable[..., Any], rates: list[float], gaps: list[float]
) -> None:
    run, audio = run_with(), 0.0
    for step, (rate, gap) in enumerate(zip(rates, gaps, strict=False), start=1):
        audio += rate * gap
        run.step(step, after=gap, loss=1.0 + step, audio_seconds_total=audio)
    assert Rule.IMPLAUSIBLE not in run.rules


@quick
@given(
    before=st.integers(0, 40),
    rate=st.floats(20_100.0, 1e9),
    window=st.integers(5, 40),
    factor=st.floats(1.0, 20_000.0),
)
def test_always_within_three_windows(
    run_with: Callable[..., Any], before: int, rate: float, window: int, factor: float
) -> None:
    limits = Implausible(max_real_time_factor=str(factor), window_seconds=window)
    run = run_with(implausible=limits)
    audio = train(run, before, 0.5)
    began = run.now
    train(run, 3 * window + 2, rate, start=audio)
    assert run.monitor.decision.finding.rule is Rule.IMPLAUSIBLE
    assert run.monitor.decision.finding.step <= began + window
