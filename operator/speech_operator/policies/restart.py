"""What follows an ended attempt: another one, or the end of the job. Budgets live whole in `status.restarts`.

Interruptions are free. The status that counts an attempt is written before its pods are deleted, so a crash
anywhere counts it once.
"""

from __future__ import annotations

import dataclasses

from speech_contract.outcome import EXIT_NON_FINITE, Next, fingerprint_head
from speech_contract.progress import Rule
from speech_contract.reasons import NO_CHECKPOINT, Condition, Reason
from speech_contract.status import JobStatus, Restarts
from speech_operator import budgets
from speech_operator import status as st
from speech_operator.accounts import accounts
from speech_operator.budgets import Refusal
from speech_operator.children import POD
from speech_operator.ending import Ending
from speech_operator.plan import Delete, Draft
from speech_operator.policies.cleanup import FAILURE_GRACE_SECONDS
from speech_operator.policies.exclusion import exclude
from speech_operator.snapshot import Observed


def restart(seen: Observed, draft: Draft, now: float) -> Draft:
    """End the attempt; start again within the budgets, else fail the job."""
    ending = draft.ending
    if ending is None:
        return draft
    status = st.end_attempt(draft.status, ending.reason, now)
    refusal = _refusal_by_code(ending)
    if refusal is None and ending.counted:
        ending = dataclasses.replace(ending, fingerprint=_fingerprint(seen, ending))
        status, refusal = _charged(seen, status, ending, now)
    draft = draft.to(status=status, status_first=True, decided=True)
    return _fail(draft, ending, *refusal, now) if refusal else _again(seen, draft, ending, now)


def _fingerprint(seen: Observed, ending: Ending) -> str:
    """Of a stranger's NaN its step is part of the cause: past the data of the last one, another is another."""
    step = ending.non_finite_step
    if seen.spec.recipe.custom is None or step is None:
        return ending.fingerprint
    return f"{ending.fingerprint}/{step}"


def _refusal_by_code(ending: Ending) -> Refusal | None:
    """The exit code alone says that there is no point in going on."""
    if ending.next in (Next.FAIL, Next.COMPLETE):
        return Refusal(ending.cause, ending.message, "")
    if ending.next is Next.RESTART_CONFIRMED and ending.last_confirmed_step is None:
        message = ending.message
        if NO_CHECKPOINT not in message:
            message = f"{message}; {NO_CHECKPOINT} to go back to"
        return Refusal(Reason.NO_CONFIRMED_CHECKPOINT, message, "")
    return None


def _charged(
    seen: Observed, status: JobStatus, ending: Ending, now: float
) -> tuple[JobStatus, Refusal | None]:
    """Charge the budgets with the restart; of one that is not made the causes alone, which are worth reading."""
    budget = seen.spec.run_policy.restarts
    steps = [status.progress.step, ending.step, *(told.step for told in accounts(seen))]
    farthest = max((step for step in steps if step is not None), default=None)
    before = budgets.progressed(status.restarts, farthest, budget)
    after = budgets.count(before, ending.fingerprint, budget, now)
    refusal = budgets.refusal(before, after, ending, budget, now)
    if refusal is None or refusal.reason is not Reason.SAME_CAUSE:
        refusal = _by_rollbacks(seen, after, ending) or refusal
    if refusal is not None:
        after = dataclasses.replace(before, causes=after.causes)
    return dataclasses.replace(status, restarts=after), refusal


def _by_rollbacks(seen: Observed, after: Restarts, ending: Ending) -> Refusal | None:
    """Of a script that saves by itself a new attempt is the roll-back, and `maxRollbacks` its budget."""
    backs, limit = _times_back(after), seen.spec.health.non_finite.max_rollbacks
    if seen.spec.recipe.custom is None or ending.non_finite_step is None or backs <= limit:
        return None
    message = f"non-finite steps for the {budgets.ordinal(backs)} time: {ending.message}"
    remedy = budgets.go_on(ending, f"health.nonFinite.maxRollbacks: {limit}")
    return Refusal(Reason.RESTART_BUDGET_SPENT, message, remedy)


def _times_back(restarts: Restarts) -> int:
    """Attempts that rule NonFinite ended since progress gave restarts back."""
    ours = fingerprint_head(EXIT_NON_FINITE, Rule.NON_FINITE.value)
    return sum(cause.count for cause in restarts.causes if cause.fingerprint.startswith(ours))


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
    saved = (Reason.ATTEMPT_INTERRUPTED, Reason.SUSPENDED, Reason.EVICTED)
    if reason in {one.value for one in saved}:
        return seen.spec.run_policy.termination_grace_period_seconds
    return FAILURE_GRACE_SECONDS
