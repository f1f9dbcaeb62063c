"""A local job whose command line is gone: nobody reads `Running, Healthy` of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from speech_contract.outcome import Outcome, encode
from speech_operator import local_run
from speech_operator.cluster import local_process
from speech_operator.cluster.local_state import JobFolder, PodFile


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return JobFolder(tmp_path / "state", "default", "orphan")


def stored(folder: JobFolder, state: str = "Running") -> None:
    health = {"verdict": "Healthy", "findings": []}
    folder.create_job(
        {
            "apiVersion": "speechtrain.dev/v1alpha1",
            "kind": "SpeechTrainingJob",
            "metadata": {"name": "orphan", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {"checkpoint": {"uri": "run"}},
            "status": {"state": state, "attempt": 1, "health": health},
        }
    )


def add_pod(folder: JobFolder, pid: int, ticks: int) -> None:
    folder.write_pod(
        PodFile(
            name="orphan-master-0", uid="p", owner_uid="u", attempt=1, node_rank=0, pid=pid,
            start_ticks=ticks, created_at=0.0,
        )
    )  # fmt: skip


def shown(folder: JobFolder) -> dict[str, Any]:
    document = local_run.load_job(folder.root, "default", "orphan")
    assert document is not None
    assert local_run.list_jobs(folder.root) == [document]
    status = document["status"]
    assert isinstance(status, dict)
    return status


def test_a_job_that_nobody_drives_and_whose_processes_ended_is_unknown(folder: JobFolder) -> None:
    stored(folder)
    add_pod(folder, os.getpid(), 1)  # the number was given away anew
    folder.termination_log("orphan-master-0").write_text(
        encode(Outcome(attempt=1, node_rank=0, phase="Done", exit_code=0))
    )
    status = shown(folder)
    assert (status["state"], status["health"]["verdict"]) == ("Unknown", "Unknown")
    (finding,) = status["health"]["findings"]
    assert finding["evidence"].endswith("none of its processes runs (exit code 0)")
    assert "`speechtrain resume orphan`" in finding["remedy"]


def test_processes_that_go_on_keep_the_state_but_not_the_health(folder: JobFolder) -> None:
    stored(folder)
    add_pod(folder, os.getpid(), local_process.start_ticks(os.getpid()) or 0)
    status = shown(folder)
    assert (status["state"], status["health"]["verdict"]) == ("Running", "Unknown")
    assert "its processes go on" in status["health"]["findings"][0]["evidence"]


def test_a_driven_job_is_shown_as_it_is(folder: JobFolder) -> None:
    stored(folder)
    lock = folder.try_control()
    assert lock is not None
    with lock:
        assert shown(folder)["health"]["verdict"] == "Healthy"
    assert shown(folder)["health"]["verdict"] == "Unknown"


@pytest.mark.parametrize("state", ["Complete", "Failed", "Suspended"])
def test_a_job_at_rest_needs_nobody(folder: JobFolder, state: str) -> None:
    stored(folder, state)
    assert shown(folder) == {
        "state": state, "attempt": 1, "health": {"verdict": "Healthy", "findings": []},
    }  # fmt: skip


def test_asking_leaves_the_lock_free(folder: JobFolder) -> None:
    stored(folder)
    shown(folder)
    lock = folder.try_control()
    assert lock is not None
    lock.close()
