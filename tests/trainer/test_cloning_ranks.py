"""Voice cloning on three ranks with uneven shares, split, whole and adapted: the loss curve of one process.

And what ranks are for in the long run: killed, continued by fewer, gated when one of them is no number.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloning_worker
import pytest
import small_cloning
from cloning_worker import BAD, CASES, LONG, MORE, RANKS, SAVED, STEPS
from safetensors.torch import load_file

from speech_contract import paths
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.models import higgs_v3

DEADLINE = 900.0  # seconds; generous, a busy machine is no fault of the code


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ranks have been through every case."""
    found = tmp_path_factory.mktemp("ranks")
    small_cloning.write_set(found / "data", "train", 42, 0)
    small_cloning.write_set(found / "data", "validation", 6, 1)
    (found / "base").mkdir()
    small_cloning.v3().save(found / "base", None)
    small_cloning.tokens_of(higgs_v3.HiggsV3).save(found / "base")
    script = Path(__file__).with_name("cloning_worker.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(found)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            # Ranks that hang outlive whom they were forked from.
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-3000:]
    return found


def seen_of(directory: Path, name: str, ranks: int = RANKS) -> list[dict[str, Any]]:
    """What each rank saw of a run."""
    files = [directory / f"{name}-{rank}.json" for rank in range(ranks)]
    return [json.loads(file.read_text("utf-8")) for file in files]


@pytest.mark.parametrize("name", list(CASES))
def test_three_ranks_train_as_one(name: str, directory: Path) -> None:
    world = World(Ranks(), small_cloning.CPU)
    one = cloning_worker.run(CASES[name], directory, f"one-{name}", world)
    seen = seen_of(directory, name)
    assert [one["code"], *(rank["code"] for rank in seen)] == [0] * (RANKS + 1)
    good = [n for n in range(STEPS) if CASES[name].nan is None or n + 1 != BAD]
    losses = [seen[0]["losses"][n] for n in good]
    assert losses == pytest.approx([one["losses"][n] for n in good], rel=1e-3)
    assert len(good) >= STEPS - 1
    skipped = {run["skipped"] for run in (one, *seen)}  # one rank's NaN is everybody's
    assert skipped == {STEPS - len(good)}


@pytest.mark.parametrize("name", list(MORE))
def test_a_run_that_is_killed_again_and_again_comes_to_the_same_weights(
    name: str, directory: Path
) -> None:
    for attempt in range(1, MORE[name] + 1):
        file = directory / f"kills-{name}-{attempt}.json"
        codes = json.loads(file.read_text("utf-8"))
        assert -signal.SIGKILL in codes, f"attempt {attempt} ended before it was killed"
    killed, calm = seen_of(directory, f"killed-{name}")[0], seen_of(directory, f"calm-{name}")[0]
    assert killed["resumed"] > 0
    assert killed["steps"][-1] == calm["steps"][-1] == LONG
    wanted, found = (
        load_file(directory / f"{run}-{name}" / paths.EXPORT / "model.safetensors")
        for run in ("calm", "killed")
    )
    assert wanted.keys() == found.keys()
    # Whole gradients of three ranks are added up in buckets, which DDP lays out anew after its first step: a sum of
    # three rounds by its order. Split ones are added up a layer at a time, always alike.
    tolerance = 0.0 if CASES[name].split else 1e-6
    worst = max(float((wanted[key] - found[key]).abs().max()) for key in wanted)
    assert worst <= tolerance


@pytest.mark.parametrize("name", list(MORE))
def test_two_ranks_go_on_with_what_three_have_saved(name: str, directory: Path) -> None:
    world = World(Ranks(), small_cloning.CPU)
    one = cloning_worker.run(CASES[name], directory, f"alone-{name}", world)
    seen = seen_of(directory, f"fewer-{name}", ranks=2)
    assert [(rank["code"], rank["resumed"]) for rank in seen] == [(0, SAVED)] * 2
    assert seen[0]["steps"] == [*range(SAVED + 1, STEPS + 1)]
    assert seen[0]["losses"] == pytest.approx(one["losses"][SAVED:], rel=1e-3)
