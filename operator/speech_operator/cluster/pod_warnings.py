"""What the kubelet says of a pod in Events alone: volumes that can't be mounted, a sandbox that can't be made.

The pod's own status then reads ContainerCreating for ever. Asked for one pod of a job at a time, and of one that its
node has been silent about for a minute. Called by `kubernetes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from speech_operator.cluster.pod_record import LONGEST_WORDS
from speech_operator.cluster.rest import Body, Rest
from speech_operator.snapshot import PodPhase, PodRecord

SILENT_SECONDS: Final = 60.0
OVER: Final = frozenset({"FailedScheduling"})  # a pod that has a node has got over it


async def with_warning(
    rest: Rest, namespace: str, pods: Sequence[PodRecord], now: float
) -> list[PodRecord]:
    """The pods, the first silent one with the newest warning told of it. Raises ClusterError."""
    silent = min((pod for pod in pods if _silent(pod, now)), key=_rank, default=None)
    if silent is None:
        return list(pods)
    told = await _newest_warning(rest, namespace, silent.uid)
    reason, words = str(told.get("reason") or ""), str(told.get("message") or "")
    heard = dataclasses.replace(silent, hindrance=reason, words=words[:LONGEST_WORDS])
    return [heard if pod is silent else pod for pod in pods]


def _silent(pod: PodRecord, now: float) -> bool:
    waits = pod.phase is PodPhase.PENDING and bool(pod.node) and not pod.deleting
    return waits and not pod.hindrance and now - pod.created_at >= SILENT_SECONDS


def _rank(pod: PodRecord) -> int:
    return pod.node_rank


async def _newest_warning(rest: Rest, namespace: str, uid: str) -> Body:
    selector = quote(f"involvedObject.uid={uid},type=Warning")
    found = await rest.get(f"/api/v1/namespaces/{namespace}/events?fieldSelector={selector}")
    return max(_telling(found.get("items") or ()), key=_moment, default={})


def _telling(events: Iterable[Body]) -> list[Body]:
    return [event for event in events if event.get("reason") not in OVER]


def _moment(event: Body) -> str:
    """RFC 3339 texts sort as times; a series is as new as its last member."""
    series: Any = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), ""))
