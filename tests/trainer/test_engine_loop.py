"""The loop on one rank: what it reports, how it resumes, rolls back, gives up and is interrupted."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from torch import Tensor

from speech_contract import outcome, paths
from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.report import MAX_BAD_SAMPLES, BadStep
from speech_contract.run_config import ResumeFrom
from speech_contract.thresholds import HealthMode, OnExceeded
from speech_trainer.errors import NonFiniteBudgetSpent


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> list[str]:
    """Names of tensors that differ."""
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def steps(first: int, last: int) -> tuple[int, int]:
    """Sampler positions of steps first..last of an undisturbed single-rank run."""
    return ((first - 1) * toy.BATCH, last * toy.BATCH)


class Stops(BaseException):
    """Stands for a process that is gone: no handler of the engine may catch it."""


def killed_at(step: int) -> type[toy.ToyRecipe]:
    """A recipe that dies in its forward."""

    class Killed(toy.ToyRecipe):
        def train_step(self, built: Any, batch: Any, at: int) -> Any:
            if at == step:
                raise Stops
            return super().train_step(built, batch, at)

    return Killed


def interrupted_at(step: int) -> type[toy.ToyRecipe]:
    """A recipe whose process gets SIGTERM in the middle of a step."""

    class Interrupted(toy.ToyRecipe):
        def train_step(self, built: Any, batch: Any, at: int) -> Any:
            if at == step:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().train_step(built, batch, at)

    return Interrupted


def test_a_run_trains_evaluates_saves_and_exports(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path, training={"max_steps": 12, "evaluate_every_steps": 6}))
    assert run.run() == outcome.EXIT_DONE
    assert run.said.last.step == run.said.last.updates == run.said.last.total_steps == 12
    assert run.said.last.phase is Phase.DONE
    assert run.said.last.gated
    assert run.said.steps_of(Event.EVALUATION_FINISHED) == [6, 12]
    assert run.said.steps_of(Event.CHECKPOINT_SAVED) == [5, 10, 12]
    assert run.said.steps_of(Event.CHECKPOINT_CONFIRMED) == [5]
    assert run.said.last.evaluation == {"distance": 0.5}
    assert run.said.last.last_confirmed_step == 5
    assert run.recipe.exported == tmp_path / "export"
    assert run.recipe.stream.closed
    result = json.loads((tmp_path / paths.RESULT).read_text())
    assert result["baselines"] == {"constant": {"distance": 1.0}}
    assert result["samples"] == ["samples/step-12.txt"]
    assert json.loads((tmp_path / paths.CONFIG).read_text())["recipe"] == "toy"
    assert [step for step, _ in run.said.sections] == [1]


def test_reports_carry_losses_on_log_steps_and_counters_on_every_step(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path, training={"max_steps": 6, "log_every_steps": 3}))
    run.run()
    training = [d for d in run.said.datagrams if d.phase is Phase.TRAINING]
    assert [d.step for d in training] == [1, 2, 3, 4, 5, 6]
    assert [d.step for d in training if d.losses] == [3, 6]
    assert [d.updates for d in training] == [0, 1, 2, 3, 4, 5]  # flags are read one step late
    assert set(training[2].losses or {}) == {"d/total", "g/adversarial", "g/kl", "total"}
    assert training[-1].samples_total == 6 * toy.BATCH
    assert training[-1].audio_seconds_total == 3.0
    assert all(d.step_seconds is not None and d.step_seconds >= 0 for d in training)


def test_every_phase_is_stamped(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path))
    run.run()
    seen = list(dict.fromkeys(phase for _, phase in run.said.phases))
    assert seen == [
        Phase.DATA,
        Phase.RESTORING,
        Phase.PREFLIGHT,
        Phase.FIRST_STEP,
        Phase.TRAINING,
        Phase.STRATEGIC_LOG,
        Phase.CHECKPOINT,
        Phase.EVALUATION,
        Phase.FINISHING,
        Phase.DONE,
    ]


def test_modules_without_gradient_are_named_in_the_first_steps(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path), toy.Faults(dead=True))
    run.run()
    training = [d for d in run.said.datagrams if d.phase is Phase.TRAINING]
    assert [d.missing_gradients for d in training[:2]] == [["mapper", "decoder"]] * 2
    assert training[2].missing_gradients == ["mapper", "decoder"]  # the judge trains from step 3
    assert training[7].missing_gradients is None
    assert training[0].gradient_norm == 0.0


def test_reports_with_losses_announce_the_part_that_starts_late(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path))
    run.run()
    logged = [d for d in run.said.datagrams if d.losses is not None]
    assert logged
    assert all(d.active_from == {"d": 3} for d in logged)


def test_a_healthy_run_misses_no_gradient_and_the_late_part_is_looked_at(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path))
    run.run()
    training = [d for d in run.said.datagrams if d.phase is Phase.TRAINING]
    assert [d.missing_gradients for d in training] == [[]] * 7 + [None] * 5


@pytest.mark.parametrize("every", [1, 7])
def test_evaluation_and_strategic_log_do_not_disturb_training(tmp_path: Path, every: int) -> None:
    plain = toy.make(toy.make_config(tmp_path / "a"))
    config = toy.make_config(tmp_path / "b", training={"evaluate_every_steps": every})
    logging = dataclasses.replace(config.strategic_logging, every_steps=every)
    busy = toy.make(dataclasses.replace(config, strategic_logging=logging))
    assert plain.run() == busy.run() == 0
    assert equal(plain.tensors, busy.tensors) == []


def test_a_failing_strategic_log_and_a_failing_reporter_end_nothing(tmp_path: Path) -> None:
    class Broken(toy.ToyRecipe):
        def strategic_sections(self, built: Any, batch: Any, step: int) -> Any:
            raise RuntimeError("no look")

    run = toy.make(toy.make_config(tmp_path), recipe=Broken)

    def fail(datagram: object) -> None:
        raise OSError("socket gone")

    run.said.send = fail  # type: ignore[method-assign]
    assert run.run() == 0
    assert run.said.steps_of(Event.STRATEGIC_LOG_FAILED) == [1]


def test_killed_and_resumed_equals_undisturbed_bit_for_bit(tmp_path: Path) -> None:
    settings = {"training": {"max_steps": 40}, "checkpoint": {"every_steps": 10}}
    whole = toy.make(toy.make_config(tmp_path / "whole", **settings))
    whole.run()
    first = toy.make(toy.make_config(tmp_path / "cut", **settings), recipe=killed_at(24))
    with pytest.raises(Stops):
        first.run()
    second = toy.make(toy.make_config(tmp_path / "cut", attempt=2, **settings))
    assert second.run() == 0
    assert second.said.last.resumed_from_step == 20
    assert second.recipe.stream.trained == list(range(20 * toy.BATCH, 40 * toy.BATCH))
    assert equal(whole.tensors, second.tensors) == []
    assert whole.engine.schedules.state_dict() == second.engine.schedules.state_dict()
    assert whole.said.last.updates == second.said.last.updates == 40


def test_interrupt_saves_and_resumes_exactly_there(tmp_path: Path) -> None:
    whole = toy.make(toy.make_config(tmp_path / "whole"))
    whole.run()
    first = toy.make(toy.make_config(tmp_path / "cut"), recipe=interrupted_at(7))
    assert first.run() == outcome.EXIT_INTERRUPTED
    assert first.said.last.phase is Phase.SAVING
    assert first.said.last.last_checkpoint_step == 8  # agreed at step 7, read one step late
    second = toy.make(toy.make_config(tmp_path / "cut", attempt=2))
    assert second.run() == 0
    assert second.said.last.resumed_from_step == 8
    assert equal(whole.tensors, second.tensors) == []


def test_a_checkpoint_of_an_earlier_attempt_is_confirmed_by_a_later_one(tmp_path: Path) -> None:
    toy.make(
        toy.make_config(tmp_path), recipe=interrupted_at(6)
    ).run()  # saves 5 and 7, provisional
    second = toy.make(toy.make_config(tmp_path, attempt=2))
    second.run()
    assert second.said.steps_of(Event.CHECKPOINT_CONFIRMED)[:2] == [5, 7]


def test_a_bad_step_changes_nothing_and_the_schedule_follows_commits(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(4, 4), steps(7, 8)))
    run = toy.make(toy.make_config(tmp_path, non_finite={"skip_budget": 5}), faults)
    run.run()
    training = {d.step: d for d in run.said.datagrams if d.phase is Phase.TRAINING}
    rates = [training[step].learning_rate for step in range(1, 13)]
    commits = [0, 1, 2, 3, 3, 4, 5, 5, 5, 6, 7, 8]  # before each step; 4, 7 and 8 are bad
    assert rates == pytest.approx([1e-3 / (1 + n / 10) for n in commits])
    assert run.said.last.updates == 9
    assert run.said.last.non_finite_steps == 3
    assert run.said.last.bad_step == 8
    assert run.said.last.bad_component == "g/adversarial"
    assert run.said.last.bad_module == "mapper"
    assert run.said.last.rollbacks == 0
    first = BadStep(4, "g/adversarial", "mapper", 0)  # the oldest that counts
    assert run.said.last.first_bad == first


def test_a_checkpoint_followed_by_a_bad_step_is_quarantined(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(7, 7),))
    run = toy.make(toy.make_config(tmp_path), faults)
    run.run()
    assert run.said.steps_of(Event.CHECKPOINT_QUARANTINED) == [5]
    assert run.said.steps_of(Event.CHECKPOINT_CONFIRMED) == []


def test_a_checkpoint_saved_amid_bad_steps_is_quarantined_at_once(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(10, 10),))
    run = toy.make(toy.make_config(tmp_path, training={"max_steps": 11}), faults)
    run.run()
    assert run.said.steps_of(Event.CHECKPOINT_QUARANTINED) == [10]


def test_nan_after_a_confirmed_checkpoint_rolls_back_skips_the_window_and_completes(
    tmp_path: Path,
) -> None:
    bad = steps(13, 17)  # five steps
    config = toy.make_config(tmp_path, training={"max_steps": 30})
    run = toy.make(config, toy.Faults(positions=(bad,)))
    assert run.run() == 0
    last = run.said.last
    assert (last.rollbacks, last.step, last.non_finite_steps) == (1, 30, 5)
    assert last.discarded_steps == 12  # from step 17 back to 5: step 10 was not confirmed yet
    assert (last.steps_total, last.updates) == (42, 37)
    skip = json.loads(paths.skip_file(tmp_path, 1, 1).read_text())
    assert skip["windows"] == [list(bad)]
    replayed = run.recipe.stream.trained[17 * toy.BATCH :]
    assert replayed[0] == 5 * toy.BATCH
    assert not set(range(*bad)) & set(replayed)
    assert replayed == sorted(replayed)
    assert any("rolled back from step 17 to 5" in d.message for d in run.said.datagrams)
    assert last.first_bad is not None
    assert (last.first_bad.step, last.bad_step) == (13, 17)


def test_every_later_attempt_passes_over_the_windows(tmp_path: Path) -> None:
    bad = steps(13, 17)
    config = toy.make_config(tmp_path, training={"max_steps": 30})

    class DiesAfterRollback(toy.ToyRecipe):
        def train_step(self, built: Any, batch: Any, at: int) -> Any:
            if at == 8 and len(self.stream.trained) > 17 * toy.BATCH:
                raise Stops
            return super().train_step(built, batch, at)

    with pytest.raises(Stops):
        toy.make(config, toy.Faults(positions=(bad,)), recipe=DiesAfterRollback).run()
    second = toy.make(dataclasses.replace(config, attempt=2), toy.Faults(positions=(bad,)))
    assert second.run() == 0
    assert second.said.last.non_finite_steps == 0
    assert not set(range(*bad)) & set(second.recipe.stream.trained)


def test_a_replay_after_a_roll_back_equals_a_run_that_never_saw_the_window(tmp_path: Path) -> None:
    bad = steps(13, 17)
    config = toy.make_config(tmp_path / "a", training={"max_steps": 20})
    rolled = toy.make(config, toy.Faults(positions=(bad,)))
    rolled.run()
    spared = toy.make(toy.make_config(tmp_path / "b", training={"max_steps": 20}))
    skips = paths.skip_file(tmp_path / "b", 1, 1)
    skips.parent.mkdir(parents=True)
    skips.write_text(json.dumps({"windows": [list(bad)]}))
    spared.run()
    assert equal(rolled.tensors, spared.tensors) == []


def test_divergence_without_a_confirmed_checkpoint_ends_with_component_and_module(
    tmp_path: Path,
) -> None:
    run = toy.make(
        toy.make_config(tmp_path, training={"max_steps": 100}), toy.Faults(learning_rate=1e4)
    )
    with pytest.raises(
        NonFiniteBudgetSpent, match=r"loss g/kl, module mapper.*no confirmed"
    ) as spent:
        run.run()
    assert spent.value.exit_code == outcome.EXIT_NON_FINITE
    assert all(tensor.isfinite().all() for tensor in run.tensors.values())


def test_roll_backs_are_bounded(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(12, 400),))
    run = toy.make(toy.make_config(tmp_path, training={"max_steps": 60}), faults)
    with pytest.raises(NonFiniteBudgetSpent, match="roll-backs are spent"):
        run.run()
    assert run.said.last.rollbacks == 2


@pytest.mark.parametrize(
    ("action", "mode"),
    [
        (OnExceeded.WARN, HealthMode.ENFORCE),
        (OnExceeded.ROLLBACK, HealthMode.NOTIFY),
        (OnExceeded.STOP, HealthMode.OFF),
    ],
)
def test_the_gate_stays_when_nothing_may_act(
    tmp_path: Path, action: OnExceeded, mode: HealthMode
) -> None:
    config = toy.make_config(tmp_path, non_finite={"on_exceeded": action}, health={"mode": mode})
    run = toy.make(config, toy.Faults(positions=(steps(4, 12),)))
    assert run.run() == 0
    assert (run.said.last.updates, run.said.last.non_finite_steps) == (3, 9)
    assert all(tensor.isfinite().all() for tensor in run.tensors.values())


def test_stop_ends_at_once_even_with_a_confirmed_checkpoint(tmp_path: Path) -> None:
    config = toy.make_config(
        tmp_path, training={"max_steps": 30}, non_finite={"on_exceeded": OnExceeded.STOP}
    )
    with pytest.raises(NonFiniteBudgetSpent):
        toy.make(config, toy.Faults(positions=(steps(12, 16),))).run()


def test_bad_steps_at_the_very_end_are_still_counted_and_rolled_back(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(9, 12),))
    run = toy.make(toy.make_config(tmp_path, non_finite={"skip_budget": 3}), faults)
    assert run.run() == 0
    assert (run.said.last.rollbacks, run.said.last.step) == (1, 12)


def test_after_a_health_failure_the_newest_confirmed_is_taken_and_newer_ones_are_dropped(
    tmp_path: Path,
) -> None:
    with pytest.raises(Stops):
        toy.make(toy.make_config(tmp_path), recipe=killed_at(12)).run()  # 5 confirmed, 10 not
    config = toy.make_config(tmp_path, attempt=2, resume_from=ResumeFrom.CONFIRMED)
    with pytest.raises(Stops):
        toy.make(config, recipe=killed_at(6)).run()
    third = toy.make(toy.make_config(tmp_path, attempt=3))
    third.run()
    assert third.said.last.resumed_from_step == 5


def test_a_finished_run_started_again_only_evaluates(tmp_path: Path) -> None:
    toy.make(toy.make_config(tmp_path)).run()
    again = toy.make(toy.make_config(tmp_path, attempt=2))
    assert again.run() == 0
    assert again.recipe.stream.trained == []
    assert again.said.steps_of(Event.EVALUATION_FINISHED) == [12]


@dataclasses.dataclass(frozen=True)
class Named:
    """A sample that a person can look up."""

    audio_filepath: str


@dataclasses.dataclass(frozen=True)
class NamedBatch(toy.ToyBatch):
    utterances: tuple[Named, ...] = ()


class NamedRecipe(toy.ToyRecipe):
    def data(self) -> Any:
        stream, draw = self.stream, self.stream.next_batch

        def named() -> NamedBatch:
            batch = draw()
            names = tuple(Named(f"{position}.wav") for position in batch.positions)
            return NamedBatch(batch.x, batch.positions, utterances=names)

        stream.next_batch = named  # type: ignore[method-assign]
        return stream


def test_the_samples_of_each_first_bad_step_are_told(tmp_path: Path) -> None:
    """Also of a second fault, long after the attempt's one replay record was kept."""
    faults = toy.Faults(positions=(steps(13, 16), steps(33, 36)))
    config = toy.make_config(tmp_path, training={"max_steps": 45})
    run = toy.make(config, faults, recipe=NamedRecipe)
    assert run.run() == 0
    told = {d.first_bad.step: d.first_bad.samples for d in run.said.datagrams if d.first_bad}
    assert run.said.last.rollbacks == 2
    first, second = sorted(told)
    assert told[first][0] == f"{12 * toy.BATCH}.wav"
    assert all(len(names) == min(MAX_BAD_SAMPLES, toy.BATCH) for names in told.values())
    assert told[first] != told[second]
