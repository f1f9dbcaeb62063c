"""First policy: jobs that are not ours to touch, not even in their status.

Of a job under deletion garbage collection takes the children; another `runPolicy.managedBy` names another controller.
"""

from __future__ import annotations

from speech_contract import names
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed


def hands_off(seen: Observed, draft: Draft, now: float) -> Draft:
    """Decide to do nothing about such a job."""
    ours = seen.job.managed_by == names.MANAGED_BY and not seen.job.deleting
    return draft if ours else draft.to(hands_off=True, decided=True)
