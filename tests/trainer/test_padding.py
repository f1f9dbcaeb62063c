"""Micro-batches by padded length: nothing is lost, the budget holds, every rank has as many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from speech_trainer.data.padding import TokenBudget, deal

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 400), st.integers(1, 5), st.none() | st.integers(1, 6))
def test_a_deal(lengths: list[int], most: int, ranks: int, samples: int | None) -> None:
    dealt = deal(lengths, most, ranks, samples)
    assert len(dealt) == ranks
    assert len({len(parts) for parts in dealt}) == 1
    parts = [part for rank in dealt for part in rank]
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) <= 1 or len(part) * max(lengths[p] for p in part) <= most
        assert samples is None or len(part) <= samples
    assert sum(not part for part in parts) < ranks  # a stand-in where a sample can't be cut


def test_rows_of_one_length_go_together_and_the_fullest_is_cut_for_ranks() -> None:
    lengths = [50, 10, 10, 50, 10, 10, 10, 10]
    assert deal(lengths, 100, 2) == [[[0, 3]], [[1, 2, 4, 5, 6, 7]]]
    assert deal(lengths, 100, 3) == [[[0]], [[3]], [[1, 2, 4, 5, 6, 7]]]
    assert deal([10], 100, 2) == [[[0]], [[]]]


def test_a_sample_beyond_the_budget_goes_alone() -> None:
    assert deal([300, 20, 20], 100, 1) == [[[0], [1, 2]]]


def test_a_stand_in_is_never_longer_and_any_that_fits() -> None:
    budget = TokenBudget([30, 10, 20, 40], 100)
    found = {budget.stand_in(index, 20) for index in range(4)}
    assert found == {1, 2}
    assert {budget.stand_in(index, 40) for index in range(4)} == {0, 1, 2, 3}
