"""One job at a time in a run directory: a second one waits, with the owner's name, and starts when that one ends."""

from __future__ import annotations

from speech_contract.owner import in_use
from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed


def run_directory(seen: Observed, draft: Draft, now: float) -> Draft:
    """Open no first attempt while another job owns the directory."""
    if seen.holder is None or st.open_attempt(draft.status) is not None or seen.own_pods:
        return draft
    sentence = in_use(seen.spec.checkpoint.uri, seen.holder)
    status = st.with_condition(
        draft.status, Condition.RUNNING, False, Reason.RUN_DIRECTORY_IN_USE,
        f"{sentence}; until then it waits", now,
    )  # fmt: skip
    if st.condition(status, Condition.RUNNING) != st.condition(draft.status, Condition.RUNNING):
        draft = draft.told(Reason.RUN_DIRECTORY_IN_USE, sentence, warning=True)
    return draft.to(status=status, decided=True)
