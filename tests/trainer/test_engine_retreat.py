"""Beyond the budget: what the engine leaves behind for good, for itself and for every later attempt."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import toy

from speech_contract import outcome, paths
from speech_contract.events import Event
from speech_contract.run_config import ResumeFrom
from speech_trainer.errors import NonFiniteBudgetSpent


def steps(first: int, last: int) -> tuple[int, int]:
    """Sampler positions of the steps `first` to `last` of a quiet run."""
    return (first - 1) * toy.BATCH, last * toy.BATCH


def interrupted_at(step: int) -> type[toy.ToyRecipe]:
    """A recipe whose process gets SIGTERM in the middle of a step."""

    class Interrupted(toy.ToyRecipe):
        def train_step(self, built: Any, batch: Any, at: int) -> Any:
            if at == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().train_step(built, batch, at)

    return Interrupted


def test_exit_40_leaves_the_bad_windows_behind_for_the_next_attempt(tmp_path: Path) -> None:
    """Six bad steps: one roll-back passes over half of them, exit code 40 over the rest; attempt 2 heals."""
    limits = {"max_rollbacks": 1, "skip_budget": 1}
    config = toy.make_config(tmp_path, training={"max_steps": 30}, non_finite=limits)
    faults = toy.Faults(positions=(steps(13, 18),))  # each time it takes three to know
    first = toy.make(config, faults)
    with pytest.raises(NonFiniteBudgetSpent, match=r"3 steps in a row.*roll-backs are spent"):
        first.run()
    assert first.said.last.last_confirmed_step == 5
    assert first.said.last.discarded_steps == 10 + 10
    windows = [json.loads(p.read_text()) for p in sorted((tmp_path / paths.SKIPS).iterdir())]
    assert [w["windows"] for w in windows] == [[list(steps(13, 15))], [list(steps(13, 18))]]
    assert [(w["step"], w["target"]) for w in windows] == [(15, 5), (15, 5)]
    again = dataclasses.replace(config, attempt=2, resume_from=ResumeFrom.CONFIRMED)
    second = toy.make(again, faults)
    assert second.run() == 0
    assert (second.said.last.resumed_from_step, second.said.last.non_finite_steps) == (5, 0)
    assert not set(range(*steps(13, 18))) & set(second.recipe.stream.trained)


def test_scattered_bad_steps_lead_back_beyond_the_first_of_them(tmp_path: Path) -> None:
    """Each was forgiven; together they spend the budget, and what was confirmed in between goes."""
    bad = (steps(12, 12), steps(19, 19), steps(27, 27), steps(33, 33))
    config = toy.make_config(tmp_path, training={"max_steps": 40}, checkpoint={"keep_last": 1})
    run = toy.make(config, toy.Faults(positions=bad))
    assert run.run() == 0
    assert run.said.steps_of(Event.ROLLED_BACK) == [5]
    assert {20, 25} <= set(run.said.steps_of(Event.CHECKPOINT_QUARANTINED))
    skips = json.loads(paths.skip_file(tmp_path, 1, 1).read_text())["windows"]
    assert skips == [list(window) for window in bad]


def test_an_interrupt_amid_a_spent_budget_leaves_from_the_confirmed_checkpoint(
    tmp_path: Path,
) -> None:
    config = toy.make_config(tmp_path, training={"max_steps": 30})
    faults = toy.Faults(positions=(steps(12, 15),))
    first = toy.make(config, faults, recipe=interrupted_at(15))
    assert first.run() == outcome.EXIT_INTERRUPTED
    assert first.said.last.rollbacks == 1
    second = toy.make(dataclasses.replace(config, attempt=2), faults)
    assert second.run() == 0
    assert second.said.last.resumed_from_step == first.said.last.last_checkpoint_step == 7
    assert second.said.last.non_finite_steps == 0


def test_an_attempt_after_a_health_failure_never_starts_over_in_silence(tmp_path: Path) -> None:
    config = toy.make_config(tmp_path, attempt=2, resume_from=ResumeFrom.CONFIRMED)
    with pytest.raises(NonFiniteBudgetSpent, match=r"checkpoint\.uri: no confirmed checkpoint"):
        toy.make(config).run()
