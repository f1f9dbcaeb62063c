"""The training loop, in the order in which it reads; docs/architecture.md follows a NaN through it. Knows no recipe.

    while step < maxSteps:
        1, 2  take this rank's batches, weigh them, move them to the device    (waiting time measured)
        3     recipe.train_step on each: every forward and backward
        4     norms, clip, one MAX-reduce over ranks        → one gate on the device
        5     optimizers, EMA, staged buffers commit under the gate
        6     read the flags of the step before; save, roll back or stop together
        7     report
        8     on cadence: checkpoint, evaluate, strategic log

Called by `speech_trainer.__main__`, once per process. `Engine.run` returns an exit code, or raises TrainerError.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from speech_contract import outcome, paths
from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.reasons import NO_CHECKPOINT
from speech_contract.run_config import RunConfig
from speech_trainer.engine import accumulation, cadence
from speech_trainer.engine.bad_steps import BadSteps
from speech_trainer.engine.best import BestCheckpoint
from speech_trainer.engine.budget import Decision, NonFiniteBudget
from speech_trainer.engine.checkpoints import CheckpointStore, Saved
from speech_trainer.engine.distributed import World, describe
from speech_trainer.engine.flags import LateFlags, StepFlags, Window
from speech_trainer.engine.gate import Gate, Judgement
from speech_trainer.engine.interrupts import Interrupts
from speech_trainer.engine.layouts import choose as choose_layout
from speech_trainer.engine.measures import Measures
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.peers import Peers
from speech_trainer.engine.probe import WeightProbe
from speech_trainer.engine.randomness import seed_all
from speech_trainer.engine.recipe import Batch, Built, DataStream, Recipe, StepRecord
from speech_trainer.engine.reporting import Reporting
from speech_trainer.engine.saver import Saver
from speech_trainer.engine.schedules import LateSchedules
from speech_trainer.engine.settings import Settings
from speech_trainer.engine.state import (
    Counters,
    make_document,
    rank_document,
    rank_seed,
    restore_rank,
)
from speech_trainer.engine.subject import Subject, Surroundings
from speech_trainer.errors import NonFiniteBudgetSpent

T = TypeVar("T")


class Interrupted(Exception):
    """All ranks saved after SIGTERM."""


class Engine:
    """One rank of one attempt."""

    def __init__(self, config: RunConfig, recipe: Recipe, world: World, outside: Outside) -> None:
        self.config, self.recipe, self.world, self.outside = config, recipe, world, outside
        self.run_dir = Path(config.run_dir)
        self.max_steps = config.training.max_steps
        self.reporting = Reporting(
            outside.telemetry,
            outside.events,
            rank=world.rank,
            total_steps=self.max_steps,
            device=describe(world.device),
        )
        store = CheckpointStore(self.run_dir, config.checkpoint.keep_last, outside.files)
        self.saver = Saver(store, world, self.reporting, config)
        self.best = BestCheckpoint(store, self.reporting, self.run_dir, outside.files)
        self.bad_steps = BadSteps(config, world, self.reporting, outside.files)
        self.budget = NonFiniteBudget(config.health.non_finite, config.health.mode)
        self.flags = LateFlags()
        self.counters = Counters()
        self.interrupts = Interrupts()
        writer = outside.strategic if config.strategic_logging.enabled and world.leads else None
        self.strategic = writer and cadence.Strategic(writer, self.reporting)
        self._newest_bad: StepFlags | None = None

    # -- the attempt -------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Train to `maxSteps`. Returns 0, or 75 after an interrupt; raises TrainerError otherwise."""
        with self.interrupts:
            self._build()
            try:
                if not self.outside.preflight_only:
                    self._restore_newest()
                self._check_first()
                if self.outside.preflight_only:
                    self._phase(Phase.DONE)
                    return outcome.EXIT_DONE
                self._train()
                self._finish()
            except Interrupted:
                return outcome.EXIT_INTERRUPTED
            finally:
                self.stream.close()
        return outcome.EXIT_DONE

    def _build(self) -> None:
        training, world = self.config.training, self.world
        seed_all(training.seed)
        effective, facts = self.recipe.effective_config(), self.recipe.run_facts()
        accumulation.check_batch_size(facts, world)
        self.settings = Settings(self.config, effective)
        self.log_every = training.log_every_steps or facts.log_every_steps
        self.best.score = facts.best_score
        self.reporting.phase(0, Phase.DATA)
        self.stream: DataStream = self.recipe.data()
        self.built = self.recipe.build()
        self.layout = choose_layout(self.built, training.precision)
        self.layout.wrap(self.built, world)
        self.saver.layout = self.bad_steps.layout = self.layout
        self.gate = Gate(self.built, world.device, world.rank, world.size, self.layout)
        self.schedules = LateSchedules(self.built.optimizers, world.device)
        self.measures = Measures(self.built, world, self.schedules)
        self._plan = self.measures.plan(self.max_steps, facts)
        if world.leads or self.layout.split:
            self.saver.probe = WeightProbe(self.built, self.schedules, self.layout)
        health = self.config.health
        self.peers = Peers(self.built, world, health.rank_divergence, health.mode, self.layout)
        self.peers.attach(self.built.models)
        seed_all(rank_seed(training.seed, world.rank))
        self.reporting.event(Event.MODEL_BUILT, **self.measures.sizes())
        if world.leads:
            cadence.write_json(self.run_dir / paths.CONFIG, effective)

    def _check_first(self) -> None:
        """The preflight; raises PreflightFailed. Batches that it looked at are trained on all the same."""
        self.reporting.phase(self.counters.step, Phase.PREFLIGHT)
        outside, stream, digest = self.outside, self.stream, self.settings.digest
        around = Surroundings(
            self.world, self.reporting, outside.show, outside.abort, layout=self.layout
        )
        subject = Subject(self.config, self.recipe, self.built, stream, self.counters, digest)
        self.stream = outside.preflight(subject, around)

    def _train(self) -> None:
        self.reporting.event(
            Event.TRAINING_STARTED, step=self.counters.step, total_steps=self.max_steps
        )
        self.reporting.phase(self.counters.step, Phase.FIRST_STEP)
        self.reporting.attach(plan=self._plan)
        self.measures.start(self.counters.step)
        while True:
            while self.counters.step < self.max_steps:
                self._one_step()
            self._act(*self._settle())  # the last step's flags may still roll the run back
            if self.counters.step >= self.max_steps:
                return

    def _finish(self) -> None:
        if self.saver.saved_step != self.counters.step:
            self._save(must=True)  # a run that lost its last steps is not complete
        self.peers.require_agreement(self.counters.step)
        self._evaluate()
        self._phase(Phase.FINISHING)
        self._alone(lambda whole: cadence.export(self.recipe, whole, self.run_dir))
        self.reporting.event(Event.TRAINING_FINISHED, step=self.counters.step)
        self._phase(Phase.DONE)

    def _alone(self, act: Callable[[Built], T]) -> T:
        """Let rank 0 use whole models while the others wait; training stays as it was. All get its answer."""

        def aside() -> T:
            self.saver.check_fence()  # samples, a result or an export will be written
            with cadence.aside(whole, self.world.device):
                return act(whole)

        with self.layout.whole(self.built) as whole:
            return self.world.lead(aside)

    # -- one step ----------------------------------------------------------------------------------------------

    def _one_step(self) -> None:
        batches, window = self._take_batches()  # 1, 2
        step = self.counters.step
        self.bad_steps.taking(step, batches)
        self.gate.begin()
        self.peers.begin(step)
        record = accumulation.train(self.recipe, self.built, self.layout, batches, step)  # 3
        self.counters.count(batches, record)
        judgement = self.gate.judge(record.losses, step, interrupt=self.interrupts.requested)  # 4
        missing = self.measures.missing_gradients(judgement, batches, step)
        # 5
        self.gate.commit(judgement, lambda gate: self.recipe.after_update(self.built, step, gate))
        self.reporting.compared(self.peers.sample(step, judgement, self.measures))
        decision, stop = self._settle(judgement)  # 6
        self._report(judgement, record, missing)  # 7
        self.schedules.advance(judgement.active, judgement.gate)
        self.flags.push(step, window, judgement)
        self._act(decision, stop)
        if self.counters.step == step:  # else rolled back
            self._on_cadence(batches[0], step)  # 8

    def _take_batches(self) -> tuple[list[Batch], Window]:
        self.measures.step_begins()
        stream, first = self.stream, self.stream.position
        batches = [stream.next_batch() for _ in range(stream.micro_batches)]
        self.reporting.facts.data_wait_seconds += self.measures.batch_arrived()
        self.counters.step += 1
        self.counters.steps_total += 1
        weighed = accumulation.weigh(batches, stream.step_count, self.world)
        self.measures.peers_arrived()
        return [batch.to(self.world.device) for batch in weighed], (first, stream.position)

    def _report(self, judgement: Judgement, record: StepRecord, missing: list[str] | None) -> None:
        step = self.counters.step
        logged = self.measures.read(judgement, record) if step % self.log_every == 0 else {}
        self.reporting.phase(step, Phase.TRAINING)
        self.reporting.send(
            self.counters,
            step_seconds=self.measures.step_ends(),
            skipped=self.stream.skipped,
            missing_gradients=missing,
            **logged,
        )

    # -- acting on agreed flags --------------------------------------------------------------------------------

    def _settle(self, later: Judgement | None = None) -> tuple[Decision, bool]:
        """Read the flags that are still unread (one step at most): the same on every rank.

        `later`: the judgement of the step that was trained since.
        """
        decision, stop = Decision.GO_ON, False
        for flags in map(self.bad_steps.named, self.flags.take()):
            self.schedules.settle(bad=flags.bad)
            self.counters.updates += flags.updated
            verdict = self.budget.feed(flags)
            if flags.bad:
                self.reporting.bad_step(flags, self.budget.in_a_row, self.budget.first_bad)
                self.bad_steps.known(flags, self.built, later.gate if later else None)
                self._newest_bad = flags
            self.saver.observe(flags)
            stop = stop or flags.interrupt
            decision = verdict if verdict is not Decision.GO_ON else decision
        return decision, stop

    def _act(self, decision: Decision, stop: bool) -> None:
        if decision is Decision.GO_ON and not stop:
            return
        late_decision, late_stop = self._settle()  # now nothing is in flight
        if late_decision is not Decision.GO_ON:
            decision = late_decision
        if decision is not Decision.GO_ON:
            self._retreat(decision)  # the next step agrees on the interrupt once more
        elif stop or late_stop:
            self._leave()

    def _leave(self) -> None:
        self.reporting.event(Event.INTERRUPTED, step=self.counters.step)
        self._phase(Phase.SAVING)
        if self.saver.saved_step != self.counters.step:
            self._save(must=True, phase=Phase.SAVING)
        self._phase(Phase.SAVING)
        raise Interrupted

    def _retreat(self, decision: Decision) -> None:
        """To the newest confirmed checkpoint, past the data of the bad steps: here, or by a new attempt."""
        self._phase(Phase.RESTORING)
        left, spent = self.counters.step, self.budget.spent
        assert spent is not None  # only a spent budget decides
        cause = self._newest_bad.where if self._newest_bad else ""
        start = self.saver.retreat(left, spent.first_step, self.budget.windows_since, cause)
        if start.target is None:
            self._phase(Phase.RESTORING)  # tells that nothing is confirmed any more
            raise NonFiniteBudgetSpent(
                self.budget.told(self._newest_bad, f"{NO_CHECKPOINT} to roll back to")
            )
        self.reporting.facts.discarded_steps += left - start.target.step
        if decision is Decision.STOP:
            self._phase(Phase.RESTORING)
            raise NonFiniteBudgetSpent(
                self.budget.told(self._newest_bad, "roll-backs are spent or switched off")
            )
        self._roll_back(start.target, start.skips, left, cause)

    def _roll_back(self, target: Saved, skips: list[Window], left: int, cause: str) -> None:
        before = self.counters
        windows = self.budget.windows_since(self._restore(target))
        self.stream.skip(skips)
        self.counters = dataclasses.replace(before, step=target.step)
        self.budget.rolled_back()
        self.reporting.facts.rollbacks += 1
        self.world.lead(self.best.refresh)  # what it named may be quarantined now
        self.reporting.event(
            Event.ROLLED_BACK, step=target.step, left=left, windows=windows, cause=cause
        )
        self.reporting.say(f"rolled back from step {left} to {target.step}: {cause}")
        self._phase(Phase.TRAINING)

    # -- on cadence --------------------------------------------------------------------------------------------

    def _on_cadence(self, batch: Batch, step: int) -> None:
        checkpoint, training = self.config.checkpoint, self.config.training
        if step % checkpoint.every_steps == 0:
            self._act(*self._settle())
            if self.counters.step != step:
                return
            self._save()
        if training.evaluate_every_steps and step % training.evaluate_every_steps == 0:
            if step < self.max_steps:  # the last one is _finish's
                self._evaluate()
        shown = self.config.strategic_logging
        if shown.enabled and (step == 1 or step % shown.every_steps == 0):
            self._show(batch, step)

    def _show(self, batch: Batch, step: int) -> None:
        """The strategic log of rank 0; the others wait for no more than they have to."""
        if self.strategic:
            self._phase(Phase.STRATEGIC_LOG)
        with self.layout.whole(self.built) as whole:
            if self.strategic:
                with cadence.aside(whole, self.world.device):
                    self.strategic.show(self.recipe, whole, batch, step)

    def _evaluate(self) -> None:
        self._phase(Phase.EVALUATION)

        def act(whole: Built) -> bool:
            step, run_dir = self.counters.step, self.run_dir
            result = cadence.evaluate(self.recipe, whole, step, run_dir, self.reporting)
            return self.best.beaten_by(result)

        best = self._alone(act)
        self.reporting.send(self.counters)  # the scores belong to this step, not to the next
        if best:
            self._keep_best()

    def _keep_best(self) -> None:
        """The best evaluation so far: have a checkpoint of its very step, and mark it."""
        step = self.counters.step
        if self.saver.saved_step != step:
            self._act(*self._settle())
            if self.counters.step != step:
                return  # rolled back: these weights are gone
            self._save()
        if self.saver.saved_step == step:
            self.world.lead(self.best.keep)

    def _save(self, *, must: bool = False, phase: Phase = Phase.CHECKPOINT) -> None:
        """Save together; ranks that disagree save nothing: whose weights would it be?"""
        self.reporting.compared(self.peers.check(self.counters.step))
        self._phase(phase)
        if self.peers.distrusted:
            return
        ranks = self.world.gather(rank_document(self.counters, self.world.device))
        document = make_document(ranks, self.schedules, self.stream, self.settings.document())
        self.saver.save(
            self.counters.step,
            lambda: self.layout.collect(self.built),
            document,
            must=must,
            suspicious=self.budget.in_a_row > 0,
            before=self.budget.first_in_window,
        )

    # -- restoring ---------------------------------------------------------------------------------------------

    def _restore_newest(self) -> None:
        self.reporting.phase(0, Phase.RESTORING)
        start = self.saver.open()
        self.world.lead(self.best.refresh)
        if start.target is not None:
            started = time.monotonic()
            self._restore(start.target)
            seconds, saved = time.monotonic() - started, start.target
            self.settings.tell(self.reporting, saved.name, saved.step, start.source, seconds)
        self.stream.skip(start.skips)

    def _restore(self, saved: Saved) -> int:
        """Put everything back to `saved`, in place; returns the sampler position it was saved at."""
        document = self.saver.restore(saved, self.built)
        self.schedules.load_state_dict(document["schedules"])
        self.stream.load_state_dict(document["stream"])
        self.peers.restored()
        self.settings.compare(document)
        self.counters = restore_rank(
            document, self.world.rank, self.config.training.seed, self.world.device
        )
        return int(document["position"])

    def _phase(self, phase: Phase) -> None:
        """Enter a phase that may last, and say so at once with a datagram."""
        self.reporting.phase(self.counters.step, phase)
        self.reporting.send(self.counters)
