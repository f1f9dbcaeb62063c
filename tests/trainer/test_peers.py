"""Ranks that compare themselves: silent while they are the same, exact about the first one that is not."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ranks import run_ranks
from test_engine_ranks import WORKER
from torch import Tensor

from speech_contract import outcome, paths
from speech_contract.codec import from_document
from speech_contract.report import Peers
from speech_contract.thresholds import Thresholds
from speech_contract.wire import Datagram
from speech_health.monitor import Monitor
from speech_health.samples import from_datagram
from speech_trainer.engine.peers import checksum, group_equal

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int8, torch.bool]


def total(*tensors: Tensor) -> int:
    return int(checksum(list(tensors), CPU))


@given(
    size=st.integers(1, 40),
    others=st.integers(0, 3),
    bit=st.integers(0, 31),
    data=st.data(),
)
def test_any_flipped_bit_changes_the_checksum(
    size: int, others: int, bit: int, data: st.DataObject
) -> None:
    tensors = [torch.linspace(-1, 1, size) for _ in range(others + 1)]
    at = data.draw(st.integers(0, others)), data.draw(st.integers(0, size - 1))
    before = total(*tensors)
    words = tensors[at[0]].view(torch.int32)
    mask = 1 << bit if bit < 31 else -(1 << 31)
    words[at[1]] ^= mask
    assert total(*tensors) != before
    words[at[1]] ^= mask
    assert total(*tensors) == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_parameter_has_one(dtype: torch.dtype) -> None:
    tensor = torch.ones(3, 5).to(dtype)
    assert total(tensor) == total(tensor.clone()) == total(tensor.t().contiguous().t())
    changed = tensor.clone()
    changed[1, 2] = 0
    assert total(changed) != total(tensor)
    assert total(torch.zeros(0, dtype=dtype)) == 0


def test_the_order_of_tensors_counts() -> None:
    one, two = torch.ones(2), torch.zeros(2)
    assert total(one, two) != total(two, one)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30))
def test_groups_hold_every_rank_once_the_largest_first(kinds: list[int]) -> None:
    groups = group_equal([[kind, 7] for kind in kinds])
    assert sorted(rank for group in groups for rank in group) == list(range(len(kinds)))
    assert [len(g) for g in groups] == sorted((len(g) for g in groups), reverse=True)
    assert all(len({kinds[rank] for rank in group}) == 1 for group in groups)
    assert len(groups) == len(set(kinds))


Seen = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    directory = tmp_path_factory.mktemp("peers")
    return directory, run_ranks(WORKER, "peers", directory, 3)


def told(seen: Seen, name: str) -> list[Peers]:
    return [from_document(Peers, document) for document in seen[1][0][name]["peers"]]


@pytest.mark.parametrize("name", ["sound", "rolled back", "interrupted", "resumed", "slow", "loud"])
def test_ranks_of_a_sound_run_always_agree(seen: Seen, name: str) -> None:
    everybody = list(range(len(seen[1])))
    found = told(seen, name)
    assert found
    assert all(peers.groups == [everybody] for peers in found)
    assert all(peers.agreed_step == peers.step for peers in found)
    assert seen[1][0][name]["disagree"] == []


def test_what_may_happen_to_a_sound_run_did_happen(seen: Seen) -> None:
    first = seen[1][0]
    assert (first["rolled back"]["rollbacks"], first["rolled back"]["code"]) == (1, 0)
    assert first["interrupted"]["code"] == outcome.EXIT_INTERRUPTED
    assert first["resumed"]["resumed"] == 8
    assert [p.step for p in told(seen, "sound")][:24] == list(range(1, 25))


def test_rank_0_speaks_for_all(seen: Seen) -> None:
    assert all(one["flipped"]["peers"] == [] for one in seen[1][1:])


def test_a_flipped_bit_is_named_within_one_cadence_and_never_saved(seen: Seen) -> None:
    directory, ranks = seen
    last = len(ranks) - 1
    first = next(p for p in told(seen, "flipped") if len(p.groups) > 1)
    assert first.step == 8  # flipped in step 7, compared every 4
    # Compared before the save at 5, too.
    assert (first.agreed_step, first.differs) == (5, "decoder")
    assert sorted(map(sorted, first.groups)) == sorted([list(range(last)), [last]])
    for one in ranks:
        assert one["flipped"]["code"] == outcome.EXIT_RANK_DISAGREES
    assert ranks[0]["flipped"]["saved"] == [5]
    assert paths.checkpoint_dir(directory / "flipped", 5, 1).exists()
    assert not list((directory / "flipped" / paths.CHECKPOINTS).glob("step-[12]*"))


def test_while_they_disagree_every_datagram_says_so(seen: Seen) -> None:
    found = told(seen, "flipped")
    since = next(i for i, peers in enumerate(found) if len(peers.groups) > 1)
    assert all(len(peers.groups) > 1 for peers in found[since:])
    assert len(found) - since >= 12  # of the steps 8 to 20


def test_the_rule_names_the_rank_of_these_very_datagrams(seen: Seen) -> None:
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for peers in told(seen, "flipped"):
        monitor.feed(from_datagram(Datagram(0, peers.step, 0.0, peers=peers), float(peers.step)))
    assert monitor.decision is not None
    assert monitor.decision.exit_code == outcome.EXIT_RANK_DISAGREES
    assert monitor.decision.finding.rank == 2


def test_a_save_compares_first_whatever_the_cadence(seen: Seen) -> None:
    first = next(p for p in told(seen, "found at the save") if len(p.groups) > 1)
    assert (first.step, first.agreed_step) == (10, 5)
    assert first.gradient_norms == []
    assert seen[1][0]["found at the save"]["saved"] == [5]


def test_who_asked_for_a_warning_keeps_saving(seen: Seen) -> None:
    warned = seen[1][0]["warned"]
    assert (warned["code"], warned["saved"]) == (0, [5, 10, 15, 20])
    assert warned["disagree"] == [8]


def test_the_slow_rank_waits_least(seen: Seen) -> None:
    """Of most samples: another process may hold up anybody once."""
    waits = [p.wait_ratios for p in told(seen, "slow") if p.wait_ratios]
    assert len(waits) == 5
    assert statistics.median(min(others) - slow for *others, slow in waits) > 0.3


def test_a_rank_s_own_gradient_shows_before_the_average_hides_it(seen: Seen) -> None:
    sampled = [p for p in told(seen, "loud") if p.gradient_norms]
    assert sampled
    for peers in sampled:
        *others, loud = peers.gradient_norms
        assert loud > 20 * max(others)
