"""Has `report.html` written beside the run, by a process of its own at the lowest priority. Called by `master`.

The supervisor must hear and judge meanwhile, and whatever goes wrong with a report is an event, never the run's end.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import speech_telemetry
from speech_contract import codec, paths
from speech_contract.events import Event
from speech_telemetry.files import unfinished
from speech_telemetry.logs import WARNING, EventLog
from speech_telemetry.told import Told
from speech_telemetry.trackers import missing

MODULE: Final = "speech_telemetry.report"
EVERY_SECONDS: Final = 30.0  # between two beginnings, however often a script evaluates
END_SECONDS: Final = 20.0  # that an attempt's end waits for its report
TRACKER_SECONDS: Final = 90.0  # the same where a tracker may have to be reached over a network
SAID: Final = 400  # characters of what a failed one printed last


class ReportProcess:
    """At most one at a time; `cpu_seconds` of those that ended."""

    def __init__(
        self, run_dir: Path, log: EventLog, monotonic: Callable[[], float], told: Told | None = None
    ) -> None:
        self._run_dir, self._log, self._monotonic = run_dir, log, monotonic
        self._told = [] if told is None else ["--told", codec.dumps(told)]
        self._wandb = told is not None and told.tracking.wandb is not None
        self.patience = TRACKER_SECONDS if self._wandb else END_SECONDS
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._begun = -math.inf
        self._wanted = False
        self.cpu_seconds = 0.0

    def want(self) -> None:
        """There is something new to show; `poll` begins when it is time."""
        self._wanted = True

    def poll(self) -> bool:
        """Look after it. True while one runs."""
        if self._process is not None and not self._ended(self._process):
            return True
        if self._wanted and self._monotonic() - self._begun >= EVERY_SECONDS:
            self.begin()
        return self._process is not None

    def check(self) -> None:
        """Say before anything is trained what a tracker lacks."""
        if reason := missing(wandb=self._wandb):
            self._fail(reason)

    def begin(self, *, last: bool = False) -> None:
        """Start one now; one that runs already is ended, for it knows less. `last`: the attempt is over."""
        self.kill()
        self._wanted, self._begun = False, self._monotonic()
        # In a foreign image the zipapp itself.
        root = str(Path(speech_telemetry.__path__[0]).parent)
        others = os.environ.get("PYTHONPATH")
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, others]))}
        try:
            self._said = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(self._run_dir.absolute()), *self._told, *["--last"] * last],
                env=environ, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
                cwd=os.sep,  # `-m` looks there first: a script's own folder may hold a `json.py`
            )  # fmt: skip
        except OSError as error:
            self._forget()
            self._fail(str(error))

    def kill(self) -> None:
        """End one that still runs: nobody waits for it any longer."""
        if self._process is not None and not self._ended(self._process):
            pid = self._process.pid
            self._process.kill()
            self._process.wait()
            self._forget()
            with contextlib.suppress(OSError):
                unfinished(self._run_dir / paths.REPORT, pid).unlink()

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Reaped here and not by `Popen`, for the sake of its CPU time."""
        try:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status, usage = process.pid, 0, None
        if not pid:
            return False
        process.returncode = os.waitstatus_to_exitcode(status)
        if usage is not None:
            self.cpu_seconds += usage.ru_utime + usage.ru_stime
        if process.returncode and self._said is not None:
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            self._fail((lines[-1] if lines else f"ended with {process.returncode}")[:SAID])
        self._forget()
        return True

    def _forget(self) -> None:
        self._process = None
        if self._said is not None:
            self._said.close()
            self._said = None

    def _fail(self, error: str) -> None:
        self._log.emit(Event.REPORT_FAILED, WARNING, error=error, path=str(self._run_dir))
