"""Voice cloning on two ranks with uneven shares, split and whole: the loss curve of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cloning_worker
import pytest
import small_cloning

from speech_trainer.engine.distributed import Ranks, World

DEADLINE = 240.0  # seconds


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both ranks have been through every case."""
    found = tmp_path_factory.mktemp("ranks")
    small_cloning.write_set(found / "data", "train", 42, 0)
    small_cloning.write_set(found / "data", "validation", 6, 1)
    script = Path(__file__).with_name("cloning_worker.py")
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script), str(found)],
        env={**os.environ, **paths}, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return found


@pytest.mark.parametrize("case", list(cloning_worker.CASES))
def test_two_ranks_train_as_one(case: str, directory: Path) -> None:
    one = cloning_worker.run(case, directory, World(Ranks(), small_cloning.CPU))
    seen = [
        json.loads((directory / f"{case}-{rank}.json").read_text("utf-8"))
        for rank in range(cloning_worker.RANKS)
    ]
    assert [one["code"], *(rank["code"] for rank in seen)] == [0, 0, 0]
    assert seen[0]["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert len(seen[0]["losses"]) == 6
