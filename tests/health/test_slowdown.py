"""Slowdown: steps that take several times as long as they used to; not those that hold more, or another part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.course import Slowdown
from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity


def feed(run: Any, first: int, last: int, seconds: float, **fields: Any) -> None:
    for step in range(first, last + 1):
        took = seconds * (1 + 0.2 * math.sin(step))
        run.step(step, loss=2.0 + math.sin(step), step_seconds=took, **fields)


def lasting(run: Any, *spans: tuple[int, float], **fields: Any) -> None:
    """Steps, one a second of the clock, that carry their time alone: so many of so many seconds."""
    times = [seconds for steps, seconds in spans for _ in range(steps)]
    for step, took in enumerate(times, start=int(run.now) + 1):
        run.step(step, step_seconds=took, **fields)


@pytest.mark.parametrize(
    ("spans", "since", "fields"),
    [
        ([(60, 0.5), (44, 1.5)], 61, {}),
        ([(59, 0.5), (45, 1.5)], 61, {}),  # ten warm up, the next fifty are the usual ones
        ([(10, 0.0), (59, 0.5), (45, 1.5)], 71, {}),  # what took no time is no step
        ([(100, 0.5), (59, 2.0), (45, 6.0)], 161, {"active_from": {"discriminator": 101}}),
        # What is usual is looked up at every fiftieth report alone, the last time at the 300th.
        ([(240, 0.5), (105, 1.0), (44, 2.0)], 346, {}),
    ],
)
def test_nine_in_ten_of_the_newest_fifty_are_told_since_the_first(
    run: Any, spans: list[tuple[int, float]], since: int, fields: dict[str, Any]
) -> None:
    lasting(run, *spans, **fields)
    assert run.alarms == []
    lasting(run, (1, spans[-1][1]), **fields)
    finding = run.finding(Rule.SLOWDOWN)
    assert finding.step == since
    assert f"in 45 of the last 50 reports, since step {since}" in finding.evidence


@pytest.mark.parametrize(
    "spans",
    [
        [(200, 0.5), (100, 1.0), (60, 2.0)],  # half of the newest 200 make the usual time 0.75
        [(100, 0.5), (60, math.inf)],
    ],
)
def test_what_is_no_slowdown(run: Any, spans: list[tuple[int, float]]) -> None:
    lasting(run, *spans)
    assert run.alarms == []


def test_it_heals_when_less_than_half_of_the_newest_fifty_are_slow(run: Any) -> None:
    lasting(run, (60, 0.5), (50, 1.5), (25, 0.5))
    assert run.finding(Rule.SLOWDOWN).status is FindingStatus.ACTIVE
    lasting(run, (1, 0.5))
    assert run.finding(Rule.SLOWDOWN).status is FindingStatus.HEALED
    assert "healed: 0.5 s at step 136" in run.finding(Rule.SLOWDOWN).evidence


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


@pytest.mark.parametrize("count", ["audio_seconds_total", "tokens_total"])
@pytest.mark.parametrize("held", [0.5, 60])
def test_a_step_that_holds_as_much_and_takes_longer_is_told(
    run: Any, count: str, held: float
) -> None:
    for step in range(1, 400):
        slow = 1.0 if step < 200 else 8.0
        run.step(step, loss=2.0, step_seconds=0.5 * slow, **{count: held * step})
    assert run.alarms == [Rule.SLOWDOWN]


@pytest.mark.parametrize("apart", [(1, 4), (4, 1)])
def test_reports_further_apart_hold_more_steps(run: Any, apart: tuple[int, int]) -> None:
    step = 0
    for report in range(200):
        step += apart[report >= 100]
        run.step(step, step_seconds=0.5, audio_seconds_total=60.0 * step)
    assert run.alarms == []


def test_a_count_that_stands_still_or_is_told_again_says_nothing(run: Any) -> None:
    for step in range(1, 20):
        run.step(step, step_seconds=0.5, audio_seconds_total=60.0 * step)
    for step in range(20, 23):
        run.step(step, step_seconds=0.5, audio_seconds_total=60.0 * 19)
    run.step(23, step_seconds=0.5)
    run.step(22, step_seconds=0.5, audio_seconds_total=60.0 * 22)
    assert run.alarms == []


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
