"""Two ranks over gloo: one gate for all, one decision for all, whoever of them was bad or interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toy
from ranks import run_ranks

from speech_contract import outcome, paths

WORKER = Path(__file__).with_name("toy_worker.py")


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(WORKER, "gate", tmp_path_factory.mktemp("gate"))


@pytest.mark.parametrize(
    ("kind", "component", "module", "rank"),
    [
        ("discriminator", "d/total", "judge", 0),
        ("generator", "g/adversarial", "mapper", 0),
        ("rank 1", "g/adversarial", "mapper", 1),
        ("gradient", "", "decoder", None),
    ],
)
def test_a_bad_step_changes_nothing_on_any_rank(
    gated: list[dict[str, Any]], kind: str, component: str, module: str, rank: int | None
) -> None:
    for seen in gated:
        assert seen[kind] == {
            "changed": [],
            "bad": True,
            "interrupt": False,
            "component": component,
            "module": module,
            "rank": rank,
            "finite": True,
        }


def test_good_steps_change_everything_alike(gated: list[dict[str, Any]]) -> None:
    for seen in gated:
        assert not seen["good 3"]["bad"]
        assert seen["good 3"]["changed"] == [
            n for n in seen["good 3"]["changed"] if n in seen["names"]
        ]
        # State, EMA, codebook, all of it.
        assert set(seen["good 3"]["changed"]) == set(seen["names"])
    assert gated[0]["weights"] == gated[1]["weights"]


def test_an_interrupt_of_one_rank_is_known_to_all(gated: list[dict[str, Any]]) -> None:
    assert [seen["interrupt"]["interrupt"] for seen in gated] == [True, True]
    assert [seen["good 3"]["interrupt"] for seen in gated] == [False, False]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    directory = tmp_path_factory.mktemp("runs")
    return directory, run_ranks(WORKER, "together", directory)


def test_ranks_train_on_their_own_samples(runs: tuple[Path, list[dict[str, Any]]]) -> None:
    _, ranks = runs
    first, second = (seen["whole"] for seen in ranks)
    assert (first["code"], second["code"]) == (0, 0)
    assert sorted(first["trained"] + second["trained"]) == list(range(12 * 2 * toy.BATCH))
    assert first["losses"] == second["losses"]  # the mean over ranks
    assert first["samples"] == 12 * toy.BATCH


def test_sigterm_on_one_rank_saves_and_leaves_together(
    runs: tuple[Path, list[dict[str, Any]]],
) -> None:
    directory, ranks = runs
    for seen in ranks:
        assert seen["interrupted"]["code"] == outcome.EXIT_INTERRUPTED
        assert seen["interrupted"]["steps"][-1] == 8
        assert seen["interrupted"]["saved"] == 8
        assert seen["resumed"]["resumed"] == 8
        assert seen["resumed"]["differs"] == []  # bit for bit the undisturbed run
    assert paths.checkpoint_dir(directory / "cut", 8, 1).exists()


def test_nan_on_one_rank_rolls_all_back_together(
    runs: tuple[Path, list[dict[str, Any]]],
) -> None:
    directory, ranks = runs
    for seen in ranks:
        rolled = seen["rolled back"]
        assert (rolled["code"], rolled["rollbacks"], rolled["non_finite"]) == (0, 1, 5)
        assert rolled["bad_component"] == "g/adversarial"
        assert rolled["steps"] == ranks[0]["rolled back"]["steps"]
        assert rolled["updates"] == ranks[0]["rolled back"]["updates"]
    size = 2 * toy.BATCH
    skip = json.loads(paths.skip_file(directory / "nan", 1, 1).read_text())
    assert skip["windows"] == [[12 * size, 17 * size]]
