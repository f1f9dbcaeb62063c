"""`spec.tracking`: one TensorBoard file and one run of Weights & Biases for all attempts of a job."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from desk import PATHS, Desk
from foreign_packages import WANDB, folder_of_packages

from speech_cli.recordings import tensorboard
from speech_contract import paths
from speech_telemetry.report import event_file

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STEPS, FAILED_AT = 30, 10


def job(desk: Desk, name: str) -> Path:
    """A job of two attempts."""
    return desk.script(
        name,
        "twice.py",
        checkpoint={"uri": name},
        tracking={"tensorboard": True, "wandb": {"project": "voices"}},
        runPolicy={"restarts": {"max": 1}},
    )


def test_two_attempts_are_one_run_there(shared_desk: Desk) -> None:
    """Real Weights & Biases, which keeps on disk what it has nobody to tell."""
    desk = shared_desk
    found = str(folder_of_packages(WANDB))
    ended = desk.call(
        "run", job(desk, "told"), PYTHONPATH=os.pathsep.join([found, *map(str, PATHS)])
    )
    assert ended.code == 0, ended.text
    run_dir = desk.root / "told"
    assert len(desk.status("told")["attempts"]) == 2

    uid = desk.document("told")["metadata"]["uid"]
    kept = sorted((run_dir / paths.WANDB).glob("offline-run-*/*.wandb"))
    assert [path.stem for path in kept] == [f"run-{uid}"] * 2
    told = [path.read_bytes().count(b"losses/loss") for path in kept]
    each = [FAILED_AT, STEPS - FAILED_AT]  # steps of the two, and none is told again
    assert told[0] / told[1] == each[0] / each[1], told
    assert b"voices" in kept[0].read_bytes()

    rows = tensorboard((run_dir / paths.TENSORBOARD / event_file.NAME).read_bytes())
    assert (rows[0]["step"], rows[-1]["step"]) == (1, STEPS)


def test_a_tracker_that_is_not_installed_is_said_before_training_and_ends_nothing(
    shared_desk: Desk,
) -> None:
    desk = shared_desk
    ended = desk.call("run", job(desk, "untold"))
    assert ended.code == 0, ended.text
    run_dir = desk.root / "untold"
    assert (run_dir / paths.REPORT).exists()
    assert (run_dir / paths.TENSORBOARD / event_file.NAME).exists()
    log = next(desk.state_root.rglob("untold-master-0.log")).read_text("utf-8")
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    names = [event["event"] for event in events]
    failed = [event for event in events if event["event"] == "report_failed"]
    assert "needs the Python package wandb" in failed[0]["error"]
    assert names.index("report_failed") < names.index("rank_ended")
