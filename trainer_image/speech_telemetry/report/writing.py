"""Writes the page of a run beside it, whole or not at all. Called by `__main__` and by `speechtrain report`."""

from __future__ import annotations

from pathlib import Path

from speech_contract import paths
from speech_telemetry.files import replace_text
from speech_telemetry.report.folder import read
from speech_telemetry.report.page import ours, render
from speech_telemetry.report.story import Story
from speech_telemetry.report.tracking import tell
from speech_telemetry.told import Told

_HEAD_BYTES = 4096


class NotOursError(Exception):
    """A file of that name is there that speechtrain did not write."""


def write_run(run_dir: Path, now: float, job: Told | None = None, *, last: bool = False) -> Path:
    """`report.html` of a run directory, and what the job's trackers are told; `now` in epoch seconds.

    Raises NotOursError, NotToldError, OSError.
    """
    story = read(run_dir)
    written = write(story, run_dir / paths.REPORT, now)
    if job is not None:
        tell(story, run_dir, job, last=last)
    return written


def write(story: Story, target: Path, now: float) -> Path:
    """Replace `target`, if it is a report or not there. Raises NotOursError, OSError."""
    if target.exists():
        with target.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
        if not ours(head):
            raise NotOursError(f"{target}: is no report of ours, so it stays; name another file")
    replace_text(target, render(story, now))
    return target
