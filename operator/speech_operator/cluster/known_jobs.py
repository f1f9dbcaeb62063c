"""The newest document of every job, as watch, lists and our own writes brought it. Used by `KubernetesCluster`.

A pass that reads its job out of here costs the API server nothing. What could be out of date is not used: after a
write that failed, and after `TRUST_SECONDS` in which nothing was heard of a job, the next look is a real one, and until
then a watch, which is always a little late, is not believed. Nor is an answer of a job that was told to be gone: our
write may have been answered before its end, and be heard of after it. Versions are compared as numbers (KEP-5504);
from a server whose versions are none, nothing is kept at all. Kept is text: dicts take some eight times the room, and
a pass has use for one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import orjson

from speech_operator.cluster.base import JobKey
from speech_operator.cluster.packed import LAST_APPLIED, Document, pack, unpack

TRUST_SECONDS: Final = 300.0  # of silence: a watch may have died without a word


class _Known(NamedTuple):
    version: int
    heard: float
    packed: bytes | None  # None: in doubt, and nothing older than `version` is news
    wish: bytes | None = None  # what people say of it
    uid: str = ""
    gone: bool = False  # the job of this uid


class KnownJobs:
    """Documents by job. `clock` in seconds, monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._jobs: dict[JobKey, _Known] = {}

    def newest(self, key: JobKey) -> bytes | None:
        """As text, which is kept anyway. None: ask the API server."""
        known = self._jobs.get(key)
        if known is None or self._clock() - known.heard > TRUST_SECONDS:
            return None
        return known.packed

    def documents(self) -> Iterator[tuple[JobKey, Document]]:
        """All of which something is known, however old it is."""
        yield from (
            (key, unpack(k.packed)) for key, k in self._jobs.items() if k.packed is not None
        )

    def told(self, key: JobKey, document: Document | None) -> bool:
        """A watch or a list said so: how the job was, perhaps before our last write; None: it went.

        Whether somebody may want something else now: what is new is more than a status.
        """
        known = self._jobs.get(key)
        if document is None:
            self.doubt(key)
            self._jobs[key] = self._jobs[key]._replace(gone=True)
            return True
        wish = _wish(document)
        if known is None or known.packed is not None:
            self._take(key, document, wish)
        return known is None or known.wish is None or known.wish != wish

    def answered(self, key: JobKey, document: Document) -> None:
        """The API server answered a read or a write of ours: so it is."""
        self._take(key, document, _wish(document))

    def _take(self, key: JobKey, document: Document, wish: bytes) -> None:
        metadata = document.get("metadata") or {}
        version, uid = (str(metadata.get(word, "")) for word in ("resourceVersion", "uid"))
        if not version.isdecimal():
            self._jobs.pop(key, None)
            return
        known = self._jobs.get(key)
        if known is not None and known.gone and uid and known.uid == uid:
            return
        if known is None or int(version) >= known.version:
            self._jobs[key] = _Known(int(version), self._clock(), pack(document), wish, uid)

    def doubt(self, key: JobKey) -> None:
        """The job went, or a write failed: only the API server knows."""
        now = self._clock()
        known = self._jobs.get(key)
        self._jobs[key] = (
            _Known(0, now, None)
            if known is None
            else known._replace(heard=now, packed=None, wish=None)
        )
        over = [
            k
            for k, one in self._jobs.items()
            if one.packed is None and now - one.heard > TRUST_SECONDS
        ]
        for old in over:  # what a watch still tells of these is news
            del self._jobs[old]


def _wish(document: Document) -> bytes:
    """What people say of a job. An operator writes none of it."""
    metadata = document.get("metadata") or {}
    words = ("uid", "generation", "deletionTimestamp", "labels")
    notes = metadata.get("annotations") or {}
    said = [notes[note] for note in sorted(notes) if note != LAST_APPLIED]
    told = [*map(metadata.get, words), sorted(notes), said]
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
