"""Children of kinds that nobody watches: asked for once and then remembered. Used by `KubernetesCluster`.

A memory holds for as long as the job has the same uid: these objects never change and nobody else makes them.
A write that failed makes the kind forgotten, so that the next look is a real one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from speech_contract import names
from speech_operator.child_kind import ChildKind, R
from speech_operator.cluster.base import JobKey
from speech_operator.cluster.rest import Body, Rest

Records = dict[str, Any]  # by name


@dataclasses.dataclass
class _Job:
    uid: str
    records: dict[ChildKind[Any], Records] = dataclasses.field(default_factory=dict)


class Remembered:
    """What is known of every job."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._jobs: dict[JobKey, _Job] = {}

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
        known = job.records.get(kind)
        if known is None:
            found = [kind.project(document, key.name) for document in await self._ask(key, kind)]
            known = {one.name: one for one in found if one is not None and one.owner_uid == uid}
            if known or not kind.only_name:
                job.records[kind] = known
        return list(known.values())

    @contextlib.contextmanager
    def writing(self, key: JobKey, kind: ChildKind[Any], uid: str) -> Iterator[Records]:
        """Around a write: what is remembered of the kind, to be changed alike."""
        job = self._job(key, uid)
        known = job.records.pop(kind, {} if kind.only_name else None)
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

    async def _ask(self, key: JobKey, kind: ChildKind[Any]) -> list[Body]:
        if kind.only_name is not None:
            found = await self._rest.find(kind.path(key.namespace, kind.only_name(key.name)))
            return [] if found is None else [found]
        query = urllib.parse.urlencode({"labelSelector": f"{names.LABEL_JOB_NAME}={key.name}"})
        page = await self._rest.get(f"{kind.path(key.namespace)}?{query}")
        return list(page.get("items") or ())
