"""Voice cloning on two ranks with uneven shares, split and whole: the loss curve of one process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cloning_worker
import pytest
import small_cloning

from speech_trainer.engine.distributed import Ranks, World

DEADLINE = 600.0  # seconds; generous, a busy machine is no fault of the code


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both ranks have been through every case."""
    found = tmp_path_factory.mktemp("ranks")
    small_cloning.write_set(found / "data", "train", 42, 0)
    small_cloning.write_set(found / "data", "validation", 6, 1)
    script = Path(__file__).with_name("cloning_worker.py")
    process = subprocess.Popen(
        [sys.executable, str(script), str(found)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=DEADLINE)
    finally:
        with contextlib.suppress(
            ProcessLookupError
        ):  # ranks that hang outlive whom they were forked from
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, said[-3000:]
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
