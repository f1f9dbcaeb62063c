"""What a Trainer's step is trained on, and that a window of it is passed over without moving anything else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from speech_telemetry.sampled import Sampled, pass_over, sampled, substituted


class SequentialSampler(list):
    """As torch's."""


class SeedableRandomSampler(list):
    """As accelerate's, with an order that the epoch gives."""

    def set_epoch(self, epoch):
        self[:] = self[epoch:] + self[:epoch]


class BatchSampler:
    """As torch's."""

    def __init__(self, sampler, batch_size=2):
        self.sampler, self.batch_size = sampler, batch_size


class DataLoaderShard:
    """As accelerate's."""

    def __init__(self, sampler, batches=5):
        self.batch_sampler, self.batches = BatchSampler(sampler), batches

    def __len__(self):
        return self.batches


def arguments(**more):
    return SimpleNamespace(**{"world_size": 1, "gradient_accumulation_steps": 1, **more})


@pytest.mark.parametrize(
    ("step", "window"), [(1, (0, 4)), (3, (8, 9)), (4, (9, 13)), (9, (26, 27)), (10, (27, 31))]
)
def test_a_step_s_positions_count_over_epochs_and_end_with_them(step, window):
    assert Sampled(samples=9, per_step=4, steps=3).window(step) == window


@pytest.mark.parametrize("sampler", [SequentialSampler(range(9)), SeedableRandomSampler(range(9))])
def test_what_has_one_order_can_be_told(sampler):
    assert sampled(DataLoaderShard(sampler), arguments()) == Sampled(9, 2, 5)
    loader = DataLoaderShard(sampler, batches=6)
    assert sampled(loader, arguments(gradient_accumulation_steps=3)) == Sampled(9, 6, 2)


@pytest.mark.parametrize(
    ("loader", "more", "why"),
    [
        (None, {}, "NoneType"),
        (DataLoaderShard([1, 2]), {}, "the order of list is not the same in every attempt"),
        (DataLoaderShard(SequentialSampler([1])), {"world_size": 2}, "several processes"),
        (DataLoaderShard(SequentialSampler([1])), {"ignore_data_skip": True}, "ignore_data_skip"),
        (
            DataLoaderShard(SequentialSampler([1])),
            {"gradient_accumulation_steps": 2},
            "no multiple",
        ),
    ],
)
def test_what_has_none_is_not_and_why_is_said(loader, more, why):
    found = sampled(loader, arguments(**more))
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize(
    ("windows", "places"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        ([(1, 3)], [0, 3, 4, 3, 4, 5]),
        ([(4, 6)], [0, 1, 2, 3, 0, 1]),
        ([(0, 2), (5, 6)], [2, 3, 2, 3, 4, 4]),
        ([(-9, 1), (6, 99)], [1, 1, 2, 3, 4, 5]),
        ([(0, 9)], [0, 1, 2, 3, 4, 5]),  # nothing else is there
    ],
)
def test_places_in_a_window_are_given_to_others_and_no_place_moves(windows, places):
    assert substituted(6, windows) == places


def test_each_epoch_has_its_own_places():
    loader = DataLoaderShard(SeedableRandomSampler("abcdef"))
    pass_over(loader, [(7, 9)])  # of the second epoch
    sampler = loader.batch_sampler.sampler
    assert (list(sampler), len(sampler)) == (list("abcdef"), 6)
    sampler.set_epoch(1)
    assert list(sampler) == list("befefa")
