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


@pytest.mark.parametrize(
    ("rate", "device", "told"),
    [
        (20_000.0, "cuda", False),
        (20_001.0, "cuda", True),
        (5000.0, "cpu", False),
        (5001.0, "cpu", True),
    ],
)
def test_two_windows_of_ten_seconds_above_the_limit_are_told(
    run: Any, rate: float, device: str, told: bool
) -> None:
    audio = train(run, 20, rate, device=device)
    assert run.rules == []
    train(run, 1, rate, start=audio, device=device)
    assert (run.rules == [Rule.IMPLAUSIBLE]) is told
    if told:
        assert "one rank (limit " in run.finding(Rule.IMPLAUSIBLE).evidence
        assert "since step 1: no machine" in run.finding(Rule.IMPLAUSIBLE).evidence


@pytest.mark.parametrize(
    ("gaps", "told"),
    [
        ([2.0] * 11, True),
        ([2.5] * 30, False),
        ([2.5] * 5 + [1.0] * 19, False),  # the second window is the first that counts
        ([2.5] * 5 + [1.0] * 20, True),
    ],
)
def test_a_window_of_less_than_five_reports_shows_no_speed(
    run: Any, gaps: list[float], told: bool
) -> None:
    for step, gap in enumerate(gaps, start=1):
        run.step(step, after=gap, loss=1.0 + step % 3, audio_seconds_total=90_000.0 * step)
    assert (run.rules == [Rule.IMPLAUSIBLE]) is told


@pytest.mark.parametrize(
    ("weights", "updates", "told"),
    [
        (10**9, 20_000, False),  # eight bytes each, 10 TB a second
        (1_058_313_049, 18_898, True),  # one byte more
    ],
)
def test_no_memory_moves_more_than_ten_terabytes_a_second(
    run_with: Callable[..., Any], weights: int, updates: int, told: bool
) -> None:
    run = run_with(implausible=Implausible(window_seconds=16))
    plan = Plan(parameters=weights)
    for second in range(33):
        done = updates * second // 16
        run.step(second + 1, loss=1.0 + second % 3, updates=done, plan=plan)
    assert (Rule.IMPLAUSIBLE in run.rules) is told


def claims(run: Any, steps: int, **counters: Callable[[int], int | None]) -> None:
    """A report a second with counters that depend on its number, of a model of ten billion weights."""
    plan = Plan(parameters=10**10)
    for step in range(1, steps + 1):
        counted = {name: count(step) for name, count in counters.items()}
        run.step(step, loss=1.0 + step % 3, plan=plan, **counted)


@pytest.mark.parametrize(
    ("counters", "told_at"),
    [
        # A counter that stands still for a report is the same process.
        ({"audio_seconds_total": lambda step: 90_000 * max(2, step)}, 21),
        ({"updates": lambda step: 900 * max(2, step)}, 21),
        # One that is behind where its window began, or is not told any more, is another.
        ({"updates": lambda step: 900 * (step if step > 5 else step + 50)}, 26),
        (
            {
                "audio_seconds_total": lambda step: None if step == 5 else 90_000 * step,
                "updates": lambda step: step,
            },
            35,
        ),
        (
            {
                "audio_seconds_total": lambda step: step,
                "updates": lambda step: None if step == 5 else 900 * step,
            },
            35,
        ),
    ],
    ids=["audio still", "updates still", "updates back", "audio untold", "updates untold"],
)
def test_windows_begin_anew_with_another_process_alone(
    run: Any, counters: dict[str, Callable[[int], int | None]], told_at: int
) -> None:
    claims(run, told_at - 1, **counters)
    assert Rule.IMPLAUSIBLE not in run.rules
    run.step(told_at, loss=1.0, **{name: count(told_at) for name, count in counters.items()})
    assert Rule.IMPLAUSIBLE in run.rules


def test_what_was_done_before_the_window_is_no_speed(run: Any) -> None:
    claims(
        run, 40, updates=lambda step: 10**6 + step, audio_seconds_total=lambda step: 10**9 + step
    )
    assert Rule.IMPLAUSIBLE not in run.rules


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
    train(run, 9, 100.0, start=audio)
    assert run.finding(Rule.IMPLAUSIBLE).status is FindingStatus.ACTIVE
    train(run, 21, 100.0, start=audio + 900.0)
    assert run.finding(Rule.IMPLAUSIBLE).status is FindingStatus.HEALED


def test_it_is_active_while_one_rank_is_fast(run_with: Callable[..., Any]) -> None:
    run = run_with(implausible=Implausible(on_exceeded=OnExceeded.WARN))
    for second in range(1, 62):
        audio = 90_000.0 * second
        run.step(second, after=0.0, loss=1.0, rank=1, audio_seconds_total=min(audio, 3e6))
        run.step(second, loss=1.0, rank=0, audio_seconds_total=audio)
        if second == 60:
            assert run.finding(Rule.IMPLAUSIBLE).status is FindingStatus.ACTIVE


@pytest.mark.parametrize("fields", [
    {},
    {"samples_total": 10**9},
    {"updates": 10**9},
    {"samples_total": 10**9, "plan": Plan(samples=0, audio_seconds=1.0)},
    {"samples_total": 10**9, "plan": Plan(samples=10)},
])  # fmt: skip
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
