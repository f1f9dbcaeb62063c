"""What a page tells beside the rows of a run directory: a job's `why`, or a foreign log before the rules.

Called by `commands.report`, and by `commands.run` when a job of this machine has ended.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from speech_cli.place import Place
from speech_cli.recordings import Recording
from speech_cli.rendering import why
from speech_cli.rendering.cause import cause_of
from speech_cli.rendering.time_spent import share
from speech_cli.rendering.view import Document, view_of
from speech_contract import paths
from speech_contract.goodput import seconds_of
from speech_health.replay import Fired, Replayed, replay
from speech_health.samples import StepSample
from speech_telemetry.report.curves import Curves, Mark
from speech_telemetry.report.folder import read
from speech_telemetry.report.story import Lines, Story
from speech_telemetry.report.writing import NotOursError, write
from speech_telemetry.series import Sampler


def why_of(found: Place, document: Document) -> Lines:
    """The lines of `speechtrain why`."""
    told = found.outcomes(document)
    evidence = found.evidence(document, cause_of(document, told))
    return list(why.lines(why.explain(document, told, evidence, time.time())))


def of_run(folder: Path, found: Place, document: Document) -> Story:
    """The page of a job: its run directory, told as `why` and `status` tell it. Raises OSError."""
    view = view_of(document)
    story = read(folder)
    story.title, story.why = view.name, why_of(found, document)
    if any(seconds_of(view.goodput).values()):  # else the rows' own account is the only one
        story.goodput, story.share, story.counted_by = view.goodput, share(view), "as in status"
    return story


def redraw(folder: Path, found: Place, document: Document) -> None:
    """Tell a page that the trainer wrote what only its controller knows: where the time went, and why it ended.

    A page that cannot be written stays as it is: the run is not about it.
    """
    page = folder / paths.REPORT
    if page.is_file():
        with contextlib.suppress(OSError, NotOursError):
            write(of_run(folder, found, document), page, time.time())


def of_log(path: Path) -> Story:
    """A log of somebody's trainer, judged as `replay` does. Raises BadData."""
    recording, curves = Recording(path), Curves()
    result = replay(_kept(recording.samples(), curves))
    curves.settle()
    for fired in result.findings:
        text = f"{fired.rule.value}: {fired.evidence}"
        curves.marks.append(
            Mark(
                "finding",
                fired.step or 0,
                len(curves.attempts),
                text,
                fired.severity.value.capitalize(),
            )
        )
    story = Story(path.resolve().name, curves, list(_told(result, recording)))
    story.environment = [("format", recording.format)]
    story.notes = list(recording.notes)
    return story


def _kept(samples: Iterable[StepSample], curves: Curves) -> Iterator[StepSample]:
    """The samples, and their rows into `curves`; each run of a file is an attempt."""
    run, sampler = 1, Sampler()
    for sample in samples:
        if sample.opens and curves.steps:
            run, sampler = run + 1, Sampler()
        row = sampler.take(sample)
        if row is not None:
            curves.take(row, run)
        yield sample


def _told(result: Replayed, recording: Recording) -> Iterator[tuple[str, str]]:
    runs = f" of {result.runs} runs" if result.runs > 1 else ""
    yield (
        "log",
        f"{result.reports} reports{runs} up to step {result.last_step}, read as {recording.format}",
    )
    if not result.findings:
        yield "rules", "none would have fired"
    yield from ((fired.rule.value, _said(fired)) for fired in result.findings)


def _said(fired: Fired) -> str:
    where = "" if fired.step is None else f"step {fired.step}: "
    return f"{where}{fired.evidence} ({fired.severity.value}, {fired.status.value}, {fired.action.value})"
