"""What a thinned curve may not lose."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from speech_telemetry.extremes import telling, thinned

VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32)


def test_lowest_highest_and_both_ends_of_what_is_no_number_are_told():
    values = [3.0, 1.0, 9.0, math.nan, math.inf, math.nan, 2.0]
    assert telling(list(enumerate(values))) == {1, 2, 3, 5}
    assert telling([]) == set()


@given(st.lists(VALUES, min_size=1, max_size=300), st.integers(2, 8))
def test_a_thinned_curve_keeps_its_ends_its_extremes_and_every_nan_bound(values, buckets):
    points = [(float(x), y) for x, y in enumerate(values)]
    kept = thinned(points, buckets)
    assert kept[0] is points[0]
    assert kept[-1] is points[-1]
    assert [x for x, _ in kept] == sorted({x for x, _ in kept})
    finite = [y for y in values if math.isfinite(y)]
    if finite:
        assert {min(finite), max(finite)} <= {y for _, y in kept}
    bad = [x for x, y in points if not math.isfinite(y)]
    assert {*bad[:1], *bad[-1:]} <= {x for x, _ in kept}
    assert len(kept) <= max(4 * (buckets + 1) + 2, 2 * buckets)


def test_a_spike_of_one_step_in_a_hundred_thousand_stays():
    points = [(float(x), 50.0 if x == 61_803 else math.sin(x)) for x in range(100_000)]
    kept = thinned(points, 500)
    assert (61_803.0, 50.0) in kept
    assert len(kept) < 1100
