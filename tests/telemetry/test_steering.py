"""Which checkpoint a Trainer resumes from: the one that was given, and never a quarantined one."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from speech_contract import env, paths
from speech_contract.saves import Handed, Resume, Save
from speech_telemetry import saves
from speech_telemetry.steering import QuarantinedCheckpointError, Steering, resume_path


@pytest.fixture
def out(tmp_path):
    """A Trainer's folder in a run directory: of its checkpoints 5 is confirmed, 10 quarantined."""
    for step, mark in ((5, paths.CONFIRMED), (10, paths.QUARANTINED)):
        (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
        saves.mark(tmp_path, saves.add(tmp_path, Save(step, f"out/checkpoint-{step}")), mark)
    return tmp_path / "out"


def steering(out, resume=None):
    return Steering(Handed(resume).environ({env.RUN_DIR: str(out.parent)}))


@pytest.mark.parametrize(
    ("given", "found", "led"),
    [
        ("checkpoint-5", "checkpoint-10", "checkpoint-5"),
        ("checkpoint-5", None, "checkpoint-5"),
        (None, "checkpoint-10", None),
        (None, "checkpoint-5", "checkpoint-5"),
        (None, None, None),
    ],
)
def test_the_choice_of_the_newest_is_led(out, given, found, led):
    resume = Resume(5, str(out / given)) if given else None
    answer = steering(out, resume).lead(str(out), str(out / found) if found else None)
    assert answer == (str(out / led) if led else None)


def test_another_trainer_s_folder_is_left_alone(out, tmp_path):
    elsewhere = str(tmp_path / "other" / "checkpoint-7")
    resume = Resume(5, str(out / "checkpoint-5"))
    assert steering(out, resume).lead(str(tmp_path / "other"), elsewhere) == elsewhere


def test_trainers_of_the_process_are_led_once(out, monkeypatch):
    module = ModuleType("transformers.trainer")
    module.get_last_checkpoint = lambda folder: f"{folder}/checkpoint-10"
    monkeypatch.setitem(sys.modules, "transformers.trainer", module)
    one = steering(out, Resume(5, str(out / "checkpoint-5")))
    one.listen()
    led = module.get_last_checkpoint
    one.listen()
    assert module.get_last_checkpoint is led
    assert led(str(out)) == str(out / "checkpoint-5")


def test_a_quarantined_one_that_the_script_names_is_refused(out):
    given = steering(out, Resume(5, str(out / "checkpoint-5")))
    refused = given.refusal(str(out / "checkpoint-10"))
    assert isinstance(refused, QuarantinedCheckpointError)
    assert f"resume from {out / 'checkpoint-5'}" in str(refused)
    assert "start from scratch" in str(steering(out).refusal(str(out / "checkpoint-10")))
    assert given.refusal(str(out / "checkpoint-5")) is None
    roundabout = Steering({env.RUN_DIR: str(out / "..")})
    assert roundabout.refusal(f"{out}/../out/checkpoint-10") is not None
    assert Steering({}).refusal(str(out / "checkpoint-10")) is None


def test_the_path_of_what_was_given(out):
    assert resume_path({}) is None
    assert resume_path(Handed(Resume(5, "/out/5")).environ({})) == "/out/5"
    with pytest.raises(LookupError, match=r"step 5 .* call report\.checkpoint\(step, path\)"):
        resume_path(Handed(Resume(5)).environ({}))
