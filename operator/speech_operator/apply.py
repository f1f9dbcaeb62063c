"""Carries out a plan: nothing else writes to a job, its status, its events or its children. Called by `controller`.

One status write a pass, events only after it. When status holds intent it goes first, otherwise children do; no child
waits for an event then. Creates run in parallel under a limit. A Conflict ends the pass; the next one observes again.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Coroutine
from typing import Any

from speech_contract import codec
from speech_contract.events import Event
from speech_operator.cluster.base import AlreadyExists, Cluster, ClusterError, JobKey, Unsatisfiable
from speech_operator.events import event_of, log
from speech_operator.plan import Create, Delete, JobEvent, Plan
from speech_operator.snapshot import Observed

CREATES_AT_ONCE = 20  # of a job


class Turns:
    """Who deletes and who creates, of all jobs: some at a time, in the order in which they asked: gangs come whole.

    A job that waits holds no manifest and no task for each; no status waits behind more creates than `creates`. Each
    of the two has turns of its own: what is to go, for a suspension, does not wait for what is to come.
    """

    def __init__(self, jobs: int = 32, creates: int = 64) -> None:
        self.of_leavers = asyncio.Semaphore(jobs)
        self.of_jobs = asyncio.Semaphore(jobs)
        self.of_creates = asyncio.Semaphore(creates)


async def apply(
    cluster: Cluster,
    key: JobKey,
    seen: Observed,
    plan: Plan,
    at_once: int = CREATES_AT_ONCE,
    turns: Turns | None = None,
) -> None:
    """Make it so. Raises ClusterError (Conflict among them) when a write failed; what was done stays done."""
    turns = turns or Turns()
    if plan.delete_job:
        await cluster.delete_job(key, seen.job.uid)
        return
    if plan.status_first:
        await _write_status(cluster, key, seen, plan)
        children = _children(cluster, key, plan, at_once, turns)
        await _together([children, _tell(cluster, key, seen, plan)], asyncio.Semaphore(2))
        return
    try:
        await _children(cluster, key, plan, at_once, turns)
    except Unsatisfiable:
        # What was seen is true all the same, and no other pass would come to write it.
        await _write_status(cluster, key, seen, plan)
        await _tell(cluster, key, seen, plan)
        raise
    await _write_status(cluster, key, seen, plan)
    await _tell(cluster, key, seen, plan)


async def _write_status(cluster: Cluster, key: JobKey, seen: Observed, plan: Plan) -> None:
    if plan.status != seen.job.status:
        document = codec.to_document(plan.status)
        await cluster.put_status(key, document, seen.job.resource_version)


async def _tell(cluster: Cluster, key: JobKey, seen: Observed, plan: Plan) -> None:
    for event in plan.events:
        await _tell_one(cluster, key, seen, event)


async def _tell_one(cluster: Cluster, key: JobKey, seen: Observed, event: JobEvent) -> None:
    level = logging.WARNING if event.warning else logging.INFO
    facts = {"namespace": key.namespace, "job": key.name, "uid": seen.job.uid}
    log(event_of(event.reason), level, reason=event.reason, text=event.message, **facts)
    try:
        await cluster.post_event(key, seen.job.uid, event)
    except ClusterError as error:  # an event is for people; the status says the same
        log(
            Event.CLUSTER_CALL_FAILED, logging.WARNING, verb="post_event", error=str(error), **facts
        )


async def _children(cluster: Cluster, key: JobKey, plan: Plan, at_once: int, turns: Turns) -> None:
    limit = asyncio.Semaphore(at_once)
    if plan.deletes:
        async with turns.of_leavers:
            await _together([_delete(cluster, key, action) for action in plan.deletes], limit)
    if plan.creates:
        async with turns.of_jobs:
            await _create_all(cluster, key, plan, limit, turns)
    await _together([cluster.mark(key, mark) for mark in plan.marks], limit)
    if plan.deletes or plan.creates or plan.marks:
        facts = {"deletes": len(plan.deletes), "creates": len(plan.creates)}
        log(Event.CHILDREN_APPLIED, namespace=key.namespace, job=key.name, **facts)


async def _create_all(
    cluster: Cluster, key: JobKey, plan: Plan, limit: asyncio.Semaphore, turns: Turns
) -> None:
    for _, creates in itertools.groupby(plan.creates, lambda create: create.kind):
        # Kinds one after the other: what pods rely on comes before them.
        calls = [_create(cluster, key, create, turns.of_creates) for create in creates]
        await _together(calls, limit)


async def _delete(cluster: Cluster, key: JobKey, action: Delete) -> None:
    await cluster.delete(key, action.kind, action.name, action.uid, action.grace_seconds)


async def _create(cluster: Cluster, key: JobKey, action: Create, turn: asyncio.Semaphore) -> None:
    try:
        async with turn:  # no manifest is built before
            await cluster.create(key, action.kind, action.manifest)
    except AlreadyExists as error:
        if not error.ours:  # the next observation shows whose it is; reconcile says so in status
            raise


async def _together(calls: list[Coroutine[Any, Any, None]], limit: asyncio.Semaphore) -> None:
    """Run all, at most so many at once; every call is finished before the first error is raised."""

    async def one(call: Coroutine[Any, Any, None]) -> None:
        async with limit:
            await call

    results = await asyncio.gather(*(one(call) for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
