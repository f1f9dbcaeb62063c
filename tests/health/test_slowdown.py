"""Slowdown: steps that take several times as long as they used to; not those that hold more, or another part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import Slowdown


def feed(run: Any, first: int, last: int, seconds: float, **fields: Any) -> None:
    for step in range(first, last + 1):
        took = seconds * (1 + 0.2 * math.sin(step))
        run.step(step, loss=2.0 + math.sin(step), step_seconds=took, **fields)


def test_four_times_the_usual_step_is_told_and_heals(run: Any) -> None:
    feed(run, 1, 100, 0.5)
    feed(run, 101, 140, 2.5)
    assert run.alarms == []
    feed(run, 141, 150, 2.5)
    finding = run.finding(Rule.SLOWDOWN)
    assert (finding.severity, finding.step) == (Severity.WARNING, 101)
    assert "since step 101" in finding.evidence
    feed(run, 151, 200, 0.5)
    assert run.finding(Rule.SLOWDOWN).status is FindingStatus.HEALED


def test_twice_the_usual_step_is_none(run: Any) -> None:
    feed(run, 1, 100, 0.5)
    feed(run, 101, 300, 1.0)
    assert run.alarms == []


def test_as_slow_as_the_threshold_is_slow(run_with: Callable[..., Any]) -> None:
    run = run_with(slowdown=Slowdown(factor="4"))
    for step in range(1, 161):
        run.step(step, loss=2.0 + math.sin(step), step_seconds=0.5 if step <= 100 else 2.0)
    assert run.finding(Rule.SLOWDOWN).step == 101


def test_a_neighbour_now_and_then_is_none(run: Any) -> None:
    for first in range(1, 600, 60):
        feed(run, first, first + 29, 0.5)
        feed(run, first + 30, first + 59, 5.0 if first > 60 else 0.5)
    assert run.alarms == []


def test_long_utterances_take_long(run: Any) -> None:
    audio = 0.0
    for step in range(1, 400):
        long = 1.0 if step < 200 else 8.0
        audio += 60.0 * long
        run.step(step, loss=2.0, step_seconds=0.5 * long, audio_seconds_total=audio)
    assert run.alarms == []


def test_a_step_that_holds_as_much_and_takes_longer_is_told(run: Any) -> None:
    for step in range(1, 400):
        slow = 1.0 if step < 200 else 8.0
        run.step(step, loss=2.0, step_seconds=0.5 * slow, audio_seconds_total=60.0 * step)
    assert run.alarms == [Rule.SLOWDOWN]


@pytest.mark.parametrize(
    ("counted", "seconds"), [(range(150, 401), 0.1), (range(1, 201), 60.0)], ids=["starts", "ends"]
)
def test_a_count_that_starts_or_ends_makes_no_step_slower(
    run: Any, counted: range, seconds: float
) -> None:
    for step in range(1, 401):
        held = seconds * step if step in counted else None
        run.step(step, loss=2.0, step_seconds=0.5, audio_seconds_total=held)
    assert run.alarms == []


def test_a_part_that_starts_late_starts_the_measure_anew(run: Any) -> None:
    for step in range(1, 400):
        on = step >= 200
        losses = {"total": 2.0, "discriminator/loss": 1.0 if on else 0.0}
        run.step(step, losses=losses, step_seconds=2.0 if on else 0.5)
    assert run.alarms == []


def test_an_announced_part_does_too(run: Any) -> None:
    for step in range(1, 400):
        took = 2.0 if step >= 200 else 0.5
        run.step(step, loss=2.0, step_seconds=took, active_from={"discriminator": 200})
    assert run.alarms == []


def test_the_first_steps_compile(run: Any) -> None:
    feed(run, 1, 10, 60.0)
    feed(run, 11, 300, 0.5)
    assert run.alarms == []


def test_the_threshold_is_the_users(run_with: Callable[..., Any]) -> None:
    run = run_with(slowdown=Slowdown(factor="10"))
    feed(run, 1, 100, 0.5)
    feed(run, 101, 300, 2.5)
    assert run.alarms == []
