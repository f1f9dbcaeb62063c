"""The operator's log: which event stands for which reason."""

from __future__ import annotations

import pytest

from speech_contract.events import Event
from speech_contract.reasons import Reason
from speech_operator.events import event_of


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        (Reason.SPEC_VALID.value, Event.JOB_ACCEPTED),
        (Reason.GANG_RESTART.value, Event.ATTEMPT_STARTED),
        (Reason.SUSPENDED.value, Event.JOB_SUSPENDED),
        (Reason.NODE_EXCLUDED.value, Event.CONDITION_CHANGED),
        ("NonFinite", Event.CONDITION_CHANGED),  # a health rule
    ],
)
def test_a_transition_is_logged_under_its_own_event(reason: str, event: Event) -> None:
    assert event_of(reason) is event
