"""One training job as time goes by for it: steps, saves, failures, NaN. Drives the operator's core. Used by
simulate_goodput.py.

One pod stands for the gang, since any failed pod ends the attempt of all. Every stretch of training begins at a
checkpoint, so that what a stretch comes to is arithmetic and no step is walked through.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from speech_contract import names
from speech_contract.api import JobSpec, JobStatus, parse
from speech_contract.api.spec import RestartPolicy
from speech_contract.goodput import seconds_of
from speech_contract.outcome import EXIT_NON_FINITE, Next, fingerprint
from speech_contract.outcome import Outcome as LastWords
from speech_contract.progress import Progress
from speech_contract.reasons import State
from speech_contract.status import Restarts
from speech_contract.thresholds import NonFinite
from speech_operator import budgets
from speech_operator.ending import Ending
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import Endpoints, Job, Observed, Platform, PodPhase, PodRecord
from speech_operator.timestamps import to_text

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
START: Final = 1_800_000_000.0
CONFIRM_STEPS: Final = NonFinite().confirm_steps
UID: Final = "uid"


class Costs(NamedTuple):
    """Seconds of a restart (failure to first step, its detection included), a save and a step; steps between saves."""

    restart: float
    save: float
    step: float
    every: int


class Fault(NamedTuple):
    """A failure: seconds of training after the one before, and the first line of its error."""

    after: float
    cause: str


class Outcome(NamedTuple):
    """What a life came to."""

    ratio: float  # of all its days, those after an early end among them
    parts: dict[str, int]
    attempts: int
    ended: bool  # by a budget, before its time


class Stretch(NamedTuple):
    """Training from a checkpoint on: steps made, steps of the newest save, seconds spent on saves."""

    steps: int
    saved: int
    saving: float


def closed_form(costs: Costs, between: float) -> float:
    """(1 - (restart + (every * step + save) / 2) / between) / (1 + save / (every * step))

    `between`: mean seconds between two failures. A failure costs its restart and half of the way to the next save;
    saves cost their share of what is left.
    """
    cycle = costs.every * costs.step
    lost = (costs.restart + (cycle + costs.save) / 2) / between
    return (1 - lost) / (1 + costs.save / cycle)


def stretch(costs: Costs, seconds: float) -> Stretch:
    """What so many seconds of training come to."""
    training = costs.every * costs.step
    cycles, rest = divmod(seconds, training + costs.save)
    saved = int(cycles) * costs.every
    steps = saved + int(min(rest, training) // costs.step)
    return Stretch(steps, saved, cycles * costs.save)


class Simulated:
    """A job as the operator knows it: its status, and what is told of its pod."""

    def __init__(self, restarts: dict[str, Any]) -> None:
        self.now, self.status, self._pod, self._told = START, JobStatus(), None, None
        self._spec = _spec(restarts)

    def look(self) -> None:
        """One pass."""
        job = Job(
            namespace="speech", name="job", uid=UID, generation=1, resource_version="1", deleting=False,
            managed_by=names.MANAGED_BY, spec=self._spec, problems=(), status=self.status, created=to_text(START),
        )  # fmt: skip
        seen = Observed(
            job=job,
            pods=() if self._pod is None else (self._pod,),
            endpoints=Endpoints("localhost", 1, ("localhost:2",)),
            platform=Platform(local=True, cores=8),
            progress=self._told,
        )
        self.status = reconcile(seen, self.now).status

    def start(self, step: int, seconds: float) -> None:
        """The next attempt: its pod has a node at once, its first step comes after so many seconds."""
        self._pod = self._told = None
        self.look()
        self._pod = PodRecord(
            names.pod_name("job", 0), f"pod-{self.status.attempt}", 0, self.status.attempt, UID,
            phase=PodPhase.RUNNING, node="node", created_at=self.now,
        )  # fmt: skip
        self.look()
        self.now += seconds
        self.tell(step)

    def tell(self, step: int, **fields: Any) -> None:
        """What the supervisor says now."""
        attempt = self.status.attempt
        self._told = Progress(
            version=f"{attempt}.1",
            attempt=attempt,
            step=step,
            running=True,
            updated_at=self.now,
            **fields,
        )
        self.look()

    def fail(self, step: int, code: int, message: str, **fields: Any) -> None:
        """The pod ends."""
        told = LastWords(
            attempt=self.status.attempt, node_rank=0, phase="Training", exit_code=code, message=message, step=step,
            last_confirmed_step=0, **fields,
        )  # fmt: skip
        assert self._pod is not None
        self._pod = dataclasses.replace(
            self._pod, phase=PodPhase.FAILED, exit_code=code, outcome=told, finished_at=self.now
        )
        self.look()


def _spec(restarts: dict[str, Any]) -> JobSpec:
    manifest = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "job"},
        "spec": {
            "recipe": {"custom": {}},
            "checkpoint": {"uri": "runs/job"},
            "trainer": {"command": ["python3", "train.py"]},
            "runPolicy": {"restarts": restarts},
        },
    }
    return parse(manifest, local=True).spec


def live(
    restarts: dict[str, Any],
    costs: Costs,
    faults: Iterator[Fault],
    days: float,
    nans: Iterator[float] | None = None,
    in_place: bool = True,
) -> Outcome:
    """A job of so many days. `nans`: seconds of training between episodes of NaN; `in_place`: as our engine, which
    rolls back without an end of the attempt.
    """
    job, end, step = Simulated(restarts), START + days * DAY, 0
    fails, bad = next(faults), next(nans) if nans else float("inf")
    left = fails.after
    job.start(step, costs.restart)
    rollbacks, discarded, saving = 0, 0, 0.0
    while job.status.state is not State.FAILED:
        seconds = min(left, bad, max(0.0, end - job.now))
        made = stretch(costs, seconds)
        job.now, left, bad = job.now + seconds, left - seconds, bad - seconds
        saving += made.saving
        if job.now >= end:
            job.tell(
                step + made.steps,
                rollbacks=rollbacks,
                discarded_steps=discarded,
                checkpoint_seconds=saving,
            )
            break
        said = {"rollbacks": rollbacks, "discarded_steps": discarded, "checkpoint_seconds": saving}
        if left <= 0:
            job.fail(step + made.steps, 1, fails.cause, **said)
            step, fails = step + made.saved, next(faults)
            left = fails.after
        else:
            assert nans is not None
            bad, back = next(nans), _confirmed(costs, made)
            discarded += made.steps - back
            said["discarded_steps"] = discarded
            if in_place:
                rollbacks += 1
                job.now += costs.save  # read again what was written
                job.tell(step + back, **{**said, "rollbacks": rollbacks})
                step += back
                continue
            job.fail(step + made.steps, EXIT_NON_FINITE, "loss is nan", **said)
            step += back
        if job.status.state is not State.FAILED:
            job.start(step, costs.restart)
            rollbacks, discarded, saving = 0, 0, 0.0
    return _outcome(job, end)


def _confirmed(costs: Costs, made: Stretch) -> int:
    """Steps of the stretch up to its newest save that enough finite steps have followed."""
    return min(made.saved, max(0, made.steps - CONFIRM_STEPS) // costs.every * costs.every)


def _outcome(job: Simulated, end: float) -> Outcome:
    spent = job.status.goodput
    ratio = spent.productive_seconds / (end - START)
    ended = job.status.state is State.FAILED and job.now < end
    return Outcome(ratio, seconds_of(spent), job.status.attempt, ended)


def ended_by(
    restarts: dict[str, Any],
    costs: Costs,
    faults: Iterator[Fault],
    days: float,
    *,
    moves: bool = True,
) -> tuple[float, int] | None:
    """When the budgets end a job, in seconds, and at which attempt; None: not in that time.

    The budgets alone, without the passes around them. `moves`: attempts go on from their saves; else each of them ends
    at the step of the first.
    """
    policy, counts = RestartPolicy.model_validate(restarts), Restarts()
    now, step, saved = START, 0, 0
    for attempt in itertools.count(1):
        fault = next(faults)
        now += costs.restart + fault.after
        if now > START + days * DAY:
            return None
        made = stretch(costs, fault.after)
        step, saved = saved + made.steps, saved + made.saved if moves else 0
        before = budgets.progressed(counts, step, policy)
        cause = fingerprint(1, "", fault.cause)
        ending = Ending("Error", fault.cause, Next.RESTART, True, fingerprint=cause)
        after = budgets.count(before, cause, policy, now)
        if budgets.refusal(before, after, ending, policy, now) is not None:
            return now - START, attempt
        counts = after
    raise AssertionError("faults never end")
