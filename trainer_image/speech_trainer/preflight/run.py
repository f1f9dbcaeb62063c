"""The preflight of one attempt, on every rank: cheap checks, trial steps, one table, one verdict.

    with everything put back at the end:
        1  directory, configuration, planned rates, data, ranks, parameters      (on restarts this is all)
        2  three real batches, put back into the stream: what goes in
        3  a trial step on each, one of them as the next step will be, the others with every part active
        4  losses against their formulas, gradients of every module
        5  what changes without a gradient, through a few updates: codebooks
        6  one update of each optimizer: which weights move, does the loss of that batch fall
        7  join the ranks' rows, write, show, decide

Handed to the engine by `speech_trainer.__main__`, called after a checkpoint was restored. Raises PreflightFailed
(exit code 44).
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from speech_contract import codec, outcome, paths
from speech_contract.events import Event
from speech_contract.preflight import (
    Check,
    CheckResult,
    Mark,
    PreflightReport,
    PreflightVerdict,
    Scope,
    bounded,
    summary,
)
from speech_contract.thresholds import HealthMode
from speech_trainer.engine.cadence import write_json
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.files import Files
from speech_trainer.engine.randomness import random_state, set_random_state
from speech_trainer.engine.recipe import Batch, DataStream
from speech_trainer.engine.subject import Subject, Surroundings
from speech_trainer.errors import PreflightFailed
from speech_trainer.preflight import judging, planned, ranks, rehearsal, table, trial
from speech_trainer.preflight.judging import TOTAL, Trial
from speech_trainer.preflight.rewound import Rewound
from speech_trainer.preflight.rows import joined, row, skipped, warning

BATCHES: Final = 3
DOUBTS: Final = 3  # more of them, where a component said the same of all
MERCY: Final = 5.0  # seconds after the limit for the ranks to say so themselves
LEAST_RATE: Final = (
    1e-5  # of an update that must lower the loss; a tenth of it still shows in float32
)
MOST_RATE: Final = 1e-3  # above it an untrained model may overshoot
SMALLER: Final = 10.0  # a step that overshot is tried again, so much smaller
TRIES: Final = 3
FULL_MEMORY: Final = 0.95

T = TypeVar("T")


def run(subject: Subject, around: Surroundings) -> DataStream:
    """Check what the mode asks for. Returns the stream to train on: nothing of it was used up.

    Raises PreflightFailed.
    """
    if subject.config.health.preflight_mode is HealthMode.OFF:
        return subject.stream
    expected = subject.recipe.preflight_checks(subject.built)
    if expected is None:
        around.show(f"recipe {subject.recipe.name} has no preflight\n")
        return subject.stream
    stream = Rewound(subject.stream)
    Preflight(subject, stream, around, expected).run()
    return stream


class OutOfTime(Exception):
    """The limit passed, as all ranks agreed."""


class Preflight:
    """One rank's half."""

    def __init__(
        self, subject: Subject, stream: Rewound, around: Surroundings, expected: Expectations
    ) -> None:
        self._subject, self._stream = subject, stream
        self._around, self._expected = around, expected
        limits = subject.config.health
        self._mode, self._limit = limits.preflight_mode, float(limits.preflight.timeout_seconds)
        self._still = planned.still_modules(subject.built, expected.frozen)
        self._rows: list[CheckResult] = []
        self._began = around.clock()
        # An attempt that resumes, or comes after another, has trained on this model and data already.
        restart = subject.counters.step > 0 or subject.config.attempt > 1
        self._scope = Scope.CHEAP if restart else Scope.FULL

    def run(self) -> None:
        """Check, report, and raise PreflightFailed where the mode says so."""
        guard = threading.Timer(self._limit + MERCY, self._too_late)
        guard.daemon = True
        guard.start()
        try:
            self._check()
        except OutOfTime:
            self._rows.append(self._time(late=True))
        finally:
            guard.cancel()
        self._finish()

    def _check(self) -> None:
        self._cheap()
        if self._scope is Scope.FULL:
            with trial.put_back(
                self._subject.built, self._around.world.device, self._around.layout
            ):
                self._trials()
        self._rows.append(self._time(late=False))

    # -- 1: without a step --------------------------------------------------------------------------------------

    def _cheap(self) -> None:
        subject, world, expected = self._subject, self._around.world, self._expected
        config, built = subject.config, subject.built
        if world.leads:
            run_dir = Path(config.run_dir)
            needed, keep = planned.checkpoint_bytes(built), config.checkpoint.keep_last
            free = Files().free_bytes(run_dir)
            self._rows += planned.run_directory(run_dir, keep, needed, free)
        effective = subject.recipe.effective_config()
        self._rows += planned.effective_config(config, effective, built, expected)
        self._rows += planned.learning_rates(built, config.training.max_steps)
        self._rows += expected.data() if world.leads else []
        self._rows += planned.parameters(built, expected.frozen)
        weights = self._around.layout.fingerprint(built)
        self._rows += ranks.check(weights, world, subject.digest, self._around.clock)

    # -- 2 to 6: trial steps ------------------------------------------------------------------------------------

    def _trials(self) -> None:
        subject, world = self._subject, self._around.world
        steps = self._stream.peek_steps(BATCHES)
        batches = [batch for step in steps for batch in step][:BATCHES]
        self._rows += self._expected.inputs(batches)
        self._rows += self._batch_size(steps)
        plans = subject.built.optimizers.values()
        late = max([self._expected.active_from, *(plan.active_from for plan in plans)])
        random = random_state(world.device)
        first = self._take(batches[0], late)
        gradients = trial.gradients_of(subject.built)
        trials = [first, self._take(batches[1], 1), self._take(batches[2], late)]
        self._judge(trials, self._more(trials, late))
        self._rows += self._rehearse(batches)
        if self._anywhere(self._failed(Check.GRADIENTS, Check.INITIAL_LOSS)):
            self._rows.append(skipped(Check.WEIGHTS, "no sound gradient to step with"))
            self._rows.append(skipped(Check.LOSS_FALLS, "no sound gradient to step with"))
            return
        for name in subject.built.optimizers:
            self._update(name, gradients[name], batches[0], first, random)
        self._rows += self._memory()

    def _more(self, trials: Sequence[Trial], step: int) -> list[Trial]:
        """Further batches while a component says the same of all: two float32 may be equal by chance, a clamp stays."""
        more: list[Trial] = []
        while len(more) < DOUBTS and self._anywhere(bool(judging.unmoved([*trials, *more]))):
            at = BATCHES + len(more)
            ahead = self._stream.peek_steps(at + 1)
            batches = [batch for micro_batches in ahead for batch in micro_batches]
            more.append(self._take(batches[at], step))
        return more

    def _take(self, batch: Batch, step: int) -> Trial:
        """One trial step, once every rank has time for it."""
        if self._anywhere(self._spent() > self._limit):
            raise OutOfTime
        subject, world = self._subject, self._around.world
        taken = trial.take(
            subject.recipe, subject.built, batch.to(world.device), step, self._around.layout
        )
        if world.size > 1 and taken.weight > 0 and taken.losses.get(TOTAL, 0.0) == 0.0:
            self._fail_alone(taken)
        return dataclasses.replace(taken, norms=self._meant(taken.norms))

    def _meant(self, by_module: Mapping[str, T]) -> dict[str, T]:
        """Of the modules that are meant to train."""
        return {name: value for name, value in by_module.items() if name not in self._still}

    def _rehearse(self, batches: Sequence[Batch]) -> list[CheckResult]:
        """What changes without a gradient, and lasts until everything is put back."""
        act = self._expected.rehearsal
        if act is None:
            return [skipped(Check.CODEBOOKS, "a recipe without codebooks")]
        with trial.put_back(self._subject.built, self._around.world.device, self._around.layout):
            return rehearsal.rehearse(
                self._subject.built, lambda: act(batches), self._around.world, self._around.layout
            )

    def _fail_alone(self, taken: Trial) -> None:
        """A rank that passes over its batch leaves its peers in a reduction for ever: no agreement is possible."""
        if self._mode is HealthMode.ENFORCE:
            rows = judging.initial_losses([taken], self._expected)
            bad = [dataclasses.replace(r, rank=self._around.world.rank) for r in rows]
            self._conclude([r for r in bad if r.mark is Mark.FAILED])

    def _batch_size(self, steps: Sequence[Sequence[Batch]]) -> list[CheckResult]:
        wanted = self._subject.recipe.run_facts().global_batch_size
        if wanted is None:
            return []
        shares = self._around.world.gather([sum(b.samples for b in step) for step in steps])
        sizes = [sum(share) for share in zip(*shares, strict=True)]
        # A sample that could not be replaced leaves its place empty, and is counted elsewhere.
        good = max(sizes) == wanted
        remedy = "look at the sampler and the collate function"
        field = "globalBatchSize of real batches"
        make = row if max(sizes) > wanted else warning
        return [make(Check.EFFECTIVE_CONFIG, field, good, max(sizes), wanted, remedy)]

    def _judge(self, trials: Sequence[Trial], more: Sequence[Trial]) -> None:
        if not any(t.weight > 0 for t in trials):
            remedy = "run `speechtrain data validate` on the manifest"
            self._rows.append(
                row(Check.INPUTS, "samples", False, "none usable", f"some in {BATCHES} batches", remedy)
            )  # fmt: skip
            return
        self._rows += judging.initial_losses(trials, self._expected)
        self._rows += judging.components([*trials, *more])
        self._rows += judging.gradients(trials)
        self._rows.append(judging.detached(trials))

    def _update(
        self,
        name: str,
        gradients: list[torch.Tensor | None],
        batch: Batch,
        first: Trial,
        random: dict[str, Any],
    ) -> None:
        """One update of one optimizer at its planned peak, and a small one that must lower its loss."""
        plan, world = self._subject.built.optimizers[name], self._around.world
        max_steps = self._subject.config.training.max_steps
        peak = max(planned.planned_rates(plan, max(1, max_steps - plan.active_from + 1)))
        if peak > 0:
            moved = trial.moved_shares(plan, gradients, peak, self._around.layout)
            self._rows += judging.weights(self._meant(moved), peak)
        if self._anywhere(self._failed(Check.WEIGHTS)):
            self._rows.append(skipped(Check.LOSS_FALLS, f"{name}: an update moves too little"))
            return
        objective = self._expected.objectives.get(name, "")
        if objective not in first.losses:
            self._rows.append(skipped(Check.LOSS_FALLS, f"{name} has no loss of its own"))
            return
        before = self._mean(first.losses[objective])
        tried: dict[float, float] = {}
        rate = min(max(peak / SMALLER, LEAST_RATE), MOST_RATE)
        while len(tried) < TRIES and not any(judging.fallen(before, a) for a in tried.values()):
            with trial.one_update(plan, gradients, rate, self._around.layout):
                set_random_state(random, world.device)
                again = self._take(batch, first.step)
            tried[rate] = self._mean(again.losses.get(objective, 0.0))
            rate /= SMALLER
        self._rows.append(judging.loss_falls(f"{objective} by {name}", before, tried))

    def _memory(self) -> list[CheckResult]:
        device = self._around.world.device
        if device.type != "cuda":
            return []
        used = torch.cuda.max_memory_allocated(device)
        total = torch.cuda.get_device_properties(device).total_memory
        shown = f"{used / total:.0%} of {total / 1e9:.0f} GB at most"
        remedy = "lower training.microBatchSize: a longer batch than these may not fit"
        limit = f"below {FULL_MEMORY:.0%}"
        return [
            warning(Check.MEMORY, "device", used < FULL_MEMORY * total, shown, limit, remedy)
        ]  # fmt: skip

    # -- 7: the verdict ----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        by_rank = self._around.world.gather(self._rows)
        self._conclude(joined(by_rank))

    def _conclude(self, rows: list[CheckResult]) -> None:
        report = self._report(rows)
        around, reporting = self._around, self._around.reporting
        alone = any(r.rank == around.world.rank for r in report.failed)
        reporting.facts.preflight = bounded(report)
        if around.world.leads or alone:
            write_json(Path(self._subject.config.run_dir) / paths.PREFLIGHT, vars(report))
            reporting.event(Event.PREFLIGHT_FINISHED, **codec.to_document(report))
            around.show("\n".join([*table.lines(report), ""]))
        if report.verdict is PreflightVerdict.FAILED:
            reporting.send(self._subject.counters)
            raise PreflightFailed(summary(report.failed))

    def _report(self, rows: list[CheckResult]) -> PreflightReport:
        failed = any(r.mark is Mark.FAILED for r in rows)
        verdict = PreflightVerdict.PASSED
        if failed:
            acts = self._mode is HealthMode.ENFORCE
            verdict = PreflightVerdict.FAILED if acts else PreflightVerdict.WOULD_HAVE_FAILED
        return PreflightReport(
            verdict, round(self._spent(), 3), self._scope, len(rows), table.count(rows, Mark.WARNED), tuple(rows)
        )  # fmt: skip

    def _too_late(self) -> None:
        """In a thread of its own, while the rank hangs in a step or a reduction."""
        report = self._report([*self._rows, self._time(late=True)])
        if self._mode is not HealthMode.ENFORCE:
            return  # rule Stalled takes over
        self._around.reporting.facts.preflight = bounded(report)
        self._around.reporting.send(self._subject.counters)
        message = f"{PreflightFailed.__name__}: {summary(report.failed)}"
        self._around.abort(outcome.EXIT_PREFLIGHT, message)

    def _time(self, *, late: bool) -> CheckResult:
        remedy = "raise health.preflight.timeoutSeconds, or look at what hangs: the ranks' logs"
        limit = f"at most {self._limit:g} s"
        field = "health.preflight.timeoutSeconds"
        return row(Check.TIME, field, not late, f"{self._spent():.1f} s", limit, remedy)

    def _spent(self) -> float:
        return self._around.clock() - self._began

    def _failed(self, *checks: Check) -> bool:
        return any(r.mark is Mark.FAILED and r.check in checks for r in self._rows)

    def _anywhere(self, mine: bool) -> bool:
        return any(self._around.world.gather(mine))

    def _mean(self, value: float) -> float:
        values = self._around.world.gather(value)
        return sum(values) / len(values)
