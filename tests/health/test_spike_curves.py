"""Rules LossSpike and GradientSpike on whole curves: what is silent wherever, and heard wherever."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.progress import Rule

quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def wave(step: int) -> float:
    """A sound loss round 2, between 1.8 and 2.2."""
    return 2.0 + 0.2 * math.sin(step * 1.7)


def train(run: Any, first: int, last: int, height: float = 1.0, every: int = 1) -> None:
    for step in range(first, last + 1, every):
        run.step(step, loss=wave(step) * height, gradient_norm=wave(step))


def test_only_the_headline_is_judged(run: Any) -> None:
    for step in range(1, 120):
        feature = wave(step) * (50.0 if step > 50 else 1.0)
        run.step(step, losses={"mel": wave(step), "feature": feature})
    assert run.rules == []


def test_a_rise_that_loses_nothing_learned_is_none(run: Any) -> None:
    for step in range(1, 200):
        run.step(step, loss=5.0 * math.exp(-step / 8.0) if step < 120 else 0.01 + step * 1e-6)
    assert run.rules == []


def test_one_cause_pages_once(run: Any) -> None:
    train(run, 1, 50)
    for step in range(51, 70):
        run.step(step, loss=wave(step) * 9.0, gradient_norm=500.0)
    assert run.rules == [Rule.LOSS_SPIKE]
    run.step(70, loss=math.nan)
    assert run.rules == [Rule.NON_FINITE]


@quick
@given(
    low=st.floats(1e-6, 1e6),
    shares=st.lists(st.floats(1.0, 2.4), min_size=10, max_size=200),
    stride=st.integers(1, 500),
)
def test_silent_on_any_curve_inside_its_band(
    run_with: Callable[..., Any], low: float, shares: list[float], stride: int
) -> None:
    run = run_with()
    for number, share in enumerate(shares, start=1):
        run.step(number * stride, loss=low * share, gradient_norm=low * share)
    assert not {Rule.LOSS_SPIKE, Rule.GRADIENT_SPIKE} & set(run.rules)


@quick
@given(
    low=st.floats(1e-6, 1e6),
    before=st.integers(25, 150),
    height=st.floats(6.0, 1e6),
    every=st.integers(1, 100),
)
def test_heard_within_twenty_reports_wherever_planted(
    run_with: Callable[..., Any], low: float, before: int, height: float, every: int
) -> None:
    run = run_with()
    for number in range(1, before + 21):
        up = height if number > before else 1.0
        run.step(number * every, loss=low * wave(number) * up)
        assert number > before or run.rules == []
    assert run.rules == [Rule.LOSS_SPIKE]


@pytest.mark.parametrize("ratio", [3.0, 5.0, 9.0])
def test_two_tasks_in_turn_are_no_divergence(run: Any, ratio: float) -> None:
    train(run, 1, 15)
    for step in range(16, 300):
        dear = step % 9 in (0, 1, 2, 3, 5)
        run.step(step * 10, loss=wave(step) * (ratio if dear else 1.0))
    assert Rule.LOSS_SPIKE not in run.rules


def test_what_came_down_time_after_time_is_no_news_but_twice_as_high_is(run: Any) -> None:
    at = 0
    for _ in range(40):
        for place in range(9):
            at += 1
            run.step(at, loss=wave(at) * (6.0 if place < 4 else 1.0))
    for step in range(at + 1, at + 40):
        run.step(step, loss=wave(step) * 6.0)
    assert run.alarms == []
    for step in range(at + 40, at + 60):
        run.step(step, loss=wave(step) * 20.0)
    assert run.rules == [Rule.LOSS_SPIKE]


def test_a_few_first_values_near_zero_are_no_yardstick(run: Any) -> None:
    for step, loss in enumerate([0.02, 0.3, 0.01, 0.02, 0.4, *[0.5] * 12], start=1):
        run.step(step, loss=loss + step * 1e-4)
    assert run.rules == []


def test_habits_of_another_total_are_forgotten_with_it(run: Any) -> None:
    for step in range(1, 200):
        run.step(step, losses={"total": wave(step) * (60.0 if step % 9 < 3 else 10.0)})
    for step in range(200, 250):
        run.step(step, losses={"total": wave(step), "kl": 1.0 + step / 7})
    assert run.alarms == []
    for step in range(250, 260):
        run.step(step, losses={"total": wave(step) * 6.0, "kl": 1.0 + step / 7})
    assert run.rules == [Rule.LOSS_SPIKE]


@pytest.mark.parametrize("level", [-5.0, 0.0, 0.1])
def test_a_series_round_zero_is_measured_by_its_spread(run: Any, level: float) -> None:
    for step in range(1, 61):
        run.step(step, loss=wave(step) - 2.0 + level + (0.3 if step > 50 else 0.0))
    assert run.rules == []
    for step in range(61, 75):
        run.step(step, loss=wave(step) + 38.0 + level)
    assert run.rules == [Rule.LOSS_SPIKE]
