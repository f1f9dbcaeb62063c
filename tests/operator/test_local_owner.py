"""Whose run directory it is on this machine: a job that lives refuses others, a dead one's file is closed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speech_contract.owner import LAPTOP, Owner
from speech_operator.cluster.local import ANNOTATION_MANIFEST
from speech_operator.cluster.local_state import JOB, JobFolder
from speech_operator.local_jobs import LocalRunError
from speech_operator.local_owner import require_own_directory, run_dir_of
from speech_telemetry.ownership import Ownership, records


@pytest.fixture
def job_of(build: Any, tmp_path: Path) -> Any:
    """`job_of(name, uri=…, state=…)` → its folder and document, written below one state root."""

    def make(name: str, uri: str = "run", state: str = "") -> tuple[JobFolder, dict[str, Any]]:
        document = build.document(nodes=1)
        manifest = str(tmp_path / "project" / f"{name}.yaml")
        document["metadata"] |= {
            "name": name, "namespace": "default", "uid": f"uid-{name}",
            "annotations": {ANNOTATION_MANIFEST: manifest},
        }  # fmt: skip
        document["spec"]["checkpoint"] = {"uri": uri}
        if state:
            document["status"] = {"state": state, "attempt": 1}
        folder = JobFolder(tmp_path / "state", "default", name)
        folder.create_job(document)
        return folder, document

    return make


def refuse(folder: JobFolder, document: dict[str, Any]) -> list[str]:
    said: list[str] = []
    require_own_directory(folder, document, said.append)
    return said


def test_a_job_that_somebody_drives_lives(job_of: Any) -> None:
    first, _ = job_of("first", state="Running")
    second = job_of("second", uri="./sub/../run")
    with first.try_control(), pytest.raises(LocalRunError, match="belongs to job default/first on"):
        refuse(*second)
    assert refuse(*second) == []  # its status says Running, and nobody drives it
    other = job_of("third", uri="elsewhere")
    with first.try_control():
        assert refuse(*other) == []


def test_the_file_of_a_job_that_was_killed_is_closed_for_it(job_of: Any) -> None:
    job_of("first", state="Running")
    second, document = job_of("second")
    place = run_dir_of(second, document)
    owner = Owner("uid-first", "default", "first", 1, LAPTOP)
    assert Ownership(place, owner, lambda: 0.0, custom=True).claim()
    (said,) = refuse(second, document)
    assert said.startswith("the run directory was job default/first on this machine's")
    assert records(place)[-1].ended


def test_an_owner_that_is_not_known_here_is_left_to_the_supervisor(job_of: Any) -> None:
    second, document = job_of("second")
    place = run_dir_of(second, document)
    assert Ownership(place, Owner("uid-x", "ml", "x"), lambda: 0.0, custom=True).claim()
    assert refuse(second, document) == []
    assert not records(place)[-1].ended


def test_a_broken_neighbour_is_said_and_keeps_nobody_from_running(job_of: Any) -> None:
    first, _ = job_of("first")
    (first.path / JOB).write_text("{")
    (said,) = refuse(*job_of("second"))
    assert "is no JSON" in said
    assert "the same run directory is not known" in said


@pytest.mark.parametrize("uri", ["/proc/nowhere", "{file}", "{file}/below", "x" * 300])
def test_a_run_directory_that_cannot_be_one_is_refused_before_anything_runs(
    job_of: Any, tmp_path: Path, uri: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalRunError, match=r"^spec\.checkpoint\.uri: .*can't be a folder"):
        refuse(*job_of("odd", uri=uri.format(file=tmp_path / "file")))
