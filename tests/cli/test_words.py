"""Numbers and durations as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_cli.rendering import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "NaN"),
        (float("inf"), "Inf"),
        (float("-inf"), "-Inf"),
        (0.0, "0"),
        (93.21345, "93.21"),
        (0.001, "0.001"),
        (2e-5, "2e-05"),
        (123456.7, "123457"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (-3, "0s"),
        (43.4, "43s"),
        (151, "2m31s"),
        (59.7, "1m00s"),
        (3900, "1h05m"),
        (273600, "3d04h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("step", "total", "text"),
    [(None, None, "–"), (None, 800, "0/800"), (120, 800, "120/800"), (120, None, "120")],
)
def test_steps(step: int | None, total: int | None, text: str) -> None:
    assert words.steps(step, total) == text


def test_a_tally_names_the_most_frequent_first_and_leaves_zeros_out() -> None:
    counts = {"EmptyText": 1, "DecodeError": 3, "Silent": 0}
    assert words.tally(counts) == "3 DecodeError, 1 EmptyText"


@given(st.floats(-1e300, 1e300) | st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_number_is_never_hidden(value: float) -> None:
    text = words.number(value)
    assert text not in ("", "–")
    if math.isfinite(value) and value != 0:
        assert math.isclose(float(text), value, rel_tol=1e-3)
