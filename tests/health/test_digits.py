"""What the digits of a value tell."""

from __future__ import annotations

import math

import pytest

from speech_health.digits import decimals, exact, fine, printed_decimals


@pytest.mark.parametrize(
    ("value", "places"),
    [(0.0025, 4), (2.5e-09, 10), (1e-4, 4), (0.0, 0), (3.0, 0), (1.25e-05, 7), (1e22, 0), (1.5e22, 0)],
)  # fmt: skip
def test_decimals_are_those_of_the_shortest_text(value: float, places: int) -> None:
    assert decimals(value) == places


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.6931471805599453, True),
        (0.12345678912, True),
        (-0.12345678912, True),
        (-0.1234567891, False),
        (-1.234567891e-05, False),
        (12345678912000.0, True),
        (12345678910000.0, False),
        (0.00012345678912, True),
        (0.6931, False),
        (0.0, False),
        (math.nan, False),
        (-math.inf, False),
    ],
)
def test_only_a_value_of_more_than_ten_digits_is_exact(value: float, told: bool) -> None:
    """Zeros before and after them, the sign and the exponent are none."""
    assert exact(value) is told


@pytest.mark.parametrize(
    ("value", "told"),
    [(1.0009765625, False), (1.00048828125, True), (-2049 / 2**40, True), (2047 / 2**40, False)],
)
def test_what_half_precision_holds_is_not_exact_however_long_its_text(
    value: float, told: bool
) -> None:
    """It has eleven bits."""
    assert exact(value) is told


@pytest.mark.parametrize(
    ("value", "places"),
    [
        (0.657, 3),
        (2.5, 0),
        (0.0, 0),
        (1.0, 0),
        (1 / 3, 0),
        (-1e-4, 4),
        (0.123456789, 9),
        (0.1234567891, 0),
        (math.nan, 0),
        (math.inf, 0),
    ],
)
def test_decimals_that_a_printer_left(value: float, places: int) -> None:
    assert printed_decimals(value) == places


@pytest.mark.parametrize(
    ("value", "places", "told"),
    [
        (100.0, 3, True),
        (99.999, 3, False),
        (-10.0, 4, True),
        (10000.0, 1, True),
        (9999.9, 1, False),
        (123456.0, 0, False),
    ],
)
def test_six_printed_digits(value: float, places: int, told: bool) -> None:
    assert fine(value, places) is told
