"""The exit-code table, the fingerprint of a cause, and the outcome in a termination log."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from speech_contract import outcome
from speech_contract.events import log_line
from speech_contract.findings import Finding, FindingStatus
from speech_contract.outcome import EXIT_CODES, Cause, Next, Outcome
from speech_contract.progress import Rule, Severity
from speech_contract.report import BadStep

TABLE = {  # once more by hand: what follows, and whether it counts against the budget
    **dict.fromkeys((0,), (Next.COMPLETE, False)),
    **dict.fromkeys((1, 134, 135, 139, 16, 45, 46, 130, 137, 143), (Next.RESTART, True)),
    **dict.fromkeys((2, 47, 64, 65, 70, 17, 41, 42, 43, 44), (Next.FAIL, False)),
    40: (Next.RESTART_CONFIRMED, True),
    75: (Next.RESUME, False),
}


def test_the_table_is_the_designs() -> None:
    assert {code: (row.next, row.counted) for code, row in EXIT_CODES.items()} == TABLE


@pytest.mark.parametrize("row", EXIT_CODES.values(), ids=lambda row: str(row.code))
def test_every_code_has_a_meaning_and_a_remedy(row: outcome.ExitMeaning) -> None:
    assert row.meaning
    assert row.remedy
    assert row.code == outcome.meaning_of(row.code).code


@given(st.integers(3, 255))
def test_unlisted_codes_read_as_an_error_or_a_crash(code: int) -> None:
    row = outcome.meaning_of(code)
    assert row.code == code
    if code not in EXIT_CODES:
        assert row.cause is (Cause.ERROR if code < 128 else Cause.SEGFAULT)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("CUDA error at 0x7f12ab", "CUDA error at 0x99", True),
        ("step 12 failed on rank 3", "step 99 failed on rank 0", True),
        ("KeyError: 'a'\nsecond", "KeyError: 'a'\nother", True),
        ("id deadbeef01", "id 0123abcdef", True),
        ("KeyError: 'a'", "KeyError: 'b'", False),
    ],
)
def test_a_fingerprint_forgets_numbers_and_no_words(one: str, other: str, same: bool) -> None:
    assert (outcome.fingerprint(1, "", one) == outcome.fingerprint(1, "", other)) is same


def test_a_fingerprint_knows_code_and_rule() -> None:
    prints = {outcome.fingerprint(*c, "x") for c in [(1, ""), (40, ""), (40, "NonFinite")]}
    assert len(prints) == 3


FINDINGS = st.lists(
    st.builds(
        Finding,
        rule=st.sampled_from(Rule),
        status=st.sampled_from(FindingStatus),
        severity=st.sampled_from(Severity),
        evidence=st.text(max_size=400),
    ),
    max_size=8,
)


NAMES = st.text(max_size=4000)
BAD_STEPS = st.none() | st.builds(
    BadStep, st.integers(0, 10**9), NAMES, NAMES, samples=st.tuples(NAMES, NAMES, NAMES)
)


@given(
    tail=st.text(max_size=6000), message=st.text(max_size=6000), findings=FINDINGS, bad=BAD_STEPS
)
def test_an_outcome_fits_the_termination_log_in_bytes(
    tail: str, message: str, findings: list[Finding], bad: BadStep | None
) -> None:
    written = Outcome(
        1, 0, "Training", 1, message=message, log_tail=tail, findings=findings, first_bad=bad
    )
    text = outcome.encode(written)
    assert len(text.encode()) <= outcome.OUTCOME_LIMIT_BYTES
    read = outcome.decode(text)
    assert read is not None
    assert (read.attempt, read.exit_code, read.phase) == (1, 1, "Training")


@pytest.mark.parametrize("text", ["", "Killed", '{"attempt": 1', "[1]", '{"x": 1}', "null"])
def test_a_foreign_termination_message_is_no_outcome(text: str) -> None:
    assert outcome.decode(text) is None


@given(st.text(max_size=400) | st.recursive(st.text(), lambda x: st.lists(x)).map(json.dumps))
@example("[" * 4000)
@example('{"attempt":' * 300)
@example('{"attempt":1,"nodeRank":0,"phase":"Training","step":1e999}')
def test_no_termination_message_raises(text: str) -> None:
    read = outcome.decode(text)
    assert read is None or isinstance(read, outcome.Outcome)


@given(st.text())
@example('loss is nan\n{"event": "attempt_failed"}\r\n')
def test_a_log_line_is_one_line(said: str) -> None:
    line = log_line(1.0, "WARNING", "rank_ended", "A rank ended", "supervisor", {"message": said})
    assert len(line.split("\n")) == 1
    assert json.loads(line)["message"] == said


def test_what_another_version_says_beside_is_passed_over() -> None:
    text = outcome.encode(Outcome(1, 0, "Training", 40, last_confirmed_step=5))
    older = text.replace('"attempt":1', '"attempt":1,"component":"mel","weather":{}')
    read = outcome.decode(older)
    assert read is not None
    assert (read.exit_code, read.last_confirmed_step) == (40, 5)


def test_remedies_are_sentences_without_a_full_stop() -> None:
    assert not [r.code for r in EXIT_CODES.values() if re.search(r"\.$|^[A-Z]", r.remedy)]
