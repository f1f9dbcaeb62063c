"""The running baseline of a series: what is a spike above it, and what is not."""

from __future__ import annotations

import math

import pytest

from speech_health.baseline import ENOUGH, FEWEST, LAG, SIZE, Baseline, Height


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


def test_from_the_twentieth_value_on_the_spread_is_trusted() -> None:
    few, enough = (baseline(*[1.0 + 0.01 * (n % 3) for n in range(number)]) for number in (19, 20))
    assert few.above(4.9, 6.0, 2.5) is None  # below the fallback factor
    assert few.above(6.0, 6.0, 2.5) == Height(1.01, None)
    assert enough.above(2.5, 6.0, 2.5) is None  # below the factor, however many deviations
    height = enough.above(2.6, 6.0, 2.5)
    assert height is not None
    assert height.z is not None


def test_a_flat_series_has_no_spread_however_long() -> None:
    assert baseline(*[1.0] * 50).above(4.9, 6.0, 2.5) is None
    assert baseline(*[1.0] * 50).above(5.0, 6.0, 2.5) == Height(1.0, None)


def test_the_median_of_an_even_number_is_a_value_that_was_seen() -> None:
    assert baseline(1.0, 1.0, 1.0, 3.0, 3.0, 3.0).above(100.0, 6.0, 2.5) == Height(1.0, None)


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
    for value in [0.1, 0.2, 0.1, 0.1, 0.1]:  # another series, with a start of its own
        series.add(value)
    assert series.above(4.9, 6.0, 2.5) is not None


def test_the_start_is_the_median_of_the_first_five() -> None:
    series = baseline(1000.0, *[100.0] * 4, *[0.1 + 0.001 * (n % 7) for n in range(SIZE)])
    assert series.above(5.1, 6.0, 2.5) is not None
    zero = baseline(*[0.0] * FEWEST, *[0.001] * SIZE)  # nothing to lose
    assert zero.above(0.006, 6.0, 2.5) is not None


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


def test_on_logarithms_the_z_score_is_reached_at_equality() -> None:
    """Values at half, once and twice the median: one deviation is 1.4826 times the logarithm of 2."""
    z_score = 6.0 / 1.4826
    series = baseline(*[2.0**value for value in TURNED])
    assert z_score * (1.4826 * math.log(2.0)) == math.log(64.0)
    assert series.above(64.0, z_score, 2.5) == Height(1.0, z_score)
    assert series.above(63.9, z_score, 2.5) is None


def test_round_zero_a_rise_by_the_factor_less_one_is_a_spike() -> None:
    series = baseline(*[value / 10.0 - 2.0 for value in TURNED])
    assert series.above(1.0, 6.0, 2.5) is not None  # from -2 by three
    assert series.above(0.99, 6.0, 2.5) is None
    tenth = baseline(*[value / 10.0 for value in TURNED])
    assert tenth.above(0.95, 6.0, 2.5) is not None
    assert tenth.above(0.0, 6.0, 2.5) is None  # no rise


@pytest.mark.parametrize(
    ("before", "values", "low"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 5.9], True),  # the median stays at 3 or above
        ([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 6.0], False),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 3.9], True),  # it may sink to 2
        ([1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 4.0], False),
        ([0.1] * 5, [0.15], True),
        ([1.0] * 4, [1.0], False),
        ([0.0, 1.0, 1.0, 1.0, 1.0], [1.0], False),
        ([1.0] * 5, [0.0, 1.0], False),
        ([1.0] * 5, [-1.0, 1.0], False),
    ],
)
def test_many_lie_low_when_none_can_be_high(
    before: list[float], values: list[float], low: bool
) -> None:
    assert baseline(*before).lies_low(values, 2.0) is low


@pytest.mark.parametrize("spread", [0.0, 0.01])
@pytest.mark.parametrize("more", [0, 1, 2, 95, 96, 99])
def test_many_added_at_once_are_as_one_after_the_other(more: int, spread: float) -> None:
    series, plain = (baseline(50.0, 2.0, 2.0, 2.0, 2.0) for _ in range(2))
    assert series.above(1e9, 6.0, 2.5) is not None  # what was measured then holds no longer
    values = [2.0 + spread * (number % 9) for number in range(more)]
    series.extend(values)
    for value in values:
        plain.add(value)
    for value in (5.0, 15.0, 60.0, 101.0):
        assert series.above(value, 6.0, 2.5) == plain.above(value, 6.0, 2.5)


def test_without_a_trend_the_deviation_is_that_of_one_value() -> None:
    """Of the difference of two it is the root of two times as large."""
    ramp = baseline(*[10.0 * number + value for number, value in enumerate(TURNED)])
    height = ramp.above(150.0, 6.0, 1.2)
    assert height is not None
    assert height.z == pytest.approx((150.0 - height.median) / (1.4826 * 2.0 / 2.0**0.5))
    assert ramp.above(150.0, 6.0, 1.6) is None  # a rise by less than 0.6 of the median
