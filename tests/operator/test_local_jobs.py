"""Whole jobs on this machine, through the real supervisor: processes die, people come and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from speech_contract import names, paths
from speech_operator import local_run
from speech_operator.cluster import local_process
from speech_operator.cluster.local_pod import Machine
from speech_operator.cluster.local_state import JobFolder
from speech_operator.timestamps import to_epoch

PATIENCE = 90.0  # seconds; generous, for a machine that does other things too
MACHINE = Machine(cores=8, gpus=0, host="here")

# Ranks meet the world through files: each start is a line in `starts`, and files decide what happens.
SCRIPT = """
import os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["SPEECHTRAIN_RUN_DIR"])
here.mkdir(parents=True, exist_ok=True)
rank, attempt = os.environ["RANK"], os.environ["SPEECHTRAIN_ATTEMPT"]
start = here / f"new-{attempt}-{rank}"
start.write_text(os.environ["SPEECHTRAIN_RESUME_FROM"] + f" {os.getpid()}")
start.rename(here / f"start-{attempt}-{rank}")  # whole, or not there: a test reads it as soon as it is
def save(*_):
    (here / f"saved-{attempt}-{rank}").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print("loss=1.5 step=1", flush=True)
"""
LOOP = """
while not (here / "finish").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SCRIPT + LOOP)
    return tmp_path


def manifest(
    project: Path, nodes: int = 1, script: str = "train.py", **policy: Any
) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "voice"},
        "spec": {
            "recipe": {"custom": {}},
            "checkpoint": {"uri": "run"},
            "numNodes": nodes,
            "trainer": {"command": ["python3", script]},
            "runPolicy": {"terminationGracePeriodSeconds": 20, **policy},
        },
    }


class Run:
    """A `run_local` in this process, and what it showed."""

    def __init__(self, project: Path, document: dict[str, Any], **options: Any) -> None:
        self.project = project
        self.folder = JobFolder(project / "state", "default", "voice")
        self.documents: list[dict[str, Any]] = []
        self.notices: list[str] = []
        self._document = document
        self._options = options

    async def start(self) -> int:
        return await local_run.run_local(
            self._document,
            self.project / "job.yaml",
            self.project / "state",
            on_update=lambda document, progress: self.documents.append(document),
            on_notice=self.notices.append,
            machine=MACHINE,
            **self._options,
        )

    def go(self, *steps: Any) -> int:
        """Run to the end while `steps` (functions; a true value goes on to the next) happen beside it."""

        async def both() -> int:
            running = asyncio.create_task(self.start())
            for step in steps:
                await until(step, running)
            return await asyncio.wait_for(running, PATIENCE)

        return asyncio.run(both())

    @property
    def status(self) -> dict[str, Any]:
        return (self.folder.read_job() or {}).get("status", {})

    def finish(self) -> bool:
        (self.project / "run" / "finish").touch()
        return True

    def started(self, attempt: int, rank: int = 0) -> Any:
        return lambda: (self.project / "run" / f"start-{attempt}-{rank}").exists()

    def whole(self, attempt: int) -> Any:
        def check() -> bool:
            conditions = {c["type"]: c["reason"] for c in self.status.get("conditions", [])}
            running = conditions.get("Running", "AttemptStarted")
            begun = self.status.get("attempt") == attempt and running != "AttemptStarted"
            return begun and self.started(attempt)()

        return check

    def pod(self, name: str = "voice-master-0") -> Any:
        pod = self.folder.pod(name)
        assert pod is not None
        return pod

    def kill_pod(self, name: str = "voice-master-0") -> bool:
        os.kill(self.pod(name).pid, signal.SIGKILL)
        return True

    def rank_pid(self, attempt: int, rank: int = 0) -> int:
        return int((self.project / "run" / f"start-{attempt}-{rank}").read_text().split()[1])


async def until(step: Any, running: asyncio.Task[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not step():
        assert not running.done(), f"ended with {running.result()} before {step}"
        assert time.monotonic() < deadline, f"never came: {step}"
        await asyncio.sleep(0.05)


def test_a_job_runs_to_its_end_and_leaves_its_story(project):
    run = Run(project, manifest(project))
    assert run.go(run.whole(1), run.finish) == 0
    assert run.status["state"] == "Complete"
    assert run.documents[-1]["status"]["state"] == "Complete"
    lines = (run.folder.path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines][-1] == "TrainingSucceeded"
    assert paths.rank_log(project / "run", 1, 0).exists()


def test_a_finished_job_prints_its_verdict_and_new_starts_beside_it(project):
    run = Run(project, manifest(project))
    assert run.go(run.started(1), run.finish) == 0
    again = Run(project, manifest(project))
    assert again.go() == 0
    assert "--new" in again.notices[-1]
    beside = Run(project, manifest(project), new=True)
    second = project / "run-2"
    assert (
        beside.go(
            lambda: (second / "start-1-0").exists(), lambda: (second / "finish").touch() or True
        )
        == 0
    )
    jobs = local_run.list_jobs(project / "state")
    assert [job["metadata"]["name"] for job in jobs] == ["voice", "voice-2"]
    assert local_run.load_job(project / "state", "default", "nobody") is None


def test_kill_9_of_a_rank_is_one_gang_restart(project):
    run = Run(project, manifest(project, nodes=2))

    def kill() -> bool:
        os.kill(run.rank_pid(1, rank=1), signal.SIGKILL)
        return True

    assert (
        run.go(run.whole(1), run.started(1, 1), kill, run.whole(2), run.started(2, 1), run.finish)
        == 0
    )
    status = run.status
    assert (status["attempt"], status["restarts"]["counted"]) == (2, 1)
    assert status["attempts"][0]["exitCode"] == 137
    created = to_epoch(run.documents[-1]["metadata"]["creationTimestamp"])
    spent = [s for name, s in status["goodput"].items() if name.endswith("Seconds")]
    assert sum(spent) == to_epoch(status["completionTime"]) - created  # on a laptop too


def test_kill_9_of_the_supervisor_takes_its_ranks_along(project):
    run = Run(project, manifest(project))
    pids = []

    def remember() -> bool:
        pids.append(run.rank_pid(1))
        return run.kill_pod()

    assert run.go(run.whole(1), remember, run.whole(2), run.finish) == 0
    assert run.status["attempts"][0]["exitCode"] == 137
    ticks = local_process.start_ticks(pids[0])
    assert ticks is None or not local_process.alive(pids[0], ticks)


def test_a_spent_budget_fails_with_a_remedy(project):
    (project / "train.py").write_text(SCRIPT + 'raise KeyError("speaker")\n')
    run = Run(project, manifest(project, restarts={"max": 5, "sameCause": 2}))
    assert run.go() == 1
    failure = run.status["failure"]
    assert failure["reason"] == "SameCauseAgain"
    assert "KeyError" in failure["message"]
    assert "KeyError" in failure["logTail"]
    assert failure["remedy"]
    assert failure["pod"] == "voice-master-0"
    assert run.status["attempt"] == 2


def test_the_deadline_fires_and_lets_the_run_save(project):
    run = Run(project, manifest(project, activeDeadlineSeconds=4))
    assert run.go(run.started(1)) == 1
    assert run.status["failure"]["reason"] == "DeadlineExceeded"
    assert (project / "run" / "saved-1-0").exists()


def test_suspend_saves_and_frees_and_run_resumes(project):
    run = Run(project, manifest(project, nodes=2))
    state = project / "state"

    async def suspended() -> int:
        running = asyncio.create_task(run.start())
        await until(run.whole(1), running)
        await until(run.started(1, 1), running)
        await asyncio.wait_for(local_run.suspend(state, "default", "voice"), PATIENCE)
        return await asyncio.wait_for(running, PATIENCE)

    assert asyncio.run(suspended()) == 75
    assert run.status["state"] == "Suspended"
    assert (project / "run" / "saved-1-0").exists()
    assert run.folder.pods() == []
    again = Run(project, manifest(project, nodes=2))
    assert again.go(again.whole(2), again.finish) == 0
    assert (again.status["attempt"], again.status["restarts"]["counted"]) == (2, 0)


def test_another_spec_is_refused_and_a_second_controller_too(project):
    run = Run(project, manifest(project))

    async def both() -> int:
        running = asyncio.create_task(run.start())
        await until(run.whole(1), running)
        with pytest.raises(local_run.LocalRunError, match="another speechtrain"):
            await Run(project, manifest(project)).start()
        run.finish()
        return await asyncio.wait_for(running, PATIENCE)

    assert asyncio.run(both()) == 0
    with pytest.raises(local_run.LocalRunError, match=r"spec.numNodes.*immutable"):
        Run(project, manifest(project, nodes=2)).go()


CLI = """
import asyncio, json, pathlib, sys
from speech_operator import local_run
from speech_operator.cluster.local_pod import Machine
project = pathlib.Path(sys.argv[1])
document = json.loads((project / "job.json").read_text())
run = local_run.run_local(document, project / "job.yaml", project / "state", machine=Machine(8, 0, "here"))
sys.exit(asyncio.run(run))
"""


def command_line(project: Path, document: dict[str, Any]) -> subprocess.Popen[bytes]:
    (project / "job.json").write_text(json.dumps(document))
    return subprocess.Popen([sys.executable, "-c", CLI, str(project)], cwd=project)


def wait_for(step: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not step():
        assert time.monotonic() < deadline, f"never came: {step}"
        time.sleep(0.05)


def test_kill_9_of_the_cli_leaves_the_pods_and_the_rerun_adopts_them(project):
    document = manifest(project)
    run = Run(project, document)
    with command_line(project, document) as cli:
        wait_for(run.whole(1))
        before = run.pod()
        cli.kill()
        assert cli.wait(PATIENCE) == -signal.SIGKILL
    assert local_process.alive(before.pid, before.start_ticks)
    assert run.go(lambda: run.documents, run.finish) == 0
    assert (run.status["attempt"], run.status["restarts"]["counted"]) == (1, 0)


def test_pods_that_died_while_nobody_looked_are_counted_by_the_rules(project):
    document = manifest(project)
    run = Run(project, document)
    with command_line(project, document) as cli:
        wait_for(run.whole(1))
        cli.kill()
        cli.wait(PATIENCE)
    run.kill_pod()
    assert run.go(run.whole(2), run.finish) == 0
    assert run.status["attempts"][0]["exitCode"] == 137


def test_an_end_that_nobody_saw_is_read_from_the_outcome(project):
    document = manifest(project)
    run = Run(project, document)
    with command_line(project, document) as cli:
        wait_for(run.whole(1))
        cli.kill()
        cli.wait(PATIENCE)
    pod = run.pod()
    run.finish()
    wait_for(lambda: not local_process.alive(pod.pid, pod.start_ticks))
    assert run.go() == 0
    assert run.status["attempt"] == 1


def test_the_first_interrupt_saves_and_exits_75(project):
    document = manifest(project)
    run = Run(project, document)
    with command_line(project, document) as cli:
        wait_for(run.whole(1))
        cli.send_signal(signal.SIGINT)
        assert cli.wait(PATIENCE) == 75
    assert (project / "run" / "saved-1-0").exists()
    assert run.status["state"] == "Suspended"


def test_the_second_interrupt_kills_and_the_state_stays_resumable(project):
    (project / "train.py").write_text(SCRIPT.replace("sys.exit(75)", "time.sleep(600)") + LOOP)
    document = manifest(project, terminationGracePeriodSeconds=600)
    run = Run(project, document)
    with command_line(project, document) as cli:
        wait_for(run.whole(1))
        cli.send_signal(signal.SIGINT)
        wait_for(lambda: (project / "run" / "saved-1-0").exists())
        cli.send_signal(signal.SIGINT)
        assert cli.wait(PATIENCE) == 130
    assert run.status["state"] == "Suspended"
    again = Run(project, document)
    assert again.go(again.whole(2), again.finish) == 0


def test_suspend_without_a_cli_drives_the_job_itself(project):
    document = manifest(project)
    run = Run(project, document)
    with command_line(project, document) as cli:
        wait_for(run.whole(1))
        cli.kill()
        cli.wait(PATIENCE)
    asyncio.run(
        asyncio.wait_for(local_run.suspend(project / "state", "default", "voice"), PATIENCE)
    )
    assert run.status["state"] == "Suspended"
    assert (project / "run" / "saved-1-0").exists()

    async def resumed() -> int:
        running = asyncio.create_task(local_run.resume(project / "state", "default", "voice"))
        await until(run.whole(2), running)
        run.finish()
        return await asyncio.wait_for(running, PATIENCE)

    assert asyncio.run(resumed()) == 0
