"""Sharded weights: everything that a replicated run does, on three ranks, two and one, gated, killed and continued."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
import toy_sharded
from safetensors.torch import load_file
from torch import Tensor, nn
from toy_sharded import ShardedToy

from speech_contract import outcome, paths
from speech_contract.run_config import ResumeFrom, ResumePolicy
from speech_trainer import replay_batch
from speech_trainer.engine.checkpoints import CheckpointStore, Saved
from speech_trainer.engine.recipe import RecipeContext, unwrap

WORKER = Path(__file__).with_name("sharded_worker.py")
DEADLINE = 300  # seconds; generous, a busy machine is no fault of the code
Seen = list[dict[str, Any]]  # by rank


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both lives were lived."""
    directory = tmp_path_factory.mktemp("sharded")
    log = directory / "ranks.log"
    with log.open("w") as file:
        code = subprocess.run(
            [sys.executable, "-W", "error", str(WORKER), str(directory)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=file,
            timeout=DEADLINE,
            check=False,
        ).returncode
    assert code == 0, log.read_text()[-4000:]
    return directory


@pytest.fixture(scope="module")
def first(directory: Path) -> Seen:
    return [json.loads((directory / f"first_life-{r}.json").read_text()) for r in range(3)]


@pytest.fixture(scope="module")
def second(directory: Path) -> Seen:
    return [json.loads((directory / f"second_life-{r}.json").read_text()) for r in range(3)]


def parts(run_dir: Path, name: str) -> dict[str, Tensor]:
    """Every slice of a checkpoint, by file and tensor."""
    files = sorted((run_dir / paths.CHECKPOINTS / name).glob("*.safetensors"))
    return {f"{f.name} {key}": value for f in files for key, value in load_file(f).items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_no_rank_holds_a_whole_weight(first: Seen) -> None:
    held = [seen["gate"]["held"] for seen in first]
    key = "models/net/first.base.weight"
    assert [h[key] for h in held] == [3 * toy.WIDTH, 3 * toy.WIDTH, 1 * toy.WIDTH]
    assert [h["optimizers/net/0/exp_avg"] for h in held] == [toy.WIDTH, toy.WIDTH, 0]


@pytest.mark.parametrize("step", ["step 1", "step 4"])
def test_a_nan_on_one_rank_changes_no_part_on_any(first: Seen, step: str) -> None:
    for seen in first:
        assert seen["gate"][step]["bad"]
        assert seen["gate"][step]["finite"]
        assert seen["gate"][step]["changed"] == []
        assert set(seen["gate"][step]["steps taken"]) == {0.0 if step == "step 1" else 2.0}


def test_a_good_step_moves_what_trains_and_nothing_frozen(first: Seen) -> None:
    changed = {name for seen in first for name in seen["gate"]["step 3"]["changed"]}
    trained = {name for name in first[0]["gate"]["held"] if ".base." not in name}
    assert changed == trained


def test_norms_are_plain_and_the_same_everywhere(first: Seen) -> None:
    assert all(seen["gate"]["step 2"]["plain"] for seen in first)
    assert len({tuple(seen["gate"]["step 2"]["norms"]) for seen in first}) == 1
    *modules, whole = first[0]["gate"]["step 2"]["norms"]
    assert whole == pytest.approx(sum(norm**2 for norm in modules) ** 0.5)


def test_accumulated_gradients_are_those_of_one_large_batch(first: Seen) -> None:
    for seen in first:
        assert len(seen["accumulated"]) == 6
        assert all(seen["accumulated"])


def test_a_whole_run(directory: Path, first: Seen) -> None:
    for rank, seen in enumerate(first):
        run = seen["whole"]
        assert (run["code"], run["message"], run["failed rows"]) == (0, "", [])
        assert run["exported"] is (rank == 0)
    lead = first[0]["whole"]
    assert lead["saved"] == [5, 10, 12]
    assert lead["evaluated"] == [6, 12]
    assert lead["sections"] == [1]
    assert [set(moved) for moved in lead["moved"]] == [{"first", "second", "norm"}] * 2
    assert all(peers["groups"] == [[0, 1, 2]] for peers in lead["peers"])
    sampled = [peers for peers in lead["peers"] if peers["losses"]]
    assert {len(peers["waitRatios"]) for peers in sampled} == {3}
    assert all(peers["gradientNorms"] == [] for peers in sampled)  # nothing can see them


def test_what_is_exported_is_whole_and_plain(directory: Path) -> None:
    exported = load_file(directory / "whole" / "export" / "model.safetensors")
    expected = toy_sharded.Network().state_dict()
    assert {k: (v.shape, v.dtype) for k, v in exported.items()} == {
        k: (v.shape, v.dtype) for k, v in expected.items() if not k.startswith("again.")
    }
    slices = parts(directory / "whole", "step-12.a1")
    for key in ("first.base.weight", "second.up.weight"):
        of_key = [v for name, v in slices.items() if name.endswith(f"models/net/{key}")]
        assert torch.equal(exported[key], torch.cat(of_key))


def test_a_rollback_takes_all_ranks_back_together(directory: Path, first: Seen) -> None:
    for seen in first:
        run = seen["rolled back"]
        assert (run["code"], run["rollbacks"], run["non_finite"]) == (0, 1, 2)
        assert run["steps"] == first[0]["rolled back"]["steps"]
        assert run["losses"] == first[0]["rolled back"]["losses"]


def test_a_bad_step_of_a_sharded_run_is_replayed_by_one_process(directory: Path) -> None:
    def create(name: str, context: RecipeContext) -> ShardedToy:
        bad = toy.Faults(positions=((0, 1_000_000),))
        return ShardedToy(context, bad)

    found = replay_batch.replay(directory / "nan", None, create)
    assert (found.step, found.rank, found.exact, found.reproduced) == (9, 1, True, True)
    assert found.component == "total"


def test_a_full_disk_of_one_rank_is_an_error_of_all(directory: Path, first: Seen) -> None:
    for seen in first:
        assert seen["full disk"]["code"] == outcome.EXIT_ERROR
        assert "the disk is full" in seen["full disk"]["message"]
    assert list((directory / "full" / paths.CHECKPOINTS).iterdir()) == []


def test_ranks_that_start_from_other_weights_are_found_before_they_mix(first: Seen) -> None:
    for seen in first:
        assert seen["odd start"]["code"] == outcome.EXIT_PREFLIGHT
        assert seen["odd start"]["failed rows"] == ["Ranks initial weights"]


@pytest.mark.parametrize(
    ("run", "folder", "resumed"), [("after a kill", "killed", 5), ("after a signal", "cut", 8)]
)
def test_as_many_ranks_go_on_bit_for_bit(
    directory: Path, second: Seen, run: str, folder: str, resumed: int
) -> None:
    """The undisturbed run had a preflight and these had none: it left no trace."""
    for seen in second:
        assert (seen[run]["code"], seen[run]["resumed"]) == (0, resumed)
    assert same(parts(directory / "whole", "step-12.a1"), parts(directory / folder, "step-12.a2"))


def test_fewer_ranks_hold_what_more_have_saved(directory: Path, second: Seen) -> None:
    for seen in second[:2]:
        assert (seen["exported by two"]["code"], seen["exported by two"]["resumed"]) == (0, 12)
        assert seen["exported by two"]["steps"] == []
    two = load_file(directory / "exported-by-two" / "model.safetensors")
    assert same(two, load_file(directory / "whole" / "export" / "model.safetensors"))


def test_two_and_one_train_on(second: Seen) -> None:
    for seen in second[:2]:
        assert (seen["two go on"]["code"], seen["two go on"]["resumed"]) == (0, 12)
        assert seen["two go on"]["steps"] == [*range(13, 19)]
    alone = second[0]["one goes on"]
    assert (alone["code"], alone["resumed"], alone["steps"]) == (0, 18, [*range(19, 25)])


@pytest.mark.parametrize("fault", ["cut short", "missing", "smuggled in"])
def test_every_file_of_a_checkpoint_is_checked_before_any_is_read(
    tmp_path: Path, directory: Path, fault: str
) -> None:
    source = directory / "whole" / paths.CHECKPOINTS
    target = tmp_path / paths.CHECKPOINTS
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    second_file = sorted((target / "step-12.a1").glob("*.safetensors"))[1]
    if fault == "cut short":
        second_file.write_bytes(second_file.read_bytes()[:-1])
    elif fault == "missing":
        second_file.unlink()
    else:
        second_file.with_name("shard-00009-model-00001-of-00001.safetensors").write_bytes(b"")
    refused: list[tuple[str, str]] = []
    store = CheckpointStore(tmp_path, 3)
    opened = store.open_attempt(
        2, "u1", ResumeFrom.NEWEST, ResumePolicy.AUTO, lambda *told: refused.append(told)
    )
    assert opened.target == Saved(10, 1)
    assert refused[0][0] == "step-12.a1"
    assert "shard-" in refused[0][1]


def test_a_model_with_an_attribute_called_module_is_not_unwrapped() -> None:
    model = nn.Sequential()
    model.module = nn.Linear(1, 1)
    assert unwrap(model) is model
