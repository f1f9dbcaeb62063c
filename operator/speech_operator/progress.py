"""Long-polls the master's `/progress` and keeps the newest answer. One `ProgressReader` a job; `controller` runs it.

An answer can be huge, deep, NaN, of another attempt or hostile: whatever is no Progress document is counted as
silence, never raised into the controller.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Final

from speech_contract import codec, wire
from speech_contract.progress import Progress
from speech_contract.run_config import RunConfig
from speech_operator.cluster.base import Cluster, ClusterError, JobKey

WAIT_SECONDS: Final = 25.0
RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = (
    10.0  # a thousand masters that nobody can reach are not asked a thousand times a second
)
PAUSE_SECONDS: Final = 0.2  # also after good news: a server that never waits is not spun on
MAX_DEPTH: Final = 16  # brackets open at once; a Progress document has 4
MAX_RANKS: Final = 65536
MAX_STEP: Final = 2**53 - 1


def parse_progress(body: bytes) -> Progress | None:
    """Read an answer; None for anything that is no plausible Progress document.

    A newer trainer may say more. Its new words are another matter: they would end in a status that the CRD refuses.
    """
    if len(body) > wire.PROGRESS_LIMIT_BYTES or _depth(body) > MAX_DEPTH:
        return None
    try:
        progress = codec.loads(Progress, body, reading=codec.Reading.FIELDS)
    except (ValueError, OverflowError):
        return None
    return progress if _plausible(progress) else None


def _depth(body: bytes) -> int:
    """Upper bound of the nesting, without parsing: brackets inside texts count too."""
    depth = deepest = 0
    for byte in body:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _plausible(progress: Progress) -> bool:
    whole = [
        value
        for field in dataclasses.fields(progress)
        if isinstance(value := getattr(progress, field.name), int)
    ]
    times = (progress.updated_at, progress.phase_since)
    return (
        all(abs(value) <= MAX_STEP for value in whole)
        and all(math.isfinite(moment) for moment in times)
        and all(0 <= count <= MAX_STEP for count in progress.samples_skipped.values())
        and len(progress.ranks) <= MAX_RANKS
        and all(0 <= seconds <= MAX_STEP for seconds in progress.unheard.values())
    )


class ProgressReader:
    """The newest word of one attempt's master, fetched for as long as `run` is not cancelled."""

    def __init__(
        self,
        cluster: Cluster,
        key: JobKey,
        config: RunConfig,
        clock: Callable[[], float],
        changed: Callable[[JobKey], None],
    ) -> None:
        self.newest: Progress | None = None
        self.attempt = config.attempt
        self._cluster = cluster
        self._key = key
        self._config = config
        self._clock = clock
        self._changed = changed
        self._heard_at = clock()

    @property
    def silent_seconds(self) -> float:
        """Time since the last good answer."""
        return self._clock() - self._heard_at

    async def run(self) -> None:
        """Ask again and again; `changed` is called for each new version."""
        while True:
            news = await self.ask()
            await asyncio.sleep(PAUSE_SECONDS if news else self.retry_seconds)

    @property
    def retry_seconds(self) -> float:
        """How long to wait after an answer that was none: longer, the longer it is silent."""
        longest = RETRY_SECONDS if self._cluster.platform.local else LAST_RETRY_SECONDS
        return min(longest, max(RETRY_SECONDS, self.silent_seconds / 10.0))

    async def ask(self) -> bool:
        """One question; False when the next one should wait a moment."""
        local = self._cluster.platform.local
        since = self.newest.version if self.newest and not local else ""
        wait = 0.0 if local else WAIT_SECONDS  # here a question costs nothing, and people watch
        try:
            body = await self._cluster.get_progress(self._key, self._config, since, wait)
        except ClusterError:
            return False  # silence is judged by its length, in the health policy
        progress = parse_progress(body)
        if progress is None or progress.attempt != self.attempt:
            return False
        self._heard_at = self._clock()
        if progress != self.newest:
            self.newest = progress
            self._changed(self._key)
        return bool(since) and progress.version != since
