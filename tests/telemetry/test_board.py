"""The version rules of `/progress`: what ends a long poll at once, and what may wait."""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest

from speech_contract.findings import Finding, FindingStatus, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Progress, Rule, Severity  # fmt: skip
from speech_telemetry.board import STEP_INTERVAL, Board

FINDING = Finding(Rule.ZERO_LOSS, FindingStatus.ACTIVE, Severity.WARNING, "zero")


class Clock:
    """A monotonic clock that moves when told."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(clock):
    return Board(3, clock)


def progress(**fields):
    return Progress(version="", attempt=3, **fields)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"verdict": Verdict.HEALTHY}, id="verdict"),
        pytest.param({"findings": [FINDING]}, id="findings"),
        pytest.param({"phase": Phase.TRAINING}, id="phase"),
        pytest.param({"rollbacks": 1}, id="roll-back"),
        pytest.param({"done": True}, id="done"),
        pytest.param({"running": True}, id="running"),
    ],
)
def test_what_matters_makes_a_version_at_once(board, change):
    board.publish(progress(step=1))
    before = board.progress.version
    assert board.publish(progress(step=1, **change))
    assert board.progress.version != before
    assert not board.publish(progress(step=1, **change))


def test_a_moved_step_makes_one_at_most_every_few_seconds(board, clock):
    board.publish(progress(step=1))
    assert board.progress.version == "3.0"
    clock.now += STEP_INTERVAL
    board.publish(progress(step=2))
    assert board.progress.version == "3.1"
    clock.now += STEP_INTERVAL - 0.1
    board.publish(progress(step=3))
    assert board.progress.version == "3.1"
    clock.now += 0.1
    board.publish(progress(step=3))  # the step moved since the version, not since the last call
    assert board.progress.version == "3.2"
    clock.now += STEP_INTERVAL
    board.publish(progress(step=3))
    assert board.progress.version == "3.2"


def test_evidence_alone_makes_no_version(board):
    board.publish(progress(findings=[FINDING]))
    assert not board.publish(
        progress(findings=[dataclasses.replace(FINDING, evidence="zero again")])
    )


@pytest.mark.parametrize("since", ["", "2.9", "3.-1", "nonsense", "3.7"])
def test_a_reader_of_another_version_is_answered_at_once_with_the_newest(board, since):
    board.publish(progress(step=5))
    document = json.loads(board.read(since, 60.0))
    assert (document["version"], document["step"]) == ("3.0", 5)


def test_a_reader_of_this_version_waits_for_the_next(clock):
    board = Board(3, clock)
    answers = []
    reader = threading.Thread(target=lambda: answers.append(board.read("3.0", 60.0)))
    reader.start()
    board.publish(progress(verdict=Verdict.CRITICAL))
    reader.join(60.0)
    assert json.loads(answers[0])["version"] == "3.1"


def test_nobody_waits_longer_than_asked(board):
    assert json.loads(board.read("3.0", 0.0))["version"] == "3.0"
    assert json.loads(board.read("3.0", -5.0))["version"] == "3.0"
