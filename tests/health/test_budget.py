"""The budget of non-finite steps against its definition, written out plainly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract.thresholds import NonFinite
from speech_health.budget import Budget

FLAGS = st.lists(st.booleans(), max_size=60)


def plainly(flags: list[bool], limits: NonFinite) -> bool:
    """Whether the newest step finds the budget exceeded."""
    row = next((n for n, bad in enumerate(reversed(flags)) if not bad), len(flags))
    window = sum(flags[-limits.window_steps :])
    one_per_cent = limits.window_steps // 100
    return row > limits.skip_budget or window > max(limits.skip_budget, one_per_cent)


@given(flags=FLAGS, skip=st.integers(0, 6), window=st.sampled_from([1, 2, 5, 20, 700, 1000]))
def test_it_is_exceeded_as_defined(flags: list[bool], skip: int, window: int) -> None:
    limits = NonFinite(skip_budget=skip, window_steps=window)
    budget = Budget(limits)
    for number, bad in enumerate(flags, start=1):
        budget.step(bad)
        assert budget.exceeded == plainly(flags[:number], limits)


@given(flags=FLAGS, window=st.integers(1, 20))
def test_forgiven_it_counts_as_from_the_start(flags: list[bool], window: int) -> None:
    old, new = (Budget(NonFinite(window_steps=window)) for _ in range(2))
    for bad in (*flags, True):
        old.step(bad)
    old.forgive()
    for bad in flags:
        old.step(bad)
        new.step(bad)
        assert (old.in_a_row, old.in_window) == (new.in_a_row, new.in_window)


def test_steps_that_nobody_heard_of_move_the_window_and_not_the_row() -> None:
    budget = Budget(NonFinite(window_steps=10))
    budget.step(True)
    budget.skip(9)
    assert (budget.in_a_row, budget.in_window) == (1, 1)
    budget.skip(1)
    assert (budget.in_a_row, budget.in_window) == (1, 0)
    assert str(budget) == "1 non-finite step(s) in a row, budget 3"


def test_the_bound_that_is_passed_is_told() -> None:
    """Six bad steps, and four in a row: ten of a thousand are allowed, three in a row."""
    budget = Budget(NonFinite(skip_budget=3, window_steps=1000))
    for bad in (*[True, False] * 6, *[True] * 4):
        budget.step(bad)
    assert (budget.in_window, budget.allowed_in_window) == (10, 10)
    assert str(budget) == "4 non-finite step(s) in a row, budget 3"


@pytest.mark.parametrize(
    ("window", "flags", "told"),
    [
        (200, "x", "1 non-finite step(s) in the last 200, budget 3"),
        (200, "x.x", "2 non-finite step(s) in the last 200, budget 3"),
        (1000, "xxx", "3 non-finite step(s) in the last 1000, budget 10"),  # three are forgiven
        (1000, "xxxx", "4 non-finite step(s) in a row, budget 3"),
        (200, "xxxx", "4 non-finite step(s) in the last 200, budget 3"),  # both are passed
        (200, "xx.xx", "4 non-finite step(s) in the last 200, budget 3"),
    ],
)
def test_the_window_is_told_unless_the_row_alone_is_passed(
    window: int, flags: str, told: str
) -> None:
    budget = Budget(NonFinite(skip_budget=3, window_steps=window))
    for flag in flags:
        budget.step(flag == "x")
    assert str(budget) == told
