"""Second policy: a job that another controller manages is not ours to touch, not even its status."""

from __future__ import annotations

from speech_contract import names
from speech_operator.observe import Observed
from speech_operator.plan import Draft


def managed_by(seen: Observed, draft: Draft, now: float) -> Draft:
    """Take the hands off a job with another `runPolicy.managedBy`."""
    ours = seen.job.managed_by == names.MANAGED_BY
    return draft if ours else draft.to(hands_off=True, decided=True)
