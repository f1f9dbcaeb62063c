"""A flipped bit on one of several ranks, through the fault hook and the whole product: named, and trained past."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from desk import SCRIPTS, Desk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

WRAP = "SPEECHTRAIN_WRAP_RECIPE"


def toy(desk: Desk, name: str, nodes: int, **more: Any) -> Path:
    """A toy job, one rank a pod; slow enough for its supervisors to act before its end."""
    command = ["python3", str(SCRIPTS / "toy_job.py"), "--pace", "0.1"]
    return desk.manifest(
        name,
        recipe={"custom": {}},
        trainer={"command": command, "env": [{"name": WRAP, "value": "rank_faults:flip_a_bit"}]},
        numNodes=nodes,
        nprocPerNode=1,
        training={"maxSteps": 24, "seed": 3, "logEverySteps": 1, "device": "CPU"},
        checkpoint={"uri": name, "everySteps": 5},
        health={"nonFinite": {"confirmSteps": 3}, "rankDivergence": {"everySteps": 4}},
        **more,
    )


def test_a_flipped_bit_on_one_of_three_ranks_is_named_and_trained_past(desk: Desk) -> None:
    said = desk.call("run", toy(desk, "outvoted", 3))
    assert said.code == 0, said.text  # attempt 2 has no fault
    status = desk.status("outvoted")
    first, second = status["attempts"]
    assert (first["exitCode"], first["cause"]) == (46, "RankDisagrees")
    assert (first["rank"], first["pod"]) == (2, "outvoted-worker-1")
    assert second["resumedFromStep"] == 5  # flipped at 7: what was compared last, and saved
    assert status["restarts"]["counted"] == 1
    assert status["excludedNodes"] == []  # one machine has no other node
    folder = desk.root / "outvoted" / "checkpoints"
    assert not [path.name for path in folder.glob("step-*.a1") if path.name != "step-5.a1"]
    events = (desk.state_root / "default/outvoted/events.jsonl").read_text()
    for words in ("rank 2 against 2 others", "first in decoder", "pod outvoted-worker-1"):
        assert words in events
    why = desk.call("why", "outvoted").text
    assert "1: AttemptFailed RankDisagrees, exit code 46, rank 2 on node" in why


def test_two_ranks_cannot_vote_and_no_node_is_accused(desk: Desk) -> None:
    said = desk.call("run", toy(desk, "tied", 2))
    assert said.code == 0, said.text
    first, second = desk.status("tied")["attempts"]
    assert first["exitCode"] == 46
    assert "rank" not in first
    assert "node" not in first
    assert second["resumedFromStep"] == 5
    events = (desk.state_root / "default/tied/events.jsonl").read_text()
    for words in ("rank 0 against rank 1", "cannot vote", "rank 1: pod tied-worker-0"):
        assert words in events


def test_two_ranks_of_a_sound_voice_raise_nothing(desk: Desk, voice: Path) -> None:
    """Real models, both optimizers, one pod: compared at every other step."""
    path = desk.manifest(
        "sound",
        recipe={"vits": {"preset": "Debug"}},
        data={"train": {"manifest": str(voice / "train.jsonl")}},
        training={"maxSteps": 6, "seed": 7, "globalBatchSize": 4, "logEverySteps": 1, "device": "CPU"},
        nprocPerNode=2,
        checkpoint={"uri": "sound", "everySteps": 4},
        health={"rankDivergence": {"everySteps": 2}},
        strategicLogging={"enabled": False},
    )  # fmt: skip
    said = desk.call("run", path)
    assert said.code == 0, said.text
    status = desk.status("sound")
    found = [f for f in status["health"]["findings"] if f["rule"] == "RankDivergence"]
    assert [f for f in found if "weights" in f["evidence"]] == []
    log = (desk.root / "sound" / "events.jsonl").read_text()
    assert "ranks_disagree" not in log
    assert json.loads(log.splitlines()[-1])["event"] == "training_finished"
