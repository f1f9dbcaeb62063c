"""The running baseline of a series: what is a spike above it, and what is not."""

from __future__ import annotations

import pytest

from speech_health.baseline import ENOUGH, FEWEST, LAG, SIZE, Baseline


def baseline(*values: float) -> Baseline:
    series = Baseline()
    for value in values:
        series.add(value)
    return series


def test_nothing_is_judged_before_the_fifth_value() -> None:
    assert baseline(*[1.0] * (FEWEST - 1)).above(1e9, 6.0, 2.5) is None
    assert baseline(*[1.0] * FEWEST).above(1e9, 6.0, 2.5) is not None


def test_without_a_spread_to_trust_the_fallback_factor_and_the_highest_stand_alone() -> None:
    few = baseline(1.0, 1.0, 1.0, 1.0, 3.0)
    assert few.above(5.9, 6.0, 2.5) is None  # below twice the highest
    height = few.above(6.0, 6.0, 2.5)
    assert height is not None
    assert (height.median, height.z) == (1.0, None)
    assert baseline(*[1.0] * 6).above(4.9, 6.0, 2.5) is None  # below five times the median


def test_only_the_newest_values_are_the_baseline() -> None:
    series = baseline(*[1.0] * SIZE, *[100.0] * SIZE)
    assert series.above(400.0, 6.0, 2.5) is None
    height = series.above(600.0, 6.0, 2.5)
    assert height is not None
    assert height.median == 100.0


def test_the_oldest_value_leaves_when_the_hundred_and_first_comes() -> None:
    series = baseline(50.0, *[1.0] * 99)
    assert series.above(60.0, 6.0, 2.5) is None  # not twice the highest
    series.add(1.0)
    assert series.above(60.0, 6.0, 2.5) is not None


def test_a_trend_is_no_spread() -> None:
    """Plain deviation of a steep ramp is large; the differences are small, and the smaller one counts."""
    ramp = baseline(*[1.02**n for n in range(ENOUGH * 3)])
    assert ramp.above(1.02**62 * 3.0, 6.0, 2.5) is not None
    steep = [1.5**n for n in range(2 * LAG)]  # as few as make a difference
    assert baseline(*steep).above(steep[-1] * 3.0, 6.0, 2.5) is not None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_series_that_touches_zero_is_judged_as_it_is(sign: float) -> None:
    values = [sign * (n * n % 7 - 2.0) for n in range(ENOUGH)]
    assert baseline(*values[:-1]).above(100.0, 6.0, 2.5) is None  # one too few to trust
    height = baseline(*values).above(100.0, 6.0, 2.5)
    assert height is not None
    assert height.z is not None
    assert height.z > 6.0
    assert baseline(*[0.0] * ENOUGH).above(100.0, 6.0, 2.5) is None  # no spread


def test_a_rise_within_what_was_lost_long_ago_is_no_news() -> None:
    """The loss began at 100 and stands at 0.1: back at 4 it has not lost what it learned."""
    series = baseline(*[100.0] * FEWEST, *[0.1 + 0.001 * (n % 7) for n in range(SIZE)])
    assert series.above(4.9, 6.0, 2.5) is None
    assert series.above(5.1, 6.0, 2.5) is not None
    series.clear()
    assert series.above(1e9, 6.0, 2.5) is None


def test_a_value_at_a_bound_is_a_spike() -> None:
    ones = baseline(*[1.0] * FEWEST)
    assert ones.above(6.0, 6.0, 6.0) is not None  # at the factor
    assert ones.above(5.99, 6.0, 6.0) is None
    fell = baseline(*[100.0] * FEWEST, *[1.0] * SIZE)
    assert fell.above(5.0, 6.0, 2.5) is not None  # at five per cent of its start


# Ten values, then the same turned round: the deviation is 1 as it stands, and 2 over differences.
TURNED = [0.0, *[1.0, -1.0] * 4, 1.0]
TURNED = [*TURNED, *[-value for value in TURNED], 0.0]


def test_a_height_of_exactly_the_z_score_is_a_spike() -> None:
    height = baseline(*TURNED).above(6.0 * 1.4826, 6.0, 2.5)
    assert height is not None
    assert height.z == pytest.approx(6.0)
    assert baseline(*TURNED).above(6.0 * 1.4826 - 0.01, 6.0, 2.5) is None


def test_without_a_trend_the_deviation_is_that_of_one_value() -> None:
    """Of the difference of two it is the root of two times as large."""
    ramp = baseline(*[10.0 * number + value for number, value in enumerate(TURNED)])
    height = ramp.above(150.0, 6.0, 1.2)
    assert height is not None
    assert height.z == pytest.approx((150.0 - height.median) / (1.4826 * 2.0 / 2.0**0.5))
    assert ramp.above(150.0, 6.0, 1.6) is None  # a rise by less than 0.6 of the median
