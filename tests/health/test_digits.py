"""What the digits of a value tell."""

from __future__ import annotations

import pytest

from speech_health.digits import decimals, exact


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
