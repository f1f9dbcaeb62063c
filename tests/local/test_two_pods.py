"""Two pods, and everything that can happen to them: one eventful run must end with the weights of a quiet one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from desk import Desk, wait_for
from safetensors.torch import load_file

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STEPS = 40
HEALTH = {
    "nonFinite": {"confirmSteps": 3},
    "stall": {"floorSeconds": 600},  # who waits at a gate has not stalled
}
RESTARTS = {"max": 5, "sameCause": 5}


def job(desk: Desk, name: str, *words: object, **more: Any) -> Path:
    """A toy job of two pods with one rank each; it saves every five steps."""
    return desk.script(
        name,
        "toy_job.py",
        *words,
        **{
            "numNodes": 2,
            "nprocPerNode": 1,
            "training": {"maxSteps": STEPS, "seed": 3, "logEverySteps": 1, "device": "CPU"},
            "checkpoint": {"uri": name, "everySteps": 5},
            "health": HEALTH,
            "runPolicy": {"restarts": RESTARTS},
            **more,
        },
    )


def last_weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """Everything in the checkpoint of the last step: weights, optimizers, buffers, EMA."""
    (folder,) = (run_dir / "checkpoints").glob(f"step-{STEPS}.a*")
    return load_file(folder / "state.safetensors")


class Story:
    """One run to which everything happens, attempt by attempt; each is held at a step until it is time."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        holds = [(1, 12), (2, 17), (3, 23), (4, 31)]
        self.gates = {attempt: desk.root / f"gate-{attempt}" for attempt, _ in holds}
        words = [w for a, s in holds for w in ("--hold", f"{a}:{s}:{self.gates[a]}")]
        self.path = job(desk, "eventful", *words)
        self.call = desk.start("run", self.path)
        self.seen: dict[str, Any] = {}

    def kill_a_rank(self) -> None:
        self.desk.holds("eventful", 1, self.gates[1], 2)
        before = self.uids()
        (rank,) = self.desk.ranks("eventful", 1)
        os.kill(rank, signal.SIGKILL)
        self.desk.holds("eventful", 2, self.gates[2], 2)
        self.seen["rank"] = (before, self.uids(), self.restarts())

    def kill_the_supervisor_with_its_rank(self) -> None:
        pod = self.desk.pods("eventful")[1]
        for pid in (*self.desk.ranks("eventful", 1), pod.pid):
            os.kill(pid, signal.SIGKILL)
        self.desk.holds("eventful", 3, self.gates[3], 2)
        self.seen["supervisor"] = self.restarts()

    def kill_the_command_line(self) -> None:
        before = self.uids()
        self.call.process.send_signal(signal.SIGKILL)
        self.call.process.wait()
        alone = len(self.desk.pods("eventful"))
        self.call = self.desk.start("run", self.path)
        wait_for(lambda: "taken over" in self.call.text(), "the rerun to take the pods over")
        self.seen["command line"] = (alone, before, self.uids(), self.desk.attempt("eventful"))

    def suspend(self) -> None:
        suspending = self.desk.start("suspend", "eventful")
        wait_for(lambda: self.desk.status("eventful")["state"] == "Suspending", "Suspending")
        self.gates[3].touch()
        self.seen["suspend"] = (suspending.end(), self.call.end(), self.desk.pods("eventful"))
        self.seen["saved"] = self.desk.progress("eventful", "lastCheckpointStep")

    def resume(self) -> None:
        self.call = self.desk.start("resume", "eventful")
        self.desk.holds("eventful", 4, self.gates[4], 2)
        self.gates[4].touch()
        self.seen["end"] = self.call.end()

    def restarts(self) -> int:
        """Restarts that counted so far."""
        return int(self.desk.status("eventful")["restarts"]["counted"])

    def uids(self) -> dict[int, str]:
        """Who the pods are."""
        return {node: pod.uid for node, pod in self.desk.pods("eventful").items()}


@pytest.fixture(scope="module")
def quiet(shared_desk: Desk) -> Path:
    """The undisturbed run's directory."""
    said = shared_desk.call("run", job(shared_desk, "quiet"))
    assert said.code == 0, said.text
    return shared_desk.root / "quiet"


@pytest.fixture(scope="module")
def story(shared_desk: Desk, quiet: Path) -> Story:
    """The eventful run, told to its end."""
    told = Story(shared_desk)
    told.kill_a_rank()
    told.kill_the_supervisor_with_its_rank()
    told.kill_the_command_line()
    told.suspend()
    told.resume()
    return told


def test_a_killed_rank_costs_one_gang_restart(story: Story) -> None:
    before, after, restarts = story.seen["rank"]
    assert restarts == 1
    assert all(before[node] != after[node] for node in (0, 1))
    first, second = story.desk.status("eventful")["attempts"][:2]
    assert (first["cause"], first["exitCode"], first["rank"]) == ("Killed", 137, 1)
    assert second["resumedFromStep"] == 10


def test_a_supervisor_killed_with_its_rank_is_one_restart_more(story: Story) -> None:
    assert story.seen["supervisor"] == 2
    second, third = story.desk.status("eventful")["attempts"][1:3]
    assert (second["cause"], second["exitCode"]) == ("Killed", 137)
    assert third["resumedFromStep"] == 15


def test_a_rerun_adopts_what_a_killed_command_line_left(story: Story) -> None:
    alone, before, after, attempt = story.seen["command line"]
    assert alone == 2
    assert before == after
    assert attempt == 3


def test_suspend_saves_and_frees(story: Story) -> None:
    suspended, watcher, left = story.seen["suspend"]
    assert suspended.code == 0, suspended.text
    assert watcher.code == 75, watcher.text
    assert left == {}
    assert story.seen["saved"] >= 23


def test_resume_continues_where_it_was_saved(story: Story) -> None:
    assert story.seen["end"].code == 0, story.seen["end"].text
    status = story.desk.status("eventful")
    assert status["state"] == "Complete"
    assert status["attempts"][3]["resumedFromStep"] == story.seen["saved"]
    assert status["restarts"]["counted"] == 2  # a suspension costs nothing


def test_its_weights_are_those_of_the_quiet_run_bit_for_bit(story: Story, quiet: Path) -> None:
    undisturbed, disturbed = last_weights(quiet), last_weights(story.desk.root / "eventful")
    assert undisturbed.keys() == disturbed.keys()
    assert [n for n in undisturbed if not torch.equal(undisturbed[n], disturbed[n])] == []
    states = [json.loads(next((d / "checkpoints").glob(f"step-{STEPS}.a*/state.json")).read_text())
              for d in (quiet, story.desk.root / "eventful")]  # fmt: skip
    assert states[0]["position"] == states[1]["position"] == STEPS * 8


def test_a_rank_asleep_in_a_collective_is_named_with_its_python_line(desk: Desk) -> None:
    health = {"stall": {"floorSeconds": 8, "startupSeconds": 200}}
    path = job(desk, "asleep", "--sleep", "1:1:13", health=health)
    said = desk.call("run", path)
    assert said.code == 0, said.text  # it restarted from the checkpoint and went on to its end
    first, second = desk.status("asleep")["attempts"]
    assert (first["exitCode"], first["cause"], first["rank"]) == (45, "Stalled", 1)
    assert second["resumedFromStep"] == 10
    events = (desk.state_root / "default/asleep/events.jsonl").read_text()
    assert "rank 1" in events
    assert "Training" in events
    assert "toy_job.py" in events
    assert "fall_asleep" in events


def test_the_deadline_fails_the_job_and_ends_its_pods(desk: Desk) -> None:
    path = desk.script("late", "idle.py", numNodes=2, runPolicy={"activeDeadlineSeconds": 3})
    said = desk.call("run", path)
    assert said.code != 0
    failure = desk.status("late")["failure"]
    assert failure["reason"] == "DeadlineExceeded"
    assert "activeDeadlineSeconds" in f"{failure['message']} {failure['remedy']}"
    assert failure["message"] in said.text
    assert desk.pods("late") == {}


def test_a_spent_budget_fails_the_job_with_a_remedy(desk: Desk) -> None:
    restarts = {"max": 1, "sameCause": 9}
    path = desk.script(
        "unlucky", "idle.py", "--exit", 1, numNodes=2, runPolicy={"restarts": restarts}
    )
    said = desk.call("run", path)
    assert said.code == 1
    status = desk.status("unlucky")
    assert (status["failure"]["reason"], status["attempt"]) == ("RestartBudgetSpent", 2)
    assert "runPolicy.restarts.max: 1" in status["failure"]["remedy"]
    assert "the budget of restarts (1) is spent" in said.text


def test_the_same_cause_twice_fails_the_job_before_the_budget_does(desk: Desk) -> None:
    policy = {"restarts": {"sameCause": 2}}
    path = desk.script(
        "stubborn", "idle.py", "--raise", "there is no third voice", runPolicy=policy
    )
    said = desk.call("run", path)
    status = desk.status("stubborn")
    assert (status["failure"]["reason"], status["attempt"]) == ("SameCauseAgain", 2)
    assert "second time" in said.text
