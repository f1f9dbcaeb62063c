"""Children of kinds that nobody watches: asked for once and then remembered. Used by `KubernetesCluster`.

A memory holds for as long as the job has the same uid: these objects never change and nobody else makes them.
A write that failed makes the kind forgotten, so that the next look is a real one. Who takes over looks once for all
jobs, not once a job: what that look found serves the first look at each.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any, Final

from speech_contract import names
from speech_contract.events import Event
from speech_operator.child_kind import ChildKind, R
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.job_list import list_all
from speech_operator.cluster.rest import Body, Rest
from speech_operator.events import log

STOCK_SECONDS: Final = (
    60.0  # by then every job was looked at; what is left is of jobs that are gone
)
Records = dict[str, Any]  # by name


@dataclasses.dataclass
class _Job:
    uid: str
    records: dict[ChildKind[Any], Records] = dataclasses.field(default_factory=dict)
    looked: set[ChildKind[Any]] = dataclasses.field(default_factory=set)  # or written


class Remembered:
    """What is known of every job of these namespaces; of all, when none is named."""

    def __init__(self, rest: Rest, namespaces: Sequence[str] = ()) -> None:
        self._rest = rest
        self._namespaces = tuple(namespaces)
        self._jobs: dict[JobKey, _Job] = {}
        self._stocks: dict[ChildKind[Any], dict[JobKey, list[Any]] | None] = {}
        self._stocking = asyncio.Lock()

    def forget(self, key: JobKey) -> None:
        """The job is gone."""
        self._jobs.pop(key, None)

    def begin_attempt(self, key: JobKey) -> None:
        """What serves all attempts is looked up anew in each."""
        job = self._jobs.get(key)
        for kind in [k for k in job.records if k.only_name] if job else ():
            self._jobs[key].records.pop(kind)

    async def read(self, key: JobKey, kind: ChildKind[R], uid: str) -> Sequence[R]:
        """Children that the job with this uid owns."""
        job = self._job(key, uid)
        known, new = job.records.get(kind), kind not in job.looked
        job.looked.add(kind)
        if known is None:
            stock = await self._stock(kind) if new else None
            found = await self._ask(key, kind) if stock is None else stock.pop(key, [])
            known = {one.name: one for one in found if one is not None and one.owner_uid == uid}
            if known or not kind.only_name:
                job.records[kind] = known
        return list(known.values())

    @contextlib.contextmanager
    def writing(
        self, key: JobKey, kind: ChildKind[Any], uid: str, *, first: bool = False
    ) -> Iterator[Records]:
        """Around a write: what is remembered of the kind, to be changed alike. `first`: there can be none before it."""
        job = self._job(key, uid)
        job.looked.add(kind)
        known = job.records.pop(kind, {} if first or kind.only_name else None)
        yield {} if known is None else known
        if known is not None:
            job.records[kind] = known

    @contextlib.contextmanager
    def dropping(self, key: JobKey, kind: ChildKind[Any], name: str) -> Iterator[None]:
        """Around a delete."""
        job = self._jobs.get(key)
        known = job.records.pop(kind, None) if job else None
        yield
        if job is not None and known is not None:
            known.pop(name, None)
            job.records[kind] = known

    def _job(self, key: JobKey, uid: str) -> _Job:
        job = self._jobs.get(key)
        if job is None or job.uid != uid:
            job = self._jobs[key] = _Job(uid)
        return job

    async def _ask(self, key: JobKey, kind: ChildKind[Any]) -> list[Any]:
        if kind.only_name is not None:
            one = await self._rest.find(kind.path(key.namespace, kind.only_name(key.name)))
            found: list[Body] = [] if one is None else [one]
        else:
            query = urllib.parse.urlencode({"labelSelector": f"{names.LABEL_JOB_NAME}={key.name}"})
            found = (await self._rest.get(f"{kind.path(key.namespace)}?{query}")).get("items") or []
        return [kind.project(document, key.name) for document in found]

    async def _stock(self, kind: ChildKind[Any]) -> dict[JobKey, list[Any]] | None:
        """What the first look at any job found of all of them; None once it is old, and where that look failed."""
        async with self._stocking:
            if kind not in self._stocks:
                self._stocks[kind] = None
                stock: dict[JobKey, list[Any]] = {}
                try:
                    await self._fill(stock, kind)
                except ClusterError as error:  # each job is asked for by itself
                    facts = {"verb": f"list {kind.plural}", "error": str(error)}
                    log(Event.CLUSTER_CALL_FAILED, logging.WARNING, **facts)
                else:
                    self._stocks[kind] = stock
                    loop = asyncio.get_running_loop()
                    loop.call_later(STOCK_SECONDS, self._stocks.update, {kind: None})
        return self._stocks[kind]

    async def _fill(self, stock: dict[JobKey, list[Any]], kind: ChildKind[Any]) -> None:
        for namespace in self._namespaces or ("",):
            query = {"labelSelector": names.LABEL_JOB_NAME}
            async for document in list_all(self._rest, kind.path(namespace), query):
                metadata = document["metadata"]
                job = metadata["labels"][names.LABEL_JOB_NAME]
                key = JobKey(metadata["namespace"], job)
                stock.setdefault(key, []).append(kind.project(document, job))
