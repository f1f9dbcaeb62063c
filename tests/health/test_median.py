"""Our median is the standard library's."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_health.median import median

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(NUMBERS, min_size=1, max_size=41))
def test_it_is_the_standard_one(values: list[float]) -> None:
    assert repr(median(values)) == repr(statistics.median(values))


def test_of_nothing_there_is_none() -> None:
    with pytest.raises(IndexError):
        median([])
