"""Says once that an attempt goes on from what another job left, or by other settings than it was saved with."""

from __future__ import annotations

from speech_contract.reasons import Reason
from speech_operator import status as st
from speech_operator.observe import Observed
from speech_operator.plan import Draft


def resumed(seen: Observed, draft: Draft, now: float) -> Draft:
    """Take the note over into the open attempt, with an Event."""
    attempt, note = st.open_attempt(draft.status), _note(seen)
    if attempt is None or not note or attempt.resume_note == note:
        return draft
    status = st.note_resume(draft.status, note)
    return draft.to(status=status).told(Reason.RESUMED_FROM_CHECKPOINT, note)


def _note(seen: Observed) -> str:
    """The master's last words hold it too: a short attempt may end before it was asked."""
    progress, master = seen.current_progress, seen.master
    told = master.outcome if master is not None else None
    return (progress.resume_note if progress else "") or (told.resume_note if told else "")
