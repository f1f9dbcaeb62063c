"""Gives the pods of an attempt back when not all of them find room, and asks for all of them again later.

Half of a gang computes nothing and holds what another job needs: two such jobs would wait for each other for ever.
The attempt stays open, no budget is charged. How long to stay away follows from the job's uid and a counter alone, so
that a pass which is repeated decides the same; it differs from job to job and grows, so that one of them finds room.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Final

from speech_contract.reasons import ON_ITS_WAY, Condition, Reason
from speech_contract.status import JobStatus, PartialGang
from speech_operator import status as st
from speech_operator.children import POD
from speech_operator.plan import Delete, Draft
from speech_operator.policies.cleanup import FAILURE_GRACE_SECONDS
from speech_operator.snapshot import Observed, PodRecord
from speech_operator.timestamps import to_epoch, to_text

REFUSED_SECONDS: Final = 30.0  # a refusal is plain, but a quota's usage lags behind deletions
FIRST_SECONDS: Final = 60.0  # away after the first time, doubled with each
LONGEST_SECONDS: Final = 960.0


def release(seen: Observed, draft: Draft, now: float) -> Draft:
    """Give back what waits for too long; stay away; ask again."""
    status = draft.status
    if st.open_attempt(status) is None:
        return draft
    if st.gang_is_released(status):
        return _away(seen, draft, now)
    pods = [pod for pod in seen.own_pods if pod.attempt == status.attempt]
    if not _partial(seen, status, pods):
        return draft
    patience = _patience(seen, status)
    left = _held_since(status, pods) + patience - now
    return draft.requeued(left) if left > 0 else _give_back(seen, draft, pods, patience, now)


def _partial(seen: Observed, status: JobStatus, pods: list[PodRecord]) -> bool:
    """A gang of one is never half there; one that was whole and runs has found its room.

    All pods and no node for any: it holds nothing, and keeps its place with scheduler and autoscaler.
    """
    nodes, placed = seen.spec.num_nodes, sum(pod.placed for pod in pods)
    if not pods or st.is_true(status, Condition.RUNNING):
        return False
    return len(pods) < nodes or 0 < placed < nodes


def _patience(seen: Observed, status: JobStatus) -> float:
    timeout = float(seen.spec.run_policy.scheduling_policy.schedule_timeout_seconds)
    refused = st.has_reason(status, Condition.RUNNING, Reason.POD_REFUSED)
    return min(timeout, REFUSED_SECONDS) if refused else timeout


def _held_since(status: JobStatus, pods: list[PodRecord]) -> float:
    """Since the oldest pod of this try, in the API server's time."""
    began = to_epoch(status.attempts[-1].start_time or "1970-01-01T00:00:00Z")
    return max(began, min(pod.created_at for pod in pods))


def _give_back(
    seen: Observed, draft: Draft, pods: list[PodRecord], patience: float, now: float
) -> Draft:
    """Status first: after a crash the pods must not be taken for those of the next try."""
    status, nodes = draft.status, seen.spec.num_nodes
    times = 1 + (status.partial_gang.releases if status.partial_gang else 0)
    next_try = to_text(now + seconds_away(seen.job.uid, times))
    placed = sum(pod.placed for pod in pods)
    there = "" if len(pods) == nodes else f", {len(pods)} are made"
    message = (
        f"{placed} of {nodes} pods have a node after {patience:.0f} s{there}; all are given back, so that others can "
        f"start, and asked for again at {next_try}{_last_words(status)}"
    )
    status = st.with_condition(status, Condition.RUNNING, False, Reason.GANG_RELEASED, message, now)
    status = dataclasses.replace(status, partial_gang=PartialGang(times, next_try))
    draft = draft.to(status=status, status_first=True)
    return _deleting(draft.told(Reason.GANG_RELEASED, message, warning=True), seen)


def _last_words(status: JobStatus) -> str:
    """What API server or scheduler said of a pod."""
    running = st.condition(status, Condition.RUNNING)
    quiet = running is None or st.has_reason(status, Condition.RUNNING, *ON_ITS_WAY)
    return "" if quiet or running is None else f"; {running.message}"


def seconds_away(uid: str, times: int) -> float:
    """How long to stay away after so many times: half to one and a half of a length that doubles up to a limit."""
    digest = hashlib.sha256(f"{uid}/{times}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 2**32
    return min(FIRST_SECONDS * 2.0 ** min(times - 1, 16), LONGEST_SECONDS) * (0.5 + share)


def _away(seen: Observed, draft: Draft, now: float) -> Draft:
    """Until its time has come and every old pod is gone, whose names are wanted again."""
    if seen.own_pods:
        return _deleting(draft, seen)
    status, gang = draft.status, draft.status.partial_gang
    left = to_epoch(gang.next_try) - now if gang and gang.next_try else 0.0
    if left > 0:
        return draft.to(decided=True).requeued(left)
    message = f"attempt {status.attempt} asks for its pods again"
    status = st.with_condition(
        status, Condition.RUNNING, False, Reason.ATTEMPT_STARTED, message, now
    )
    return draft.to(status=status, status_first=True)


def _deleting(draft: Draft, seen: Observed) -> Draft:
    """Nothing was trained, so there is nothing to save."""
    pods = [pod for pod in seen.own_pods if not pod.deleting]
    deletes = [Delete(POD, pod.name, pod.uid, FAILURE_GRACE_SECONDS) for pod in pods]
    return draft.to(decided=True).deleting(*deletes)
