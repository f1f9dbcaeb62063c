"""Whether the ranks of this pod compute. Called by the master's `tick`, while it looks for ranks that hang.

A process that waits for ever takes no time of a core; one that trains, or that skips batches up to a checkpoint, does.
Read from /proc; elsewhere than on Linux nothing is known, and nobody is judged by it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

SECONDS = 5.0  # between two looks
WORKS = 0.1  # cores: what polls a queue takes less
# Fields of /proc/<pid>/stat behind the command's name.
_SESSION, _USER, _CHILDREN_SYSTEM = 3, 11, 15


class WorkReader:
    """`root` is the file system's, `clock` monotonic; tests bring their own."""

    def __init__(
        self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic, ticks: int = 0
    ) -> None:
        self._proc = root / "proc"
        self._clock = clock
        self._ticks = ticks or os.sysconf("SC_CLK_TCK")
        self._due = 0.0
        self._before: tuple[float, float] | None = None  # when, and the seconds taken until then

    def seen(self, sessions: Iterable[int]) -> bool:
        """Look now and then: True when the processes of these sessions took time since the last look."""
        now = self._clock()
        if now < self._due:
            return False
        self._due = now + SECONDS
        taken, before = self._seconds({str(session) for session in sessions}), self._before
        if taken is None:
            return False
        self._before = (now, taken)
        if before is None:
            return True  # it has just started
        # Less than before: a process ended and took its count along.
        return taken < before[1] or taken - before[1] > WORKS * (now - before[0])

    def _seconds(self, sessions: set[str]) -> float | None:
        """Of user and system, of children that were waited for too; None where it can't be told."""
        taken, found = 0, False
        try:
            pids = [path for path in self._proc.iterdir() if path.name.isdigit()]
        except OSError:
            return None
        for path in pids:
            try:
                fields = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if len(fields) > _CHILDREN_SYSTEM and fields[_SESSION] in sessions:
                taken += sum(int(field) for field in fields[_USER:_CHILDREN_SYSTEM])
                found = True
        return taken / self._ticks if found else None
