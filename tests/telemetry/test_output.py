"""A rank's output: lines out of chunks, the last error, and a log file that may fail."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_telemetry.output import PENDING_LIMIT, RankOutput, error_file_message


@pytest.fixture
def lines():
    return []


@pytest.fixture
def through():
    return []


@pytest.fixture
def output(tmp_path, lines, through):
    opened = RankOutput(tmp_path / "logs" / "rank-0.log", through.append, lines.append)
    yield opened
    opened.close()


def test_lines_end_at_newlines_and_at_carriage_returns(output, lines, through, tmp_path):
    output.feed(b"a\nb\rc")
    assert lines == ["a", "b"]
    output.feed(b"d\r\n")
    assert lines == ["a", "b", "cd"]
    assert b"".join(through) == b"a\nb\rcd\r\n"
    assert (tmp_path / "logs" / "rank-0.log").read_bytes() == b"a\nb\rcd\r\n"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_however_it_is_cut_the_bytes_pass_whole(data, cuts):
    passed, seen, whole = [], [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RankOutput, "_open", lambda self, path: None)
        cut, once = (
            RankOutput(None, passed.append, seen.append),
            RankOutput(None, lambda data: None, whole.append),
        )
        marks = [0, *sorted(min(c, len(data)) for c in cuts), len(data)]
        for start, stop in itertools.pairwise(marks):
            cut.feed(data[start:stop])
        cut.close()
        once.feed(data)
        once.close()
    assert b"".join(passed) == data
    assert seen == whole


def test_text_without_line_ends_is_not_kept_for_ever(output, lines):
    output.feed(b"x" * (PENDING_LIMIT + 1))
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        pytest.param(
            'Traceback (most recent call last):\n  File "x.py", line 1\n    f()\nKeyError: 3\n',
            "KeyError: 3",
            id="a traceback",
        ),
        pytest.param(
            "Traceback (most recent call last):\n  x\nOld\n\nTraceback (most recent call last):\n  y\nNew: 1\n",
            "New: 1",
            id="the last of two",
        ),
        pytest.param("speech_trainer.errors.DataError: no\nbye\n", "speech_trainer.errors.DataError: no", id="a line"),
        pytest.param(
            json.dumps({"level": "error", "error": "field x: bad"}) + "\n", "field x: bad", id="JSON"
        ),
        pytest.param('{"level": "info", "error": "none"}\n{"error" broken\n', "", id="no error"),
    ],
)  # fmt: skip
def test_the_last_error_is_remembered(output, printed, error):
    output.feed(printed.encode())
    assert output.error == error


def test_a_log_that_cannot_be_written_costs_only_the_log(tmp_path, lines):
    (tmp_path / "logs").write_text("a file where the directory should be")
    output = RankOutput(tmp_path / "logs" / "rank-0.log", lambda data: None, lines.append)
    output.feed(b"still heard\n")
    assert output.file_error
    assert lines == ["still heard"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"message": {"message": "ValueError: x", "extraInfo": {}}}', "ValueError: x", id="record"),
        pytest.param('{"message": "died"}', "died", id="plain"),
        pytest.param('{"other": 1}', "", id="foreign"),
        pytest.param("[", "", id="broken"),
        pytest.param(None, "", id="none"),
    ],
)  # fmt: skip
def test_what_torchs_record_leaves_is_read(tmp_path, text, message):
    path = tmp_path / "error.json"
    if text is not None:
        path.write_text(text)
    assert error_file_message(path) == message
