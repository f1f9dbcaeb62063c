"""The budgets of restarts as arithmetic on `status.restarts`, which holds all of it. Pure.

Called by the `restart` policy when an attempt has failed, and by `reconcile` for what progress takes back. Three
budgets, each against another kind of waste: `sameCause` against a fault that comes again, `perWindow` against many
restarts in a short time, however far each attempt gets, `max` against those that get nowhere.
"""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple

from speech_contract.api.spec import RestartPolicy
from speech_contract.outcome import Cause
from speech_contract.reasons import Reason
from speech_contract.status import CauseCount, Restarts
from speech_operator.ending import Ending
from speech_operator.timestamps import to_epoch, to_text

OUT_OF_MEMORY_LIMIT: Final = 2  # the same limit of memory is met again: retried once
MAX_CAUSES: Final = 32  # distinct causes kept; the least frequent, oldest gives way
FIELD: Final = "runPolicy.restarts"
ANOTHER: Final = "a new job with the same checkpoint.uri"


class Refusal(NamedTuple):
    """Why no other attempt follows."""

    reason: Reason | str
    message: str
    remedy: str


def progressed(restarts: Restarts, step: int | None, budget: RestartPolicy) -> Restarts:
    """Take the newest step in; after enough steps that no attempt had reached, the counts begin anew.

    An older build wrote no step beside its counts: new steps count from the first that is heard of.
    """
    total = max(restarts.total, restarts.counted)
    farthest = max((s for s in (restarts.farthest_step, step) if s is not None), default=None)
    restarts = dataclasses.replace(restarts, total=total, farthest_step=farthest)
    if farthest is None or not (restarts.counted or restarts.causes):
        return restarts
    since = restarts.last_reset_step
    if since is None:
        return dataclasses.replace(restarts, last_reset_step=farthest)
    if not budget.reset_after_steps or farthest - since < budget.reset_after_steps:
        return restarts
    return dataclasses.replace(restarts, counted=0, causes=(), last_reset_step=farthest)


def count(restarts: Restarts, cause: str, budget: RestartPolicy, now: float) -> Restarts:
    """One more counted failure of this cause; "": of one that nobody knows, which is no other's."""
    times = (*recent(restarts, budget, now), to_text(now))
    return dataclasses.replace(
        restarts,
        counted=restarts.counted + 1,
        total=restarts.total + 1,
        causes=_with_cause(restarts, cause, budget, now) if cause else restarts.causes,
        window_times=times[-budget.per_window.max :],
        last_reset_step=restarts.farthest_step,
    )


def recent(restarts: Restarts, budget: RestartPolicy, now: float) -> tuple[str, ...]:
    """When the restarts were counted that the window still holds."""
    return tuple(t for t in restarts.window_times if _within(t, budget, now))


def _within(moment: str, budget: RestartPolicy, now: float) -> bool:
    return now - to_epoch(moment) < budget.per_window.seconds


def _with_cause(
    restarts: Restarts, cause: str, budget: RestartPolicy, now: float
) -> tuple[CauseCount, ...]:
    counts = {entry.fingerprint: entry for entry in restarts.causes}
    old = counts.pop(cause, None)
    before = 0 if old is None or _lapsed(restarts, old, budget, now) else old.count
    counts[cause] = CauseCount(cause, before + 1, to_text(now))
    while len(counts) > MAX_CAUSES:
        counts.pop(min(counts, key=lambda name: (name == cause, counts[name].count)))
    return tuple(counts.values())


def _lapsed(restarts: Restarts, entry: CauseCount, budget: RestartPolicy, now: float) -> bool:
    """Of a script that tells no step nobody knows of progress: there time alone parts one fault from another."""
    if restarts.farthest_step is not None or entry.last_time is None:
        return False
    return not _within(entry.last_time, budget, now)


def cause_count(restarts: Restarts, cause: str) -> int:
    """How often this cause was counted."""
    return next((entry.count for entry in restarts.causes if entry.fingerprint == cause), 0)


def refusal(
    before: Restarts, after: Restarts, ending: Ending, budget: RestartPolicy, now: float
) -> Refusal | None:
    """The first budget that has no room for the attempt after this ending. `after`: `before` with it counted."""
    return (
        _by_cause(after, ending, budget)
        or _by_window(before, ending, budget, now)
        or _by_count(before, ending, budget)
    )


def _by_cause(after: Restarts, ending: Ending, budget: RestartPolicy) -> Refusal | None:
    limit, why = budget.same_cause, f"{FIELD}.sameCause: {budget.same_cause}"
    remedy = go_on(ending, why)
    if ending.cause == Cause.OUT_OF_MEMORY.value and limit > OUT_OF_MEMORY_LIMIT:
        limit, why = OUT_OF_MEMORY_LIMIT, "a limit of memory is met again, whatever sameCause says"
        remedy = _beside(ending, f"{ANOTHER} resumes")
    times = cause_count(after, ending.fingerprint)
    if times < limit:
        return None
    apart = "" if times < 2 else f" {_apart(after, budget)}"
    message = f"{ending.cause} for the {ordinal(times)} time{apart} ({why}): {ending.message}"
    return Refusal(Reason.SAME_CAUSE, message, remedy)


def _apart(restarts: Restarts, budget: RestartPolicy) -> str:
    if restarts.farthest_step is None:
        return f"within {budget.per_window.seconds} s of the last"
    if not budget.reset_after_steps:
        return "in this job"
    return f"without {budget.reset_after_steps} new steps between"


def _by_window(
    before: Restarts, ending: Ending, budget: RestartPolicy, now: float
) -> Refusal | None:
    window, made = budget.per_window, len(recent(before, budget, now))
    if made < window.max:
        return None
    message = (
        f"the budget of restarts in a window is spent: {made} within {window.seconds} s, {window.max} are allowed; "
        f"last: {ending.message}"
    )
    allows = f"{FIELD}.perWindow: {{max: {window.max}, seconds: {window.seconds}}}"
    return Refusal(Reason.RESTART_BUDGET_SPENT, message, go_on(ending, allows))


def _by_count(before: Restarts, ending: Ending, budget: RestartPolicy) -> Refusal | None:
    if before.counted < budget.max:
        return None
    steps = budget.reset_after_steps
    between = f", never {steps} new steps from one to the next" if steps and budget.max else ""
    message = f"the budget of restarts ({budget.max}) is spent{between}; last: {ending.message}"
    return Refusal(
        Reason.RESTART_BUDGET_SPENT, message, go_on(ending, f"{FIELD}.max: {budget.max}")
    )


def go_on(ending: Ending, budget: str) -> str:
    """What helps against the last fault, and how to go on all the same."""
    return _beside(ending, f"{budget} is the budget: {ANOTHER} and a larger one resumes")


def _beside(ending: Ending, more: str) -> str:
    return "; ".join(filter(None, (ending.remedy, more)))


def ordinal(number: int) -> str:
    """As a word where it is short: third, 4th."""
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
