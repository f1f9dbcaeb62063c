"""Status arithmetic: conditions, attempts, the derived state. Called by policies and `reconcile`. Pure."""

from __future__ import annotations

import dataclasses

from speech_contract.phases import Phase
from speech_contract.reasons import NO_SPEC, ON_ITS_WAY, Reason, State
from speech_contract.reasons import Condition as Type
from speech_contract.status import (
    MAX_ATTEMPTS,
    Attempt,
    Condition,
    ConditionStatus,
    Failure,
    JobStatus,
)
from speech_operator.ending import Ending
from speech_operator.timestamps import to_epoch, to_text

LIMITS = {"message": 1024, "remedy": 1024, "log_tail": 8192}  # characters kept in status
_ORDER = {kind: index for index, kind in enumerate(Type)}


def condition(status: JobStatus, kind: Type) -> Condition | None:
    """The condition of a type; None until it was first set."""
    return next((c for c in status.conditions if c.type is kind), None)


def is_true(status: JobStatus, kind: Type) -> bool:
    """Whether the condition is there and True."""
    found = condition(status, kind)
    return found is not None and found.status is ConditionStatus.TRUE


def has_reason(status: JobStatus, kind: Type, *reasons: Reason) -> bool:
    """Whether the condition carries one of the reasons."""
    found = condition(status, kind)
    return found is not None and found.reason in {reason.value for reason in reasons}


def with_condition(
    status: JobStatus,
    kind: Type,
    value: bool | None,
    reason: Reason | str,
    message: str,
    now: float,
) -> JobStatus:
    """Set a condition (None = Unknown). `lastTransitionTime` moves only when the status flips."""
    wanted = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE}.get(
        value,  # type: ignore[arg-type]
        ConditionStatus.UNKNOWN,
    )
    old = condition(status, kind)
    since = old.last_transition_time if old and old.status is wanted else to_text(now)
    text = reason.value if isinstance(reason, Reason) else reason
    new = Condition(
        kind, wanted, text, message[: LIMITS["message"]], since, status.observed_generation
    )
    others = [c for c in status.conditions if c.type is not kind]
    ordered = sorted([*others, new], key=lambda c: _ORDER.get(c.type, len(_ORDER)))
    return dataclasses.replace(status, conditions=tuple(ordered))


def with_generation(status: JobStatus) -> JobStatus:
    """Every condition as judged by the generation that was observed: a pass judges all of a job.

    `kubectl wait --for=condition=` passes over one that an older generation was judged by, for ever when nobody
    sets it again.
    """
    seen = status.observed_generation
    kept = (dataclasses.replace(c, observed_generation=seen) for c in status.conditions)
    return dataclasses.replace(status, conditions=tuple(kept))


def finished(status: JobStatus) -> bool:
    """Complete or Failed: nothing starts any more."""
    return is_true(status, Type.COMPLETE) or is_true(status, Type.FAILED)


def open_attempt(status: JobStatus) -> Attempt | None:
    """The attempt that status says is under way; None before the first, between two, and at the end."""
    last = status.attempts[-1] if status.attempts else None
    return last if last and last.number == status.attempt and last.end_time is None else None


def gang_was_whole(status: JobStatus) -> bool:
    """Whether all pods of the open attempt were once seen together: a missing one was then taken away."""
    incomplete = (Reason.ATTEMPT_STARTED, Reason.NAME_TAKEN, Reason.POD_REFUSED)
    cleared = (Reason.GANG_RELEASED, Reason.POD_STUCK, Reason.POD_ABANDONED)
    return not has_reason(status, Type.RUNNING, *incomplete, *cleared)


def gang_is_released(status: JobStatus) -> bool:
    """Whether the pods of the open attempt are given back, and none of them was asked for again yet."""
    return has_reason(status, Type.RUNNING, Reason.GANG_RELEASED)


def unplaced_since(status: JobStatus) -> str | None:
    """Since when the open attempt waits for room for all of its pods; None: it does not."""
    startup = status.startup
    return startup.since if startup and startup.phase is Phase.SCHEDULING else None


def moved_on(status: JobStatus, since: str, now: float) -> JobStatus:
    """`startTime` later by the time since then, so that `now - startTime` is time that counts."""
    if status.start_time is None:
        return status
    away = max(0.0, now - to_epoch(since))
    return dataclasses.replace(status, start_time=to_text(to_epoch(status.start_time) + away))


def with_whole_gang(status: JobStatus, nodes: int, now: float) -> JobStatus:
    """All pods of the open attempt were seen together."""
    message = f"all {nodes} pods of attempt {status.attempt} are there"
    return with_condition(status, Type.RUNNING, False, Reason.POD_CREATED, message, now)


def has_hindrance(status: JobStatus, word: str) -> bool:
    """Whether the condition Running says already that this word keeps pods from starting."""
    found = condition(status, Type.RUNNING)
    return found is not None and found.reason == word


def begin_attempt(status: JobStatus, now: float) -> JobStatus:
    """Open the next attempt. This is the intent that is written before any of its pods is created."""
    number = status.attempt + 1
    attempts = (*status.attempts, Attempt(number=number, start_time=to_text(now)))
    status = dataclasses.replace(
        status,
        attempt=number,
        attempts=attempts[-MAX_ATTEMPTS:],
        start_time=status.start_time or to_text(now),
        partial_gang=None,
    )
    message = f"attempt {number} waits for its pods"
    return with_condition(status, Type.RUNNING, False, Reason.ATTEMPT_STARTED, message, now)


def note_attempt(status: JobStatus, ending: Ending) -> JobStatus:
    """Write what is known of the open attempt's end, without ending it."""
    return _change_last(
        status,
        cause=ending.cause,
        pod=ending.pod or None,
        rank=ending.rank,
        node=ending.node or None,
        exit_code=ending.exit_code,
        last_step=either(ending.step, status.attempts[-1].last_step),
        first_bad_step=ending.first_bad_step,
        resumed_from_step=either(ending.resumed_from_step, status.attempts[-1].resumed_from_step),
    )


def note_resumed(status: JobStatus, step: int | None) -> JobStatus:
    """Write where the newest attempt went on from, while it runs: pods that vanish leave no last word."""
    if step is None or not status.attempts or status.attempts[-1].resumed_from_step == step:
        return status
    return _change_last(status, resumed_from_step=step)


def note_resume(status: JobStatus, note: str) -> JobStatus:
    """Write from whose step the newest attempt goes on, and which settings changed since."""
    return _change_last(status, resume_note=note[: LIMITS["message"]])


def note_rollbacks(status: JobStatus, rollbacks: int, discarded: int) -> JobStatus:
    """Write what the newest attempt says of its roll-backs, and add the difference to the job's sums.

    Both sums and the attempt's own share are written together, so a pass that is repeated adds nothing.
    """
    last, sums = status.attempts[-1], status.progress
    own = max(0, rollbacks, last.rollbacks or 0), max(0, discarded, last.discarded_steps or 0)
    sums = dataclasses.replace(
        sums,
        rollbacks=(sums.rollbacks or 0) + own[0] - (last.rollbacks or 0),
        discarded_steps=(sums.discarded_steps or 0) + own[1] - (last.discarded_steps or 0),
    )
    status = dataclasses.replace(status, progress=sums)
    return _change_last(status, rollbacks=own[0] or None, discarded_steps=own[1] or None)


def note_success(status: JobStatus, last_step: int | None, resumed_from: int | None) -> JobStatus:
    """Write from where to where the open attempt went that ended well."""
    last = status.attempts[-1]
    return _change_last(
        status,
        last_step=either(last_step, last.last_step),
        resumed_from_step=either(resumed_from, last.resumed_from_step),
    )


def either(new: int | None, old: int | None) -> int | None:
    """The new value; the old one where there is no new one."""
    return old if new is None else new


def end_attempt(status: JobStatus, reason: Reason, now: float) -> JobStatus:
    """Close the open attempt, if there is one."""
    if open_attempt(status) is None:
        return status
    last = status.attempts[-1]
    step = step_of(status, last) if last.last_step is None else last.last_step
    return _change_last(status, reason=reason.value, end_time=to_text(now), last_step=step)


def step_of(status: JobStatus, attempt: Attempt) -> int | None:
    """The newest step, unless it was reported before the attempt began. RFC 3339 texts sort as times."""
    updated = status.progress.updated_at
    fresh = updated is not None and updated >= (attempt.start_time or "")
    return status.progress.step if fresh else None


def _change_last(status: JobStatus, **changes: object) -> JobStatus:
    *before, last = status.attempts
    changed = dataclasses.replace(last, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(status, attempts=(*before, changed))


def with_failure(status: JobStatus, failure: Failure, now: float) -> JobStatus:
    """End the job as Failed. The attempt must be ended by the caller, which knows its reason."""
    cut = {name: (getattr(failure, name) or "")[-limit:] for name, limit in LIMITS.items()}
    failure = dataclasses.replace(failure, **{**cut, "log_tail": cut["log_tail"] or None})  # type: ignore[arg-type]
    for kind in (Type.RUNNING, Type.RESTARTING):
        status = with_condition(status, kind, False, failure.reason, failure.message, now)
    status = with_condition(status, Type.FAILED, True, failure.reason, failure.message, now)
    return dataclasses.replace(status, failure=failure, completion_time=to_text(now), startup=None)


def failure_of(reason: Reason | str, message: str, ending: Ending, remedy: str = "") -> Failure:
    """The `failure` of status out of an attempt's ending."""
    return Failure(
        reason=reason.value if isinstance(reason, Reason) else reason,
        message=message,
        remedy=remedy or ending.remedy,
        pod=ending.pod or None,
        rank=ending.rank,
        node=ending.node or None,
        exit_code=ending.exit_code,
        log_tail=ending.log_tail or None,
    )


def with_success(status: JobStatus, message: str, now: float) -> JobStatus:
    """End the job as Complete."""
    reason = Reason.TRAINING_SUCCEEDED
    for kind in (Type.RUNNING, Type.RESTARTING):
        status = with_condition(status, kind, False, reason, message, now)
    status = with_condition(status, Type.COMPLETE, True, reason, message, now)
    return dataclasses.replace(status, completion_time=to_text(now), startup=None)


def derive_state(status: JobStatus) -> State:
    """One word for people, out of the conditions; never an input."""
    if is_true(status, Type.COMPLETE):
        return State.COMPLETE
    if is_true(status, Type.FAILED):
        return State.FAILED
    if is_true(status, Type.SUSPENDED):
        return State.SUSPENDED
    if has_reason(status, Type.SUSPENDED, Reason.SUSPENDING):
        return State.SUSPENDING
    if is_true(status, Type.QUEUED):
        return State.QUEUED
    if has_reason(status, Type.QUEUED, Reason.EVICTED):
        return State.SUSPENDING
    if is_true(status, Type.RUNNING):
        return State.RUNNING
    if is_true(status, Type.RESTARTING):
        return State.RESTARTING
    if open_attempt(status):
        return State.STARTING
    return State.REFUSED if has_reason(status, Type.ACCEPTED, *NO_SPEC) else State.PENDING


_TELLS = {
    State.REFUSED: Type.ACCEPTED,
    State.QUEUED: Type.QUEUED,
    State.RESTARTING: Type.RESTARTING,
    State.SUSPENDING: Type.SUSPENDED,
    State.SUSPENDED: Type.SUSPENDED,
    State.COMPLETE: Type.COMPLETE,
    State.FAILED: Type.FAILED,
}


def with_state(status: JobStatus) -> JobStatus:
    """State, and the word and sentence of the condition that tells why; a restart that pods hinder tells of these."""
    state = derive_state(status)
    kind = _TELLS.get(state, Type.RUNNING)
    if state is State.RESTARTING and open_attempt(status):
        if not has_reason(status, Type.RUNNING, *ON_ITS_WAY):
            kind = Type.RUNNING
    if state is State.SUSPENDING and not has_reason(status, Type.SUSPENDED, Reason.SUSPENDING):
        kind = Type.QUEUED
    if state in (State.RESTARTING, State.SUSPENDING):
        stuck = has_reason(status, Type.RUNNING, Reason.POD_STUCK, Reason.POD_ABANDONED)
        kind = Type.RUNNING if stuck else kind
    told = condition(status, kind)
    reason, message = (told.reason, told.message) if told else (None, None)
    return dataclasses.replace(status, state=state, reason=reason, message=message)
