"""How numbers are said to people."""

from __future__ import annotations

import pytest

from speech_contract.spoken import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3.0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (151.0, "2m31s"),
        (3599.0, "59m59s"),
        (3900.0, "1h05m"),
        (86399.0, "23h59m"),
        (273600.0, "3d04h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said
