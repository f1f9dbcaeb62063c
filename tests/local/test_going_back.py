"""Scripts that save by themselves, and whose data makes them NaN: they go back by a new attempt, or fail with a reason.

Nothing of theirs is touched. The loop saves every five steps, the Trainer every two; three finite steps confirm.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, Said

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMITS = {"confirmSteps": 3, "skipBudget": 2, "windowSteps": 20}


def run(desk: Desk, name: str, *words: object, **limits: int) -> Said:
    """The loop as a job."""
    health = {"nonFinite": LIMITS | limits}
    return desk.call("run", desk.script(name, "saving_loop.py", *words, health=health))


def marks(run_dir: Path) -> dict[str, set[str]]:
    """Path of each save → its marks."""
    found: dict[str, set[str]] = {}
    for path in sorted((run_dir / "marks").glob("save-*.json")):
        names = {p.suffix[1:] for p in path.parent.glob(f"{path.stem}.*")} - {"json"}
        found[json.loads(path.read_text())["path"]] = names
    return found


def trained(desk: Desk, name: str, attempt: int) -> Any:
    """Positions that an attempt was trained on."""
    return json.loads(desk.rank_log(name, attempt, 0).partition("trained on ")[2])


def test_a_loop_goes_on_from_its_confirmed_save_past_the_data(desk: Desk) -> None:
    said = run(desk, "heals", "--nan", "12:14")
    assert said.code == 0, said.text
    status = desk.status("heals")
    assert [a.get("resumedFromStep") for a in status["attempts"]] == [None, 5]
    assert status["attempts"][0]["cause"] == "NonFiniteBudgetSpent"
    assert status["restarts"]["counted"] == 1
    assert trained(desk, "heals", 2) == [*range(5, 12), *range(15, 33)]
    assert marks(desk.root / "heals")["mine/5.json"] == {"CONFIRMED"}
    # 6 to 15, and what it did until it was ended.
    assert desk.progress("heals", "discardedSteps") >= 10
    text = desk.call("why", "heals").text
    assert (
        "resumed from step 5 was given step 5 (mine/5.json) to go on from and the data at 12 to 14"
        in text
    )


def test_a_nan_that_comes_back_fails_with_its_cause(desk: Desk) -> None:
    """The data is NaN to its end, so past the first window the same step is the first bad one again."""
    said = run(desk, "hopeless", "--nan", "12:4000")
    assert said.code == 40, said.text
    status = desk.status("hopeless")
    assert (status["failure"]["reason"], status["attempt"]) == ("SameCauseAgain", 3)
    assert "first bad step 13" in status["failure"]["message"]
    files = {path.name for path in (desk.root / "hopeless" / "mine").iterdir()}
    assert {"5.json", "10.json"} <= files  # quarantined or not, they are the script's
    assert marks(desk.root / "hopeless")["mine/10.json"] == {"QUARANTINED"}


def test_a_supervisor_killed_between_its_marks_and_the_restart_changes_nothing(desk: Desk) -> None:
    said = run(desk, "killed", "--nan", "12:14", "--kill")
    assert said.code == 0, said.text
    first, second = desk.status("killed")["attempts"]
    assert (first["exitCode"], second["resumedFromStep"]) == (137, 5)
    assert trained(desk, "killed", 2) == [*range(5, 12), *range(15, 33)]


def test_a_script_that_only_prints_fails_at_once_and_is_told_what_it_could_have(desk: Desk) -> None:
    said = run(desk, "prints", "--nan", "12:14", "--silent")
    assert said.code == 40, said.text
    failure = desk.status("prints")["failure"]
    assert (failure["reason"], desk.attempt("prints")) == ("NoConfirmedCheckpoint", 1)
    assert "call report.checkpoint(step, path) after each" in failure["message"]


def test_a_hugging_face_trainer_resumes_from_the_confirmed_one_past_the_data(desk: Desk) -> None:
    """It asks for the newest of its folders, which is quarantined. Step 9 draws positions 32 to 35 of its sampler."""
    words = (
        "--out",
        desk.root / "trainer/out",
        "--telemetry",
        "--steps",
        14,
        "--save-steps",
        2,
        "--poison",
        33,
    )
    health = {"nonFinite": LIMITS | {"skipBudget": 1}}
    said = desk.call("run", desk.script("trainer", "hf_audio_text.py", *words, health=health))
    assert said.code == 0, said.text
    status = desk.status("trainer")
    assert [a.get("resumedFromStep") for a in status["attempts"]] == [None, 4]
    assert desk.progress("trainer", "step") == 14
    skips = json.loads((desk.root / "trainer" / "skips" / "1-1.json").read_text())
    assert (skips["windows"], skips["target"]) == ([[32, 40]], 4)
    assert (desk.root / "trainer/out/checkpoint-14").is_dir()
