"""However a global batch is cut into ranks and micro-batches, the update is that of the whole batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import sums
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from ranks import run_ranks
from sums_worker import CUTS, STEPS, name_of

from speech_operator.cluster.local import free_ports
from speech_trainer import replay_batch
from speech_trainer.data.loader import Place, cut, micro_batches, rank_slice
from speech_trainer.engine import accumulation
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.recipe import BookRecord, RunFacts, StepRecord
from speech_trainer.errors import ConfigError

WORKER = Path(__file__).with_name("sums_worker.py")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What three processes saw, which were one, two and three ranks in turn."""
    directory = tmp_path_factory.mktemp("sums")
    return run_ranks(WORKER, "sums", directory, 3, *free_ports(3))


@pytest.mark.parametrize("which", CUTS, ids=lambda which: name_of(*which))
def test_every_cut_ends_with_the_weights_of_the_whole_batch(
    ranks: list[dict[str, Any]], which: tuple[int, int, int | None, bool]
) -> None:
    world, size, micro, per_token = which
    whole = ranks[0][name_of(1, size, None, per_token)]
    for rank in range(world):
        one = ranks[rank][name_of(*which)]
        assert one["updates"] == STEPS
        assert one["micro"] == micro_batches(size, Place(rank, world, micro))
        for name, values in whole["tensors"].items():
            if name != "staged/seen":
                assert one["tensors"][name] == pytest.approx(values, rel=1e-9, abs=1e-12), name
        assert one["losses"] == pytest.approx(whole["losses"], rel=1e-6)
        assert one["perplexity"] == pytest.approx(whole["perplexity"], rel=1e-6)
        assert one["size"] == [4] * STEPS
    for counted in ("samples", "tokens"):
        parts = sum(ranks[rank][name_of(*which)][counted] for rank in range(world))
        assert parts == whole[counted]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_nan_in_one_micro_batch_of_one_rank_gates_the_whole_update_everywhere(
    ranks: list[dict[str, Any]], world: int
) -> None:
    for seen in ranks[:world]:
        one = seen[f"bad on {world}"]
        assert (one["updates"], one["non_finite"]) == (STEPS - 1, 1)
        assert one["tensors"] == ranks[0][f"bad on {world}"]["tensors"]
        assert one["tensors"]["staged/seen"] == [float((STEPS - 1) * one["micro"])]  # put back once
        assert all(torch.tensor(values).isfinite().all() for values in one["tensors"].values())


# -- weights and records, without a run ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Counted:
    count: int
    weight: float = 1.0


@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    losses=st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=6, max_size=6),
)
def test_the_weighted_sum_is_the_mean_over_everything_counted(
    counts: list[int], losses: list[float]
) -> None:
    world = World(Ranks(), CPU)
    weighed = accumulation.weigh([Counted(c) for c in counts], None, world)  # type: ignore[type-var]
    total = sum(counts)
    expected = sum(c * x for c, x in zip(counts, losses, strict=False)) / total if total else 0.0
    found = sum(b.weight * x for b, x in zip(weighed, losses, strict=False))
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("ranks_", [1, 2, 3, 7, 48])
def test_a_full_batch_on_equal_ranks_weighs_exactly_one_and_is_left_alone(ranks_: int) -> None:
    world = World(Ranks(), CPU)
    world.size = ranks_
    batch = Counted(5)
    (same,) = accumulation.weigh([batch], 5 * ranks_, world)  # type: ignore[type-var]
    assert same is batch


@given(size=st.integers(1, 60), world=st.integers(1, 8), micro=st.none() | st.integers(1, 20))
def test_shares_cover_the_batch_and_respect_the_micro_batch(
    size: int, world: int, micro: int | None
) -> None:
    positions = range(100, 100 + size)
    places = [Place(rank, world, micro) for rank in range(world)]
    shares = [rank_slice(positions, place) for place in places]
    assert [p for share in shares for p in share] == list(positions)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    (count,) = {micro_batches(size, place) for place in places}
    for share in shares:
        parts = cut(share, count)
        assert [p for part in parts for p in part] == list(share)
        assert all(len(part) <= (micro or size) for part in parts)


def test_ten_samples_on_three_ranks_are_four_three_three() -> None:
    assert [len(rank_slice(range(10), Place(rank, 3))) for rank in range(3)] == [4, 3, 3]


def test_a_stand_in_adds_nothing_to_a_codebook_whatever_it_measured() -> None:
    real = BookRecord(torch.tensor([3.0, 1.0]), residual=torch.tensor(0.5), age=7)
    odd = BookRecord(torch.tensor([9.0, 9.0]), residual=torch.tensor(float("nan")))
    records = [StepRecord({}, {"q": real}, 3), StepRecord({}, {"q": odd})]
    joined = accumulation.join(records, [1.0, 0.0])
    assert joined.codebooks is not None
    book = joined.codebooks["q"]
    assert (book.usage.tolist(), float(book.residual)) == ([3.0, 1.0], 0.5)  # type: ignore[arg-type]
    assert book.dead is None
    assert book.age == 7
    assert joined.tokens == 3


def test_less_than_one_sample_for_each_rank_is_refused() -> None:
    world = World(Ranks(), CPU)
    world.size = 3
    accumulation.check_batch_size(RunFacts(global_batch_size=3), world)
    with pytest.raises(
        ConfigError, match="globalBatchSize: 2 is less than one sample for each of 3"
    ):
        accumulation.check_batch_size(RunFacts(global_batch_size=2), world)


def test_a_bad_micro_batch_is_replayed_with_the_others(tmp_path: Path) -> None:

    training = {"max_steps": 4, "micro_batch_size": 2}
    config = toy.make_config(tmp_path, training=training)
    sums.train(config, 6, World(Ranks(), CPU), bad=9)
    found = replay_batch.replay(
        tmp_path, None, lambda name, context: sums.SumRecipe(context, 6, bad=9)
    )
    assert (found.step, found.reproduced, found.component) == (2, True, "total")
