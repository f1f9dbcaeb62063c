"""Says once that an attempt goes on from what another job left, or by other settings than it was saved with, or what a
script that saves by itself was given."""

from __future__ import annotations

from speech_contract.reasons import Reason
from speech_operator import status as st
from speech_operator.accounts import accounts
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed


def resumed(seen: Observed, draft: Draft, now: float) -> Draft:
    """Take the note over into the open attempt, with an Event."""
    attempt = st.open_attempt(draft.status)
    note = next((told.resume_note for told in accounts(seen) if told.resume_note), "")
    if attempt is None or not note or attempt.resume_note == note:
        return draft
    status = st.note_resume(draft.status, note)
    return draft.to(status=status).told(Reason.RESUMED_FROM_CHECKPOINT, note)
