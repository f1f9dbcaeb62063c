"""The bound of a codec's fidelity: its points, what lies between them, and beyond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_health.rate_distortion import reachable_snr


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
