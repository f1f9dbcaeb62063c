"""Tells people of a job whose passes end on: pods that the cluster will not take, a status that nobody can read.

One condition, one Event, and no storm: the controller tries again with backoff, and nothing is written while the API
server says the same. Called by `app`.
"""

from __future__ import annotations

import logging

from speech_contract.events import Event
from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.apply import apply
from speech_operator.cluster.base import Cluster, JobKey
from speech_operator.events import log
from speech_operator.job_document import read_job
from speech_operator.plan import JobEvent, Plan
from speech_operator.snapshot import Job, Observed


async def tell_refusal(cluster: Cluster, key: JobKey, sentence: str, now: float) -> None:
    """Write it into the condition Running of a job whose gang is not whole. Raises ClusterError."""
    document = await cluster.get_job(key)
    if document is None:
        return
    job = read_job(document, local=cluster.platform.local)
    plan = refusal(job, sentence, now)
    if plan is None:
        return
    log(Event.POD_REFUSED, logging.WARNING, namespace=key.namespace, job=key.name, text=sentence)
    await apply(cluster, key, Observed(job), plan)


class Unreadable:
    """Jobs whose status was written by nobody of ours: an Event for each; the status itself stays."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._told: dict[JobKey, tuple[str, str]] = {}  # the job's uid and what was said of it

    async def tell(self, key: JobKey, sentence: str) -> None:
        """Say it once of each job. Raises ClusterError: then nothing was said."""
        document = await self._cluster.get_job(key)
        if document is None:
            return
        uid = str(document["metadata"]["uid"])
        if self._told.get(key) == (uid, sentence):
            return
        told = f"this job stands still: {sentence}"
        event = JobEvent(Reason.STATUS_UNREADABLE.value, told, warning=True)
        await self._cluster.post_event(key, uid, event)
        self._told[key] = (uid, sentence)

    def forget(self, key: JobKey) -> None:
        """The job is gone."""
        self._told.pop(key, None)


def refusal(job: Job, sentence: str, now: float) -> Plan | None:
    """The plan that says so; None when it is no news, or neither pods nor a place in a queue are wanted."""
    status, reason = job.status, Reason.POD_REFUSED
    if st.is_true(status, Condition.QUEUED):
        reason = Reason.QUEUE_REFUSED
        status = st.with_condition(status, Condition.QUEUED, True, reason, sentence, now)
    elif st.open_attempt(status) is None or st.gang_was_whole(status):
        return None
    elif st.gang_is_released(status):  # a refusal of pods that are given back since
        return None
    else:
        status = st.with_condition(status, Condition.RUNNING, False, reason, sentence, now)
    status = st.with_state(status)
    if status == job.status:
        return None
    event = JobEvent(reason.value, sentence, warning=True)
    return Plan(status=status, events=(event,))
