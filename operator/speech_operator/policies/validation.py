"""Second policy: says whether the spec can be run, and runs nothing that was never valid.

A job that was accepted once goes on by what was accepted when a later change is refused. One that waits for its runtime
looks again when that comes, by a watch (`children.RUNTIME`).
"""

from __future__ import annotations

from collections.abc import Sequence

from speech_contract.api import changed_immutable
from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed


def validation(seen: Observed, draft: Draft, now: float) -> Draft:
    """Set the condition Accepted; decide when there is no spec to run by."""
    if seen.job.spec is None:
        draft = _refuse(draft, seen.job.reason, seen.job.problems, now)
        return draft if seen.accepted else draft.to(decided=True)
    changed = changed_immutable(seen.accepted, seen.job.spec) if seen.accepted else []
    if changed:
        return _refuse(draft, Reason.IMMUTABLE_FIELD, [str(problem) for problem in changed], now)
    status = st.with_condition(
        draft.status, Condition.ACCEPTED, True, Reason.SPEC_VALID, "the spec can be run", now
    )
    if st.condition(draft.status, Condition.ACCEPTED) and not st.is_true(
        draft.status, Condition.ACCEPTED
    ):
        # Of a job that was never refused it says nothing that its start does not say.
        draft = draft.told(Reason.SPEC_VALID, "the spec can be run")
    return draft.to(status=status)


def _refuse(draft: Draft, reason: Reason, problems: Sequence[str], now: float) -> Draft:
    message = "; ".join(problems)
    status = st.with_condition(draft.status, Condition.ACCEPTED, False, reason, message, now)
    if st.condition(status, Condition.ACCEPTED) == st.condition(draft.status, Condition.ACCEPTED):
        return draft
    return draft.to(status=status).told(reason, message, warning=True)
