"""The numbers of an attempt on disk: which reports become rows, and what a kill, a full disk and a long run leave."""

from __future__ import annotations

import contextlib
import json
import math

import pytest

from speech_contract.findings import Finding, FindingStatus
from speech_contract.phases import Phase
from speech_contract.progress import Progress, Rule, Severity
from speech_contract.wire import Datagram
from speech_health.samples import from_datagram
from speech_telemetry.series import LIMIT_BYTES, Sampler, Series, SeriesFile, numbers, read_row


def sample(step, now=None, **fields):
    now = float(step) * 0.01 if now is None else now
    return from_datagram(Datagram(0, step, 1000.0 + now, **fields), now)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "attempt-1" / "series.jsonl"


@pytest.fixture
def opened(path):
    """Call it for a file that is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda tell=pytest.fail, limit=LIMIT_BYTES: stack.enter_context(
            contextlib.closing(SeriesFile(path, tell, limit))
        )


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_values_come_as_reported_and_counters_when_they_change():
    sampler = Sampler()
    first = sampler.take(sample(1, losses={"total": 2.5}, updates=1, samples_total=8), skipped=0)
    assert first == {
        "step": 1, "time": 1000.01, "losses": {"total": 2.5}, "updates": 1, "samplesTotal": 8, "skipped": 0,
    }  # fmt: skip
    second = sampler.take(sample(2, losses={"total": 2.5}, updates=1, samples_total=16), skipped=0)
    assert second == {"step": 2, "time": 1000.02, "losses": {"total": 2.5}, "samplesTotal": 16}


def test_reports_without_a_value_are_folded_into_the_next_row():
    sampler = Sampler()
    sampler.take(sample(1, losses={"total": 1.0}, step_seconds=0.1))
    assert [sampler.take(sample(s, step_seconds=t)) for s, t in ((2, 0.2), (3, 0.7))] == [
        None,
        None,
    ]
    row = sampler.take(sample(4, losses={"total": 1.0}, step_seconds=0.3))
    assert (row["stepSeconds"], row["slowestSeconds"]) == (0.4, 0.7)


def test_a_script_that_reports_steps_alone_makes_a_row_a_second():
    sampler = Sampler()
    rows = [sampler.take(sample(step, now=step * 0.1)) for step in range(1, 31)]
    assert [row["step"] for row in rows if row] == [1, 11, 21]


def test_a_bad_step_is_a_row_although_no_loss_came_with_it():
    sampler = Sampler()
    sampler.take(sample(1, losses={"total": 1.0}, non_finite_steps=0))
    row = sampler.take(
        sample(2, non_finite_steps=1, bad_step=1, bad_component="mel", bad_module="decoder")
    )
    assert (row["badStep"], row["badComponent"], row["badModule"]) == (1, "mel", "decoder")


def test_an_evaluation_with_nan_is_told_once():
    sampler = Sampler()
    told = [sampler.take(sample(s, evaluation={"cer": float("nan")})) for s in (5, 6, 7)]
    assert [row and row["evaluation"] for row in told] == [{"cer": "nan"}, None, None]


def test_what_comes_before_the_first_step_is_no_row():
    assert Sampler().take(sample(0, phase=Phase.RESTORING, losses={"total": 1.0})) is None


def test_a_series_holds_opening_steps_findings_and_the_end(path, opened):
    series = Series(opened(), lambda: 5.0)
    series.opens({"attempt": 1})
    series.take(sample(1, losses={"total": math.nan}), 0)
    series.finding(Finding(Rule.NON_FINITE, FindingStatus.ACTIVE, Severity.CRITICAL, "nan", step=1))
    series.ends({"exitCode": 40}, Progress("1.1", 1, step=1, loss=math.nan))
    series.flush()
    opens, step, finding, end = rows_of(path)
    assert (opens["opens"], opens["time"]) == ({"attempt": 1}, 5.0)
    assert step["losses"] == {"total": "nan"}
    assert (finding["step"], finding["finding"]["rule"]) == (1, "NonFinite")
    assert (end["ends"], end["progress"]["loss"]) == ({"exitCode": 40}, "nan")


def test_who_follows_a_cut_line_begins_a_new_one(path, opened):
    path.parent.mkdir(parents=True)
    path.write_text('{"step": 1, "losses": {"total": 1.0}}\n{"step": 2, "lo')
    opened().write([{"step": 3}])
    lines = path.read_text().splitlines()
    assert [row and row["step"] for row in map(read_row, lines)] == [1, None, 3]


def test_a_file_that_grows_is_thinned_evenly_and_loses_no_extreme(path, opened):
    limit, told = 60_000, []
    file = opened(told.append, limit)
    for step in range(1, 20_001):
        loss = 99.0 if step == 777 else math.nan if step == 15_000 else 1 + math.sin(step) / 10
        file.write([{"step": step, "losses": {"total": loss}, "gradientNorm": 1.0}])
        assert path.stat().st_size <= limit + 200
    rows = rows_of(path)
    values = dict((row["step"], row["losses"]["total"]) for row in rows)
    assert (values[777], values[15_000], told) == (99.0, "nan", [])
    assert (rows[0]["step"], rows[-1]["step"]) == (1, 20_000)
    first, second = (sum(low < row["step"] <= low + 5_000 for row in rows) for low in (0, 5_000))
    # No part of the run is thinned more than another.
    assert first / second == pytest.approx(1, abs=0.5)


def test_what_is_no_number_survives_the_thinning(path, opened):
    file = opened(limit=20_000)
    file.write([{"opens": {"attempt": 1}, "time": 1.0}])
    for step in range(1, 3_001):
        note = {"evaluation": {"cer": 0.5}} if step == 1_234 else {}
        file.write([{"step": step, "losses": {"total": 1.0}, **note}])
    rows = rows_of(path)
    assert rows[0]["opens"] == {"attempt": 1}
    assert [row["step"] for row in rows if "evaluation" in row] == [1_234]


def test_a_name_that_is_no_unicode_costs_a_character_and_not_the_run(path, opened):
    opened().write([{"step": 1, "losses": {"a\ud800": 1.0}}])
    assert rows_of(path) == [{"step": 1, "losses": {"a?": 1.0}}]


def test_a_place_that_cannot_be_written_is_told_once(tmp_path):
    (tmp_path / "file").write_text("")
    told = []
    file = SeriesFile(tmp_path / "file" / "series.jsonl", told.append)
    file.write([{"step": 1}])
    file.write([{"step": 2}])
    assert len(told) == 1
    assert "the report lacks steps from here" in told[0]


@pytest.mark.parametrize("line", ["", "{", "[1]", "3", '{"step": "x"}', "[" * 100_000])
def test_what_is_no_row_is_none(line):
    assert read_row(line) is None


def test_only_numbers_are_drawn():
    row = {
        "losses": {"a": "nan", "b": [1], "c": True},
        "gradientNorm": "x",
        "learningRate": 1,
        "codebooks": {"q": 1},
    }
    assert [(name, str(value)) for name, value in numbers(row)] == [
        ("losses/a", "nan"),
        ("learningRate", "1.0"),
    ]
