"""`runPolicy.activeDeadlineSeconds`: fires with no other event, for the pass asks to be called then."""

from __future__ import annotations

from speech_contract.reasons import Reason
from speech_contract.status import Failure
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed
from speech_operator.timestamps import to_epoch

LOOK_SECONDS = 10.0
REMEDY = (
    "raise runPolicy.activeDeadlineSeconds in a new job with the same checkpoint.uri: it resumes"
)


def deadline(seen: Observed, draft: Draft, now: float) -> Draft:
    """Fail a job that ran too long; else come back when it would have."""
    seconds = seen.spec.run_policy.active_deadline_seconds
    start = draft.status.start_time
    if seconds is None or start is None:
        return draft
    waits_since = st.unplaced_since(draft.status)
    remaining = to_epoch(start) + seconds - (now if waits_since is None else to_epoch(waits_since))
    if waits_since is not None:  # that time does not count, and may be over at any moment
        return draft.requeued(max(remaining, LOOK_SECONDS))
    if remaining > 0:
        return draft.requeued(remaining)
    message = f"still running after {seconds} s; the pods get their grace to save"
    status = st.end_attempt(draft.status, Reason.DEADLINE_EXCEEDED, now)
    failure = Failure(Reason.DEADLINE_EXCEEDED.value, message, REMEDY)
    status = st.with_failure(status, failure, now)
    draft = draft.to(status=status, decided=True).requeued(0.0)  # the next pass deletes the pods
    return draft.told(Reason.DEADLINE_EXCEEDED, message, warning=True)
