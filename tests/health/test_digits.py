"""What the digits of a value tell."""

from __future__ import annotations

import pytest

from speech_health.digits import decimals, exact, fine, printed_decimals


@pytest.mark.parametrize(
    ("value", "places"),
    [(0.0025, 4), (2.5e-09, 10), (1e-4, 4), (0.0, 0), (3.0, 0), (1.25e-05, 7), (1e22, 0)],
)
def test_decimals_are_those_of_the_shortest_text(value: float, places: int) -> None:
    assert decimals(value) == places


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.6931471805599453, True), (0.6931, False), (0.69140625, False), (float("nan"), False)],
)
def test_only_a_value_that_nothing_rounded_is_exact(value: float, told: bool) -> None:
    assert exact(value) is told


@pytest.mark.parametrize(
    ("value", "places"), [(0.657, 3), (2.5, 0), (0.0, 0), (1 / 3, 0), (float("nan"), 0), (1e-4, 4)]
)
def test_decimals_that_a_printer_left(value: float, places: int) -> None:
    assert printed_decimals(value) == places


@pytest.mark.parametrize(
    ("value", "places", "told"), [(100.0, 3, True), (99.999, 3, False), (100.0, 0, False), (-10.0, 4, True)]
)  # fmt: skip
def test_six_printed_digits(value: float, places: int, told: bool) -> None:
    assert fine(value, places) is told
