"""Log events: one line of strict JSON each, and a lost reader costs nothing."""

from __future__ import annotations

import io
import json
import logging
import math

import pytest

from speech_contract.events import MESSAGES, Event
from speech_telemetry.logs import WARNING, EventLog, records_into


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


@pytest.fixture
def said():
    """What a library's logger says, as lines of the log."""
    stream = io.StringIO()
    log = EventLog("trainer", stream, lambda: 1.0, rank=3)
    with records_into(log.emit, "some_library"):
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_with_an_event_is_that_event_with_its_fields_and_traceback(said):
    try:
        raise OSError("broken header")
    except OSError as error:
        extra = {"event": Event.SAMPLE_REPLACED.value, "line": 7, "reason": "DecodeError"}
        logging.getLogger("some_library.data").warning("x", exc_info=error, extra=extra)
    (line,) = said()
    assert (line["event"], line["level"], line["rank"]) == ("sample_replaced", "warning", 3)
    assert (line["line"], line["reason"], line["msg"]) == (
        7,
        "DecodeError",
        MESSAGES[Event.SAMPLE_REPLACED],
    )
    assert line["error"] == "OSError('broken header')"
    assert line["traceback"].startswith("Traceback (most recent call last)")


def test_any_other_warning_is_a_librarys_message_and_a_whisper_is_none(said):
    logging.getLogger("some_library.data").info("resampling")
    logging.getLogger("some_library.data").error("no %s", "cache")
    (line,) = said()
    assert (line["event"], line["level"]) == ("library_message", "error")
    assert (line["text"], line["logger"]) == ("no cache", "some_library.data")


def test_nothing_is_written_once_it_is_over(said):
    with records_into(lambda *_, **__: None, "another_library"):
        pass
    assert logging.getLogger("another_library").handlers == []
    assert said() == []
