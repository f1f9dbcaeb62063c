"""Follows a job while it runs: a panel redrawn in place on a terminal, lines anywhere else.

`commands.run` makes one Watcher and hands its `update` to the local controller, which may call it from another
thread than the one that draws; the clock comes in so that tests need no waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from speech_cli.rendering import live, words
from speech_cli.rendering.view import Document, JobView, view_of
from speech_contract.progress import Progress
from speech_contract.reasons import State

PLAIN_EVERY_SECONDS = 5.0
REDRAWS_PER_SECOND = 4


class Watcher(Protocol):
    """What shows a job; `document` is the newest it was given, for the verdict."""

    document: Document | None

    def update(self, document: Document, progress: Progress | None = None) -> None:
        """Take a new state of the job."""
        ...

    def notice(self, sentence: str) -> None:
        """Say something once: fields that a local run ignores, a job that was found running."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class PlainWatcher:
    """One line a change and one every few seconds: for pipes, logs and CI."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        every: float = PLAIN_EVERY_SECONDS,
    ) -> None:
        self._console = console
        self._clock = clock
        self._every = every
        self._said_at = float("-inf")
        self._said: tuple[object, ...] = ()
        self._announced = ""
        self._findings: set[tuple[str, str, int | None]] = set()
        self._view: JobView | None = None
        self.document: Document | None = None

    def update(self, document: Document, progress: Progress | None = None) -> None:
        """Print what changed; numbers at most every few seconds."""
        view = view_of(document, progress)
        self._view, self.document = view, document
        self._announce(view)
        self._say_findings(view)
        now = self._clock()
        if view.step is not None and now - self._said_at >= self._every:
            self._say_line(view, now)

    def notice(self, sentence: str) -> None:
        """One line."""
        self._print(sentence)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End with the newest numbers, unless they were the last thing said."""
        if self._view is not None and self._view.step is not None:
            self._say_line(self._view, self._clock())

    def _announce(self, view: JobView) -> None:
        # A running job pauses for checkpoints and evaluations all the time: no line for those.
        running = view.state == State.RUNNING.value
        stage = f"{live.attempt_of(view)}{view.state}" if running else live.stage(view)
        said = f"{stage} | {view.verdict}"
        if view.state == State.RESTARTING.value and view.reason:
            said = f"{stage} | {view.reason}"  # the health of an attempt that has ended is no news
        if said != self._announced:
            self._announced = said
            self._print(f"{view.name}: {said}", words.style(view.state))

    def _say_findings(self, view: JobView) -> None:
        for finding in view.findings:
            key = (finding.rule, finding.status, finding.step)
            if key not in self._findings:
                self._findings.add(key)
                self._print(live.finding_line(finding), words.style(finding.severity))

    def _say_line(self, view: JobView, now: float) -> None:
        # Throughput falls while a run evaluates; that alone is no news.
        news = (view.step, words.number(view.loss), view.verdict, view.skipped, view.non_finite)
        if news != self._said:
            self._said, self._said_at = news, now
            self._print(live.line(view))

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


class LiveWatcher:
    """A table with a progress bar, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(
            console=console, refresh_per_second=REDRAWS_PER_SECOND, vertical_overflow="crop"
        )
        self.document: Document | None = None

    def update(self, document: Document, progress: Progress | None = None) -> None:
        """Redraw with the newest state."""
        self.document = document
        self._live.update(live.panel(view_of(document, progress)))

    def notice(self, sentence: str) -> None:
        """One line above the panel."""
        self._live.console.print(Text(sentence, style="dim"))

    def __enter__(self) -> Self:
        self._live.start(refresh=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last picture on the screen."""
        self._live.stop()


def watcher_for(console: Console, *, plain: bool) -> Watcher:
    """Live where a person looks, plain where a file or a script does."""
    alive = console.is_terminal and not console.is_dumb_terminal and not plain
    return LiveWatcher(console) if alive else PlainWatcher(console)
