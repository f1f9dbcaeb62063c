"""What follows an ended attempt: another one, or the end of the job. Budgets live whole in `status.restarts`.

Interruptions are free. The status that counts an attempt is written before its pods are deleted, so a crash
anywhere counts it once.
"""

from __future__ import annotations

import dataclasses

from speech_contract.outcome import Cause, Next
from speech_contract.reasons import NO_CHECKPOINT, Condition, Reason
from speech_contract.status import JobStatus, Restarts
from speech_operator import status as st
from speech_operator.children import POD
from speech_operator.ending import Ending
from speech_operator.plan import Delete, Draft
from speech_operator.policies.cleanup import FAILURE_GRACE_SECONDS
from speech_operator.policies.exclusion import exclude
from speech_operator.snapshot import Observed

OUT_OF_MEMORY_LIMIT = 2  # the same limit of memory is met again: retried once


def restart(seen: Observed, draft: Draft, now: float) -> Draft:
    """End the attempt; start again within the budgets, else fail the job."""
    ending = draft.ending
    if ending is None:
        return draft
    status = st.end_attempt(draft.status, ending.reason, now)
    refusal = _refusal_by_code(ending)
    if refusal is None and ending.counted:
        restarts = st.count_restart(status.restarts, ending.fingerprint)
        refusal = _refusal_by_budget(seen, status, restarts, ending)
        if (
            refusal is not None
        ):  # the causes are worth reading; `counted` says restarts that were made
            restarts = dataclasses.replace(restarts, counted=status.restarts.counted)
        status = dataclasses.replace(status, restarts=restarts)
    draft = draft.to(status=status, status_first=True, decided=True)
    return _fail(draft, ending, *refusal, now) if refusal else _again(seen, draft, ending, now)


Refusal = tuple[Reason | str, str, str]  # reason, message, remedy


def _refusal_by_code(ending: Ending) -> Refusal | None:
    """The exit code alone says that there is no point in going on."""
    if ending.next in (Next.FAIL, Next.COMPLETE):
        return ending.cause, ending.message, ""
    if ending.next is Next.RESTART_CONFIRMED and ending.last_confirmed_step is None:
        message = ending.message
        if NO_CHECKPOINT not in message:
            message = f"{message}; {NO_CHECKPOINT} to go back to"
        return Reason.NO_CONFIRMED_CHECKPOINT, message, ""
    return None


def _refusal_by_budget(
    seen: Observed, status: JobStatus, restarts: Restarts, ending: Ending
) -> Refusal | None:
    budget = seen.spec.run_policy.restarts
    limit = budget.same_cause
    if ending.cause == Cause.OUT_OF_MEMORY.value:
        limit = min(limit, OUT_OF_MEMORY_LIMIT)
    times = st.cause_count(restarts, ending.fingerprint)
    if times >= limit:
        message = f"{ending.cause} for the {_ordinal(times)} time: {ending.message}"
        return Reason.SAME_CAUSE, message, ""
    if status.restarts.counted >= budget.max:
        message = f"the budget of restarts ({budget.max}) is spent; last: {ending.message}"
        remedy = f"{ending.remedy}; runPolicy.restarts.max: {budget.max} is the budget"
        return Reason.RESTART_BUDGET_SPENT, message, remedy
    return None


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


def _fail(
    draft: Draft, ending: Ending, reason: Reason | str, message: str, remedy: str, now: float
) -> Draft:
    failure = st.failure_of(reason, message, ending, remedy)
    status = st.with_failure(draft.status, failure, now)
    return draft.to(status=status).requeued(0.0).told(failure.reason, message, warning=True)


def _again(seen: Observed, draft: Draft, ending: Ending, now: float) -> Draft:
    status = draft.status
    for kind, value in ((Condition.RUNNING, False), (Condition.RESTARTING, True)):
        status = st.with_condition(status, kind, value, ending.cause, ending.message, now)
    status = dataclasses.replace(status, startup=None)
    grace = grace_after(ending.reason.value, seen)
    deletes = [Delete(POD, p.name, p.uid, grace) for p in seen.own_pods if not p.deleting]
    message = f"attempt {status.attempt} ended by {ending.cause}: {ending.message}"
    draft = draft.to(status=status).deleting(*deletes).requeued(0.0)
    draft = draft.told(ending.reason, message, warning=not ending.interrupted)
    return exclude(seen, draft, ending, now)


def grace_after(reason: str | None, seen: Observed) -> int:
    """Time that the other pods of an ended attempt get: all of it where they can still save together."""
    if reason in (Reason.ATTEMPT_INTERRUPTED.value, Reason.SUSPENDED.value):
        return seen.spec.run_policy.termination_grace_period_seconds
    return FAILURE_GRACE_SECONDS
