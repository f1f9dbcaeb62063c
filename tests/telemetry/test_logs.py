"""Log events: one line of strict JSON each, and a lost reader costs nothing."""

from __future__ import annotations

import io
import json
import math

import pytest

from speech_contract.events import MESSAGES, Event
from speech_telemetry.logs import WARNING, EventLog


def test_a_line_carries_head_base_and_fields():
    stream = io.StringIO()
    log = EventLog("supervisor", stream, lambda: 12.3456, job="asr")
    log.emit(Event.RANK_ENDED, WARNING, rank=3, loss=math.nan, error=None)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line) == {
        "ts": 12.346,
        "level": "warning",
        "event": "rank_ended",
        "msg": MESSAGES[Event.RANK_ENDED],
        "component": "supervisor",
        "job": "asr",
        "rank": 3,
        "loss": "nan",
    }


@pytest.mark.parametrize("event", list(Event))
def test_every_event_has_its_message(event):
    stream = io.StringIO()
    EventLog("x", stream, lambda: 0.0).emit(event)
    assert json.loads(stream.getvalue())["msg"] == MESSAGES[event]


def test_a_stream_that_is_gone_is_counted():
    stream = io.StringIO()
    stream.close()
    log = EventLog("x", stream, lambda: 0.0)
    log.emit(Event.RANK_ENDED)
    assert log.lost == 1
