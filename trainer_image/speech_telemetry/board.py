"""What the supervisor's main thread shows to the threads of its HTTP server, under one lock.

Written by `supervisor`, read by `server`. The version rules of `/progress` live here.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

from speech_contract import codec
from speech_contract.progress import Progress

STEP_INTERVAL = 5.0  # seconds between versions when only the step moved
LONGEST_WAIT = 60.0


class Board:
    """The newest progress document and its version; readiness; counts of scrapes."""

    def __init__(self, attempt: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._attempt = attempt
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._number = 0
        self._bumped = monotonic()
        self._progress = Progress(version=f"{attempt}.0", attempt=attempt)
        self._shown_step: int | None = None  # the step of the last version
        self._closed = False
        self._ready = False
        self._scrapes = 0

    @property
    def progress(self) -> Progress:
        """The newest document."""
        with self._changed:
            return self._progress

    @property
    def ready(self) -> bool:
        """Every local rank reported a step."""
        return self._ready

    @property
    def scrapes(self) -> int:
        """How often /metrics was read."""
        return self._scrapes

    def count_scrape(self) -> None:
        """/metrics was read."""
        with self._changed:
            self._scrapes += 1

    def set_ready(self, ready: bool) -> None:
        """Set what /readyz answers."""
        self._ready = ready

    def publish(self, progress: Progress) -> bool:
        """Show `progress`; its version is set here. True when more than the step changed."""
        now = self._monotonic()
        with self._changed:
            urgent = _weighty(progress) != _weighty(self._progress)
            moved = progress.step != self._shown_step
            if urgent or (moved and now - self._bumped >= STEP_INTERVAL):
                self._number += 1
                self._bumped = now
                self._shown_step = progress.step
                self._changed.notify_all()
            version = f"{self._attempt}.{self._number}"
            self._progress = dataclasses.replace(progress, version=version)
        return urgent

    def read(self, since: str, wait: float) -> str:
        """The document as JSON. Waits for a newer version only when `since` is the current one."""
        with self._changed:
            if self._is_current(since):
                deadline = self._monotonic() + min(max(0.0, wait), LONGEST_WAIT)
                while self._is_current(since):
                    left = deadline - self._monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
            progress = self._progress
        return codec.dumps(progress)

    def close(self) -> None:
        """Answer every waiting reader now: nothing more will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_current(self, since: str) -> bool:
        return not self._closed and since == f"{self._attempt}.{self._number}"


def _weighty(progress: Progress) -> tuple[object, ...]:
    """What a reader must hear of at once."""
    findings = tuple((f.rule, f.status, f.severity, f.action, f.step) for f in progress.findings)
    return (
        progress.verdict, findings, progress.phase, progress.rollbacks, progress.done, progress.running,
        progress.preflight, set(progress.unheard),
    )  # fmt: skip
