"""What the kubelet says of a pod in Events alone: volumes that can't be mounted, a sandbox that can't be made.

The pod's own status then reads ContainerCreating for ever. Of use for one that its node has been silent about for a
minute. An API server reads all Events of a namespace to answer for one pod, and a thousand jobs that pull their image
kept it from anything else: so they are listed once for all pods of a namespace, and seldom. Called by `kubernetes`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from speech_contract.events import Event
from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.job_list import list_all
from speech_operator.cluster.pod_record import LONGEST_WORDS
from speech_operator.cluster.rest import Body, Clock, Rest
from speech_operator.events import log
from speech_operator.snapshot import PodPhase, PodRecord

SILENT_SECONDS: Final = 60.0
EVERY_SECONDS: Final = 10.0  # between two lists of a namespace, at least
PAUSES: Final = 20.0  # likewise, in times that the last one took
MOST: Final = 5000  # pods of a namespace of which something is kept
PAGE: Final = 500  # short texts, and each page is a search of its own
# Of pods, but for the scheduler's words: one that has a node has got over them.
SELECTOR: Final = "involvedObject.kind=Pod,reason!=FailedScheduling,type=Warning"


class _Warning(NamedTuple):
    moment: str
    reason: str
    words: str


class _Heard(NamedTuple):
    until: float
    newest: Mapping[str, _Warning]  # by the pod's uid


class PodWarnings:
    """The newest warning of each pod, of every namespace that has silent ones. `clock` in seconds, monotonic."""

    def __init__(self, rest: Rest, clock: Clock = time.monotonic) -> None:
        self._rest = rest
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def told(self, namespace: str, pods: Sequence[PodRecord], now: float) -> list[PodRecord]:
        """The pods, silent ones with the newest warning of each. `now` in epoch seconds."""
        if not any(_silent(pod, now) for pod in pods):
            return list(pods)
        newest = await self._newest(namespace)
        return [_with(pod, newest.get(pod.uid)) if _silent(pod, now) else pod for pod in pods]

    async def _newest(self, namespace: str) -> Mapping[str, _Warning]:
        asking = self._asking.setdefault(namespace, asyncio.Lock())
        heard = self._heard.get(namespace)
        if heard is not None and (asking.locked() or self._clock() < heard.until):
            return heard.newest
        async with asking:
            heard = self._heard.get(namespace)
            if heard is None or self._clock() >= heard.until:
                heard = await self._ask(namespace, heard.newest if heard else {})
        return heard.newest

    async def _ask(self, namespace: str, before: Mapping[str, _Warning]) -> _Heard:
        began, newest = self._clock(), before
        try:
            newest = await _listed(self._rest, namespace)
        except ClusterError as error:  # they are for people: no pass fails for them
            facts = {"verb": "list events", "namespace": namespace, "error": str(error)}
            log(Event.CLUSTER_CALL_FAILED, logging.WARNING, **facts)
        now = self._clock()
        self._heard = {name: one for name, one in self._heard.items() if now < one.until}
        heard = _Heard(now + max(EVERY_SECONDS, PAUSES * (now - began)), newest)
        self._heard[namespace] = heard
        return heard


def _silent(pod: PodRecord, now: float) -> bool:
    waits = pod.phase is PodPhase.PENDING and bool(pod.node) and not pod.deleting
    return waits and not pod.hindrance and now - pod.created_at >= SILENT_SECONDS


def _with(pod: PodRecord, warning: _Warning | None) -> PodRecord:
    if warning is None:
        return pod
    return dataclasses.replace(pod, hindrance=warning.reason, words=warning.words)


async def _listed(rest: Rest, namespace: str) -> dict[str, _Warning]:
    newest: dict[str, _Warning] = {}
    query = {"fieldSelector": SELECTOR, "limit": str(PAGE)}
    async for event in list_all(rest, f"/api/v1/namespaces/{namespace}/events", query):
        uid = str((event.get("involvedObject") or {}).get("uid", ""))
        told = _warning(event)
        known = newest.get(uid)
        if told > known if known else len(newest) < MOST:
            newest[uid] = told
    return newest


def _warning(event: Body) -> _Warning:
    """RFC 3339 texts sort as times; a series is as new as its last member."""
    series: Any = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    moment = str(next((time for time in times if time), ""))
    words = str(event.get("message") or "")[:LONGEST_WORDS]
    return _Warning(moment, str(event.get("reason") or ""), words)
