"""The level of a guess among V classes, as a level and as a printed value."""

from __future__ import annotations

import math
import struct

import pytest

from speech_health.guess import exactly, nearest


@pytest.mark.parametrize(
    ("value", "classes"),
    [
        (0.6931, 2),
        (0.693147, 2),
        (0.6931471824645996, 2),  # of float32
        (math.log(2), 2),
        (1.3863, 4),
        (2.3026, 10),
        (6.9315, 1024),
        (6.9078, 1000),
        (0.693, None),  # three decimals are met by chance
        (0.6932, None),
        (0.69314, None),  # cut off, not rounded: no printer does
        (0.69315, 2),
        (0.693148, None),
        (0.69140625, None),  # of bfloat16
        (-0.6931, None),
        (0.0, None),
        (7.0, None),
    ],
)
def test_a_value_is_a_guess_to_all_its_digits(value: float, classes: int | None) -> None:
    assert exactly(value) == classes


@pytest.mark.parametrize(
    "classes",
    [2, 10, 100, 128, 256, 512, 1000, 1024, 2048, 4096, 8192, 16384, 32000, 32768, 50257, 51865, 65536, 128256],
)  # fmt: skip
def test_each_number_of_classes_is_known(classes: int) -> None:
    guess = math.log(classes)
    single = struct.unpack("f", struct.pack("f", guess))[0]
    assert exactly(guess) == exactly(single) == exactly(round(guess, 5)) == classes
    assert nearest(guess) == (classes, guess)


def test_the_nearest_number_of_classes() -> None:
    assert nearest(0.7) == (2, math.log(2))
    assert nearest(6.91) == (1000, math.log(1000))
    assert nearest(6.93) == (1024, math.log(1024))
    assert nearest(99.0)[0] == 128256
