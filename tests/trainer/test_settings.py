"""A run goes on from a checkpoint by the manifest's settings, and says which ones are new."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy

from speech_contract.events import Event
from speech_trainer.engine.settings import Change, changes, resume_note, settings_of


def run(
    folder: Path, *, uid: str, rate: float = 1e-2, steps: int = 20, name: str = "toy"
) -> toy.Toy:
    """A whole run of one job."""
    config = toy.make_config(folder, uid=uid, name=name, training={"max_steps": steps})
    made = toy.make(config, toy.Faults(learning_rate=rate))
    assert made.run() == 0
    return made


def test_a_quarter_of_the_rate_on_an_ended_run_trains_at_it_from_its_last_step(
    tmp_path: Path,
) -> None:
    run(tmp_path / "run", uid="a", name="first")
    second = run(tmp_path / "run", uid="b", rate=2.5e-3, steps=30)
    assert second.said.last.resumed_from_step == 20
    assert [d.learning_rate for d in second.said.datagrams if d.step == 21 and d.learning_rate] == [
        pytest.approx(2.5e-3 / (1 + 20 / 10))
    ]
    trained = [d for d in second.said.datagrams if d.learning_rate is not None]
    assert [d.learning_rate for d in trained] == pytest.approx([d.planned_rate for d in trained])
    assert second.engine.schedules.state_dict()["g"]["updates"] == 30
    assert second.said.last.resume_note == (
        "goes on from default/first's step 20; changed since step 20: learningRate 0.01 → 0.0025, "
        "training.maxSteps 20 → 30"
    )
    (told,) = [fields for event, fields in second.said.events if event is Event.SETTINGS_CHANGED]
    assert told["changes"] == {"learningRate": [1e-2, 2.5e-3], "training.maxSteps": [20, 30]}


def test_an_attempt_of_the_same_job_with_the_same_settings_has_nothing_to_say(
    tmp_path: Path,
) -> None:
    config = toy.make_config(tmp_path, uid="a")
    toy.make(config).run()
    again = toy.make(toy.make_config(tmp_path, uid="a", attempt=2))
    again.run()
    assert again.said.last.resumed_from_step == config.training.max_steps
    assert again.said.last.resume_note == ""
    assert Event.SETTINGS_CHANGED not in [event for event, _ in again.said.events]


def test_betas_and_decay_are_the_manifests_moments_the_checkpoints(tmp_path: Path) -> None:
    class Heavier(toy.ToyRecipe):
        def build(self):  # type: ignore[no-untyped-def]
            built = super().build()
            for group in built.optimizers["g"].optimizer.param_groups:
                group.update(betas=(0.5, 0.6), weight_decay=0.3, eps=1e-6)
            return built

    first = toy.make(toy.make_config(tmp_path, uid="a"))
    first.run()
    kept = first.tensors
    second = toy.make(toy.make_config(tmp_path, uid="b"), recipe=Heavier)
    second.run()  # nothing left to train: what was restored stands as it was
    (group,) = second.engine.built.optimizers["g"].optimizer.param_groups
    assert (group["betas"], group["weight_decay"], group["eps"]) == ((0.5, 0.6), 0.3, 1e-6)
    moments = [name for name in kept if name.endswith("exp_avg_sq")]
    assert moments
    assert all(second.tensors[name].equal(kept[name]) for name in moments)


def test_changes_are_named_flat_and_a_sentence_stays_short() -> None:
    old = {"a": 1, "gone": True, "same": [1]}
    found = changes(old, {"a": 2.5e-4, "same": [1], "new": "x" * 99})
    assert found == [
        Change("a", 1, 2.5e-4),
        Change("gone", True, None),
        Change("new", None, "x" * 99),
    ]
    text = resume_note(7, "", found)
    assert text.startswith(
        "changed since step 7: a 1 → 0.00025, gone True → unset, new unset → xxx"
    )
    assert len(text) < 120
    assert resume_note(7, "", []) == ""
    assert resume_note(7, "speech/a", []) == "goes on from speech/a's step 7"
    assert "and 4 more" in resume_note(7, "", [Change(str(n), 0, 1) for n in range(10)])


def test_settings_are_the_effective_ones_and_the_training_section(tmp_path: Path) -> None:
    config = toy.make_config(tmp_path, training={"max_steps": 7})
    found = settings_of(config, {"model": {"width": 3}, "rate": 0.1})
    assert found["model.width"] == 3
    assert (found["training.maxSteps"], found["worldSize"]) == (7, 1)
