"""First policy: a job under deletion is left alone; garbage collection takes its children."""

from __future__ import annotations

from speech_operator.observe import Observed
from speech_operator.plan import Draft


def deleting(seen: Observed, draft: Draft, now: float) -> Draft:
    """Take the hands off a job that goes."""
    return draft.to(hands_off=True, decided=True) if seen.job.deleting else draft
