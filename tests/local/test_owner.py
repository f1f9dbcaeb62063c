"""A run directory has one job at a time, and a remedy can be followed: whole jobs by the real command line."""

from __future__ import annotations

from pathlib import Path

from desk import SCRIPTS, Desk

from speech_contract import env
from speech_telemetry.ownership import place_of

TRAINING = {"maxSteps": 12, "seed": 3, "logEverySteps": 1, "device": "CPU"}


def toy(desk: Desk, name: str, *words: object, uri: str = "run", **training: object) -> Path:
    """A toy job that saves every five steps."""
    command = ["python3", str(SCRIPTS / "toy_job.py"), *map(str, words)]
    return desk.manifest(
        name,
        recipe={"custom": {}},
        trainer={"command": command},
        training=TRAINING | training,
        checkpoint={"uri": uri, "everySteps": 5},
        health={"stall": {"floorSeconds": 600}},  # who waits at a gate has not stalled
    )


def test_a_second_living_job_is_refused_by_the_name_of_the_owner(desk: Desk) -> None:
    gate = desk.root / "gate"
    first = desk.start("run", toy(desk, "first", "--hold", f"1:4:{gate}"))
    desk.holds("first", 1, gate, 1)

    beside = desk.call("run", toy(desk, "second"))  # this state folder: before any pod starts
    assert beside.code == 64
    for text in ("checkpoint.uri", "belongs to job default/first", "speechtrain suspend first"):
        assert text in beside.text
    assert desk.document("second") == {}

    elsewhere = {env.LOCAL_STATE: str(desk.root / "another-state")}
    fenced = desk.call("run", toy(desk, "third"), **elsewhere)  # as from another cluster
    assert fenced.code == 64
    assert "belongs to job default/first on this machine, which has not ended" in fenced.text

    gate.touch()
    ended = first.end()
    assert ended.code == 0, ended.text
    assert desk.progress("first", "step") == 12
    assert desk.rank_log("run", 1, 0).count("training_finished") == 1

    # Its own log, from the other's step.
    after = desk.call("run", toy(desk, "second", "--rate", 2.5e-4, maxSteps=15))
    assert after.code == 0, after.text
    assert "the run directory was job default/first on this machine's" in after.text
    (attempt,) = desk.status("second")["attempts"]
    assert attempt["resumeNote"] == (
        "goes on from default/first's step 12; changed since step 12: learningRate 0.001 → 0.00025, "
        "training.maxSteps 12 → 15"
    )
    why = desk.call("why", "second")
    assert "goes on from default/first's step 12" in why.text
    assert desk.rank_log("run", 1, 0).count("training_finished") == 1
    first_uid = desk.document("first")["metadata"]["uid"]
    kept = place_of(desk.root / "run", first_uid) / "logs/attempt-1/rank-0.log"
    assert "training_started" in kept.read_text(encoding="utf-8")
