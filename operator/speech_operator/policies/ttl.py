"""Of a finished job: when it goes itself. Counts from `completionTime`."""

from __future__ import annotations

from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed
from speech_operator.timestamps import to_epoch


def ttl(seen: Observed, draft: Draft, now: float) -> Draft:
    """Delete the job when its time is over; else come back then."""
    if not st.finished(draft.status):
        return draft
    seconds = seen.spec.run_policy.ttl_seconds_after_finished
    if seconds is None or draft.status.completion_time is None:
        return draft
    remaining = to_epoch(draft.status.completion_time) + seconds - now
    return draft.to(delete_job=True) if remaining <= 0 else draft.requeued(remaining)
