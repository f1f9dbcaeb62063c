"""The bound of a codec's fidelity: its points, what lies between them, and beyond."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_health.rate_distortion import distortion, reachable_snr


@pytest.mark.parametrize(
    ("bits", "snr"),
    [
        (-5.0, 0.0),  # no rate is less than none
        (0.0, 0.0),
        (90.0, 1.0),
        (900.0, 10.0),
        (2370.0, 13.0),
        (5800.0, 20.0),
        (11_900.0, 25.0),
        (18_000.0, 30.0),
        (24_100.0, 35.0),  # on along the last line
        (42_400.0, 50.0),
    ],
)
def test_straight_lines_run_between_the_points_and_beyond(bits: float, snr: float) -> None:
    assert reachable_snr(bits) == pytest.approx(snr, abs=1e-9)


@given(st.floats(0.0, 1e5), st.floats(0.0, 1e5))
def test_more_bits_never_buy_less_and_ever_fewer_decibels_each(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert reachable_snr(low) <= reachable_snr(high)
    middle = reachable_snr((low + high) / 2.0)
    assert middle >= (reachable_snr(low) + reachable_snr(high)) / 2.0 - 1e-9


@pytest.mark.parametrize("bits", [0.0, 1.0, 7.5, 40.0])
def test_a_flat_spectrum_has_shannons_formula(bits: float) -> None:
    assert distortion([2.0] * 5, bits) == pytest.approx(10.0 * 2 ** (-2 * bits / 5), rel=1e-6)


@given(
    variances=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12),
    bits=st.floats(0.0, 100.0),
    more=st.floats(0.0, 50.0),
)
@settings(deadline=None)
def test_bits_never_hurt_and_water_filling_beats_equal_shares(
    variances: list[float], bits: float, more: float
) -> None:
    least = distortion(variances, bits)
    assert distortion(variances, bits + more) <= least * (1 + 1e-9)
    share = 2.0 ** (-2.0 * bits / len(variances))
    assert least <= sum(variances) * share * (1 + 1e-6) or bits == 0.0
    assert least <= sum(variances) * (1 + 1e-9)


@pytest.mark.parametrize(("variances", "bits"), [([1.0], -1.0), ([-1.0], 1.0), ([math.nan], 1.0)])
def test_negative_input_is_refused(variances: list[float], bits: float) -> None:
    with pytest.raises(ValueError, match="negative"):
        distortion(variances, bits)
