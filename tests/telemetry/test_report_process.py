"""The supervisor's page: written at the end, never by force, and a failure is an event."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import pytest

from speech_contract import paths
from speech_telemetry.logs import EventLog
from speech_telemetry.report_process import EVERY_SECONDS, ReportProcess
from speech_telemetry.series import read_row

pytestmark = pytest.mark.e2e


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_run_leaves_its_page(launcher):
    run = launcher.start(launcher.config(), "steps.py", "20", "0.01")
    assert run.wait() == 0, run.stdout
    run_dir = Path(run.config.run_dir)
    assert (run_dir / paths.REPORT).stat().st_size > 50_000
    lines = paths.series_file(run_dir, 1).read_text().splitlines()
    kinds = [next(iter(read_row(line))) for line in lines]
    assert (kinds[0], kinds[-1]) == ("opens", "ends")
    assert kinds.count("step") > 1
    assert run.events("report_failed") == []


def test_a_page_that_cannot_be_written_is_an_event_and_no_failure(launcher):
    config = launcher.config()
    Path(config.run_dir).mkdir(parents=True)
    Path(config.run_dir, paths.REPORT).write_text("somebody's own")
    run = launcher.start(config, "steps.py", "20", "0.01")
    assert run.wait() == 0
    (failed,) = run.events("report_failed")
    assert "is no report of ours" in failed["error"]


def test_the_numbers_survive_a_kill(launcher, eventually):
    run = launcher.start(launcher.config(), "steps.py", "100000", "0.01")
    path = paths.series_file(Path(run.config.run_dir), 1)
    eventually(lambda: path.exists() and '"step"' in path.read_text(), "a row")
    run.process.send_signal(signal.SIGKILL)
    run.wait()
    rows = [read_row(line) for line in path.read_text().splitlines()]
    assert any("step" in row for row in rows if row)


def test_many_wishes_are_one_page_in_half_a_minute(tmp_path, eventually):
    clock, stream = Clock(), io.StringIO()
    reports = ReportProcess(tmp_path, EventLog("supervisor", stream, clock), clock)
    reports.want()
    assert reports.poll()
    eventually(lambda: not reports.poll(), "the first page")
    assert reports.cpu_seconds > 0
    reports.want()
    assert not reports.poll()
    clock.now += EVERY_SECONDS
    assert reports.poll()
    reports.kill()
    assert not reports.poll()
    assert stream.getvalue() == ""


def test_an_interpreter_that_is_gone_is_an_event(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "none"))
    stream = io.StringIO()
    reports = ReportProcess(tmp_path, EventLog("supervisor", stream, Clock()), Clock())
    reports.begin()
    assert json.loads(stream.getvalue())["event"] == "report_failed"
    assert not reports.poll()
