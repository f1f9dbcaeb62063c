"""How it ends: which of several failures is the cause, what SIGTERM left, and the record on disk."""

from __future__ import annotations

import json

import pytest

from speech_contract import outcome as contract
from speech_contract.findings import Finding, FindingStatus
from speech_contract.outcome import Outcome
from speech_contract.progress import Rule, Severity
from speech_telemetry.outcome import End, TerminationLog, cause, rank_end, rule_of, stopped_code


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        pytest.param([75, 75], 75, id="all saved"),
        pytest.param([0, 75], 75, id="one was done"),
        pytest.param([0, 0], 0, id="all done"),
        pytest.param([75, 143], 143, id="one died"),
        pytest.param([75, 1], 143, id="one failed"),
        pytest.param([None], 143, id="one lives"),
    ],
)
def test_after_sigterm(codes, code):
    assert stopped_code(codes) == code


def test_the_cause_is_the_first_that_says_more_than_one():
    ends = [End(1, "connection closed"), End(40, "budget"), End(139, "fault")]
    assert cause(ends).exit_code == 40
    assert cause(ends[:1]).message == "connection closed"


def test_a_rank_without_a_word_gets_the_meaning_of_its_code():
    assert rank_end(3, 137, "", "").message == "rank 3 ended with 137: killed by SIGKILL"
    assert rank_end(3, 1, "KeyError: 'x'", "").message == "KeyError: 'x'"


def test_the_rule_behind_a_code_that_the_engine_chose():
    finding = Finding(Rule.NO_GRADIENT, FindingStatus.ACTIVE, Severity.CRITICAL, "")
    assert rule_of(41, [finding]) == "NoGradient"
    assert rule_of(41, []) == ""
    assert rule_of(40, []) == "NonFinite"
    assert rule_of(1, [finding]) == ""
    off = Finding(Rule.RANK_DIVERGENCE, FindingStatus.ACTIVE, Severity.CRITICAL, "")
    assert rule_of(46, [finding, off]) == "RankDivergence"


def test_the_record_is_replaced_in_place_and_shrinks(tmp_path):
    path = tmp_path / "termination"
    path.write_text("x" * 4000)
    before = path.stat().st_ino
    log = TerminationLog(path)
    log.write(Outcome(1, 0, "Training", step=7, log_tail="y" * 100))
    log.write(Outcome(1, 0, "Done", exit_code=0))
    assert path.stat().st_ino == before
    assert json.loads(path.read_text())["phase"] == "Done"
    assert contract.decode(path.read_text()) == Outcome(1, 0, "Done", exit_code=0)
    assert not path.read_text().endswith(" ")


def test_a_log_that_cannot_be_written_is_an_error_to_read_not_to_raise(tmp_path):
    log = TerminationLog(tmp_path / "gone" / "termination")
    log.write(Outcome(1, 0, "Training"))
    assert "gone" in log.error
    TerminationLog(None).write(Outcome(1, 0, "Training"))
