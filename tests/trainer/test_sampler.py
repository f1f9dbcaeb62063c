"""The order of samples: a function of seed and position, the same for every world size."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from speech_trainer.data.loader import Place, rank_slice
from speech_trainer.data.sampler import Sampler

DURATIONS = [0.5 + (i * 37 % 100) / 20 for i in range(500)]


def epoch(sampler: Sampler, size: int, start: int = 0) -> list[int]:
    return [sampler.index(position) for position in range(start, start + size)]


@given(size=st.integers(1, 40), batch=st.integers(1, 12), seed=st.integers(0, 99))
def test_an_epoch_holds_every_sample_and_whole_batches(size: int, batch: int, seed: int) -> None:
    length = -(-size // batch) * batch
    sampler = Sampler(DURATIONS[:size], batch, seed)
    for number in range(3):
        counts = Counter(epoch(sampler, length, number * length))
        assert set(counts) == set(range(size))
        assert sum(counts.values()) == length


@given(
    position=st.integers(0, 200),
    windows=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 200)), max_size=4),
)
def test_no_batch_touches_a_skipped_window(position: int, windows: list[tuple[int, int]]) -> None:
    draw = Sampler(DURATIONS[:20], 4, 0).draw(position, windows)
    assert len(draw.positions) == 4
    assert list(draw.positions) == sorted(set(draw.positions))
    assert draw.positions[0] >= position
    assert draw.next_position == draw.positions[-1] + 1
    assert not any(first <= p < last for p in draw.positions for first, last in windows)


def test_epochs_differ_and_seeds_differ_but_each_repeats() -> None:
    orders = [
        epoch(Sampler(DURATIONS, 10, seed), 500, start) for seed in (0, 1) for start in (0, 500)
    ]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[1] == epoch(Sampler(DURATIONS, 10, 0), 500, 500)


def test_batches_hold_similar_lengths() -> None:
    sampler = Sampler(DURATIONS, 10, 0)
    waste = []
    for start in range(0, 500, 10):
        lengths = [DURATIONS[i] for i in epoch(sampler, 10, start)]
        waste.append(1.0 - sum(lengths) / (max(lengths) * len(lengths)))
    assert sum(waste) / len(waste) < 0.06


def test_ranks_share_a_batch_equally_in_the_global_order() -> None:
    positions = Sampler(DURATIONS, 8, 0).draw(0).positions
    for world in (1, 2, 4):
        shares = [rank_slice(positions, Place(rank, world)) for rank in range(world)]
        assert tuple(p for share in shares for p in share) == positions
        assert {len(share) for share in shares} == {8 // world}


def test_replacements_depend_on_position_and_attempt_alone() -> None:
    one, two = Sampler(DURATIONS, 8, 3), Sampler(DURATIONS, 4, 3)
    draws = [one.replacement(5, attempt) for attempt in range(8)]
    assert draws == [two.replacement(5, attempt) for attempt in range(8)]
    assert len(set(draws)) > 1
