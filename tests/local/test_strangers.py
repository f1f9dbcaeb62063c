"""Scripts that know nothing of us, run as `custom`: named, explained, acted upon, down to the exit code."""

from __future__ import annotations

import pytest
from desk import Call, Desk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_seed_s_loop_fails_although_it_exits_with_0(desk: Desk) -> None:
    """Five epochs of `loss=0.0`, no call into us: judged at its end."""
    said = desk.call("run", desk.script("seed", "seed_loop.py", 5, 0))
    assert said.code == 41, said.text
    status = desk.status("seed")
    assert status["state"] == "Failed"
    assert (status["failure"]["reason"], status["failure"]["exitCode"]) == ("NotLearning", 41)
    assert status["attempt"] == 1  # the same again would learn nothing either
    finding = desk.findings("seed")["ZeroLoss"]
    assert (finding["severity"], finding["action"]) == ("critical", "Stopped")
    assert "swallowed exception" in finding["remedy"]
    (healthy,) = [c for c in status["conditions"] if c["type"] == "Healthy"]
    assert (healthy["status"], healthy["reason"]) == ("False", "ZeroLoss")
    why = desk.call("why", "seed", "-o", "json")
    assert why.document["rule"] == "ZeroLoss"
    assert "ZeroLoss" in desk.call("why", "seed").text


def test_a_longer_one_is_stopped_while_it_runs(desk: Desk) -> None:
    said = desk.call("run", desk.script("longer", "seed_loop.py", 36_000, 0.1))
    assert said.code == 41, said.text
    finding = desk.findings("longer")["ZeroLoss"]
    assert finding["action"] == "Stopped"
    assert "loss exactly 0 in 20 report(s) in a row" in finding["evidence"]


def test_the_three_line_api_gives_the_step(desk: Desk) -> None:
    said = desk.call("run", desk.script("three-lines", "three_lines.py", 200))
    assert said.code == 41, said.text
    finding = desk.findings("three-lines")["ZeroLoss"]
    assert finding["step"] == 1  # where it began
    assert "loss exactly 0 in 20 report(s) in a row, steps 1 to" in finding["evidence"]
    assert "step 1" in desk.call("why", "three-lines").text


def test_a_script_that_says_nothing_is_no_healthy_script(desk: Desk) -> None:
    health = {"telemetry": {"missingSeconds": 2}}
    said = desk.call("run", desk.script("silent", "silent.py", 6, health=health))
    assert said.code == 0, said.text  # a warning by default: it may train all the same
    status = desk.status("silent")
    assert "TelemetryMissing" in desk.findings("silent")
    assert status["health"]["verdict"] == "Unknown"
    assert "TelemetryMissing" in said.text


def test_a_hanging_script_is_named_with_its_python_line(desk: Desk) -> None:
    health = {"stall": {"floorSeconds": 1}}
    policy = {"restarts": {"sameCause": 2}}
    said = desk.call("run", desk.script("hanging", "hang.py", health=health, runPolicy=policy))
    assert said.code == 45, said.text
    status = desk.status("hanging")
    assert (status["failure"]["reason"], status["attempt"]) == ("SameCauseAgain", 2)
    evidence = desk.findings("hanging")["Stalled"]["evidence"]
    assert "hang.py" in evidence
    assert "all_reduce" in evidence
    assert "all_reduce" in desk.call("why", "hanging").text


def test_a_script_that_keeps_every_batch_is_warned_of(leaking: tuple[Desk, Call]) -> None:
    desk, run = leaking
    said = run.end()
    assert said.code == 0, said.text  # a warning: the leak may outlast the run
    finding = desk.findings("leaking")["MemoryGrowth"]
    assert finding["severity"] == "warning"
    assert "memory of the ranks on host 0 grew by" in finding["evidence"]
