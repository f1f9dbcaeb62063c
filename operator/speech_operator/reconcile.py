"""The whole decision of the operator: one snapshot and the time in, one plan out. Called by `controller`. Pure.

Policies run in a fixed order until one has decided. Health is always taken over, whatever was decided, so
that the verdict which ended a job is in its status.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from speech_contract.status import JobRuntime, JobStatus
from speech_operator import budgets, goodput, numbers
from speech_operator import status as st
from speech_operator.plan import Draft, Plan
from speech_operator.policies import Policy
from speech_operator.policies.cleanup import cleanup
from speech_operator.policies.deadline import deadline
from speech_operator.policies.exclusion import exclusion
from speech_operator.policies.failure import failure
from speech_operator.policies.gang import gang
from speech_operator.policies.hands_off import hands_off
from speech_operator.policies.health import health, new_attempt
from speech_operator.policies.node_loss import node_watch
from speech_operator.policies.queueing import queue_end, queueing
from speech_operator.policies.release import release
from speech_operator.policies.restart import restart
from speech_operator.policies.resumed import resumed
from speech_operator.policies.run_directory import run_directory
from speech_operator.policies.starting import starting
from speech_operator.policies.stuck import stuck
from speech_operator.policies.success import success
from speech_operator.policies.suspend import suspend
from speech_operator.policies.ttl import ttl
from speech_operator.policies.validation import validation
from speech_operator.snapshot import Observed

BEFORE_HEALTH: Final[tuple[Policy, ...]] = (
    hands_off,
    validation,
    ttl,
    queue_end,
    cleanup,
    suspend,
    resumed,
    run_directory,
    success,
    queueing,
    deadline,
    failure,
    exclusion,
)
AFTER_HEALTH: Final[tuple[Policy, ...]] = (restart, release, gang, starting, node_watch)


def reconcile(observed: Observed, now: float) -> Plan:
    """Decide what to do about a job. `now` in epoch seconds."""
    generation = observed.job.generation
    draft = Draft(status=dataclasses.replace(observed.job.status, observed_generation=generation))
    draft = _run(BEFORE_HEALTH, observed, draft, now)
    if draft.hands_off:
        return Plan(status=observed.job.status)
    runnable = observed.job.spec is not None or observed.accepted is not None
    if runnable and not st.finished(observed.job.status):
        draft = health(observed, draft, now)
        waiting = numbers.seconds_until_due(observed, now)
        draft = draft.requeued(waiting) if waiting else draft
    draft = _run(AFTER_HEALTH, observed, draft, now)
    draft = stuck(observed, draft, now) if runnable else draft
    status = _settled(observed, draft, now, runnable)
    if runnable:
        status = goodput.accounted(observed, status, now)
    return draft.to(status=status).plan()


def _run(policies: Sequence[Policy], observed: Observed, draft: Draft, now: float) -> Draft:
    for policy in policies:
        if draft.decided:
            break
        draft = policy(observed, draft, now)
    return draft


def _settled(observed: Observed, draft: Draft, now: float, runnable: bool) -> JobStatus:
    """What follows from pods and progress whatever was decided: numbers, and the derived state."""
    status = draft.status
    if runnable and not st.finished(observed.job.status):
        status = dataclasses.replace(status, runtime=_runtime(observed))
        if status.attempt != observed.job.status.attempt:
            status = new_attempt(status, now)
        status = numbers.with_progress(status, observed, now)
        status = _with_budgets(status, observed)
        status = numbers.with_preflight(status, observed)
        status = numbers.with_running(status, observed, now)
        status = numbers.with_clock(status, observed, now)
        status = numbers.with_replicas(status, observed)
        if status.attempt:
            status = dataclasses.replace(status, run_directory=observed.spec.checkpoint.uri)
    return st.with_state(st.with_generation(status))


def _runtime(observed: Observed) -> JobRuntime | None:
    """Without a generation where nobody keeps runtimes: on one machine."""
    ref, found = observed.spec.runtime_ref, observed.job.runtime
    if ref is None:
        return None
    return JobRuntime(ref.kind.value, ref.name, found.generation if found else None)


def _with_budgets(status: JobStatus, observed: Observed) -> JobStatus:
    """New steps give restarts back."""
    policy = observed.spec.run_policy.restarts
    restarts = budgets.progressed(status.restarts, status.progress.step, policy)
    return dataclasses.replace(status, restarts=restarts)
