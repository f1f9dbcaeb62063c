"""KubernetesCluster: the port's calls as requests to an API server. Built by `app`, driven by the controller.

Watched kinds come from informers, everything else is asked for. Nothing is patched, applied or adopted; a 409 on a
create is looked into: ours of this attempt (an earlier pass made it) or somebody else's.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from speech_contract import names, wire
from speech_contract.events import Event
from speech_contract.reasons import Reason
from speech_contract.run_config import RunConfig
from speech_operator.child_kind import ChildKind, R
from speech_operator.children import POD
from speech_operator.cluster import http, kept
from speech_operator.cluster.base import (
    AlreadyExists,
    ClusterError,
    Conflict,
    JobKey,
)
from speech_operator.cluster.informer import Informers
from speech_operator.cluster.job_list import list_jobs
from speech_operator.cluster.known_jobs import KnownJobs
from speech_operator.cluster.marks import put_mark
from speech_operator.cluster.nodes import known_nodes
from speech_operator.cluster.packed import pack, unpack
from speech_operator.cluster.pod_record import child_record, owner_uid
from speech_operator.cluster.pod_warnings import PodWarnings
from speech_operator.cluster.remembered import Remembered
from speech_operator.cluster.rest import ApiError, Body, Clock, Rest, TokenBucket
from speech_operator.cluster.unsatisfiable import refusal, somebody_elses, unserved
from speech_operator.events import log
from speech_operator.plan import JobEvent, Mark
from speech_operator.snapshot import Endpoints, NodeRecord, Platform
from speech_operator.timestamps import to_text

PROGRESS_TIMEOUT_SECONDS: Final = 5.0  # beyond the time that was asked for


class Watcher(Protocol):
    """Who wants to know every job that is read, and every status that is written (the metrics)."""

    def read(self, key: JobKey, job: Mapping[str, Any] | None) -> None:
        """The document of a job as the API server has it; None when the job is gone."""
        ...

    def wrote(self, key: JobKey, status: Mapping[str, Any]) -> None:
        """A status that was just written."""
        ...


class KubernetesCluster:
    """A `Cluster` behind an API server. `progress_writes` bounds status writes that bring new numbers only.

    `known`: what somebody who watches jobs keeps current; None: every look asks the API server.
    """

    def __init__(
        self,
        rest: Rest,
        informers: Informers,
        platform: Platform,
        wall_clock: Clock,
        progress_writes: TokenBucket,
        watcher: Watcher | None = None,
        known: KnownJobs | None = None,
    ) -> None:
        self._rest = rest
        self._known = known
        self._informers = informers
        self._platform = platform
        self._wall_clock = wall_clock
        self._progress_writes = progress_writes
        self._watcher = watcher
        self._remembered = Remembered(rest, informers.of(POD).namespaces)
        self._warnings = PodWarnings(rest)
        self._last: dict[JobKey, bytes] = {}  # the job as read in this pass
        self._lost: dict[JobKey, list[str]] = {}  # fields of its status that the API server drops
        # Names that were taken when we wanted them.
        self._suspects: dict[JobKey, dict[ChildKind[Any], set[str]]] = {}

    @property
    def platform(self) -> Platform:
        """A cluster."""
        return self._platform

    # ------------------------------------------------------------------ what is

    async def get_job(self, key: JobKey) -> Mapping[str, Any] | None:
        """The job document: what was heard of it last, else asked for."""
        packed = self._known.newest(key) if self._known else None
        document = await self._ask(key) if packed is None else unpack(packed)
        if document is None:
            self._forget(key)
        else:
            self._last[key] = packed or pack(document)
        if self._watcher is not None:
            self._watcher.read(key, document)
        return document

    async def _ask(self, key: JobKey) -> Mapping[str, Any] | None:
        document = await self._rest.find(_job_path(key))
        if document is not None and self._known is not None:
            self._known.answered(key, document)
        return document

    def _doubt(self, key: JobKey) -> None:
        if self._known is not None:
            self._known.doubt(key)

    def _forget(self, key: JobKey) -> None:
        self._doubt(key)
        self._remembered.forget(key)
        self._last.pop(key, None)
        self._suspects.pop(key, None)
        self._lost.pop(key, None)

    async def list_jobs(self) -> Sequence[Mapping[str, Any]]:
        """Every job of the namespaces that are watched."""
        return [job async for job in list_jobs(self._rest, self._informers.of(POD).namespaces)]

    async def list_children(self, key: JobKey, kind: ChildKind[R], uid: str) -> Sequence[R]:
        """From the informer or from memory, else from the API server. See the port."""
        if not kind.watched:
            return await self._remembered.read(key, kind, uid)
        found = {record.name: record for record in self._informers.of(kind).records(key)}
        for name in sorted(self._taken_names(key, kind) - found.keys()):
            document = await self._rest.find(kind.path(key.namespace, name))
            record = kind.project(document, key.name) if document else None
            if record is None:
                self._taken_names(key, kind).discard(name)
            else:
                found[name] = record
        if kind is POD:  # of all kinds the only one that has something to say
            pods: list[Any] = list(found.values())
            pods[:] = await self._warnings.told(key.namespace, pods, self._wall_clock())
            return pods
        return list(found.values())

    def _taken_names(self, key: JobKey, kind: ChildKind[Any]) -> set[str]:
        return self._suspects.setdefault(key, {}).setdefault(kind, set())

    async def nodes(self, wanted: Collection[str]) -> Mapping[str, NodeRecord]:
        """From the watch of nodes, where there is one."""
        return await known_nodes(self._rest, self._informers, wanted)

    async def endpoints(self, key: JobKey, nodes: int, config: RunConfig | None) -> Endpoints:
        """Names by the headless Service: `<pod>.<service>`. One pod alone knows its own name without.

        The Service's own name stands for all pods of some jobs, so it is no address of the master.
        """
        if config is not None:
            addresses = tuple(config.supervisor_addresses)
            return Endpoints(config.master_address, config.master_port, addresses)
        if nodes == 1:  # not localhost: there nobody else would hear the supervisor
            own = names.pod_name(key.name, 0)
            return Endpoints(own, names.MASTER_PORT, (f"{own}:{names.SUPERVISOR_PORT}",))
        service = names.service_name(key.name)
        hosts = [f"{names.pod_name(key.name, rank)}.{service}" for rank in range(nodes)]
        supervisors = tuple(f"{host}:{names.SUPERVISOR_PORT}" for host in hosts)
        return Endpoints(hosts[0], names.MASTER_PORT, supervisors)

    async def get_progress(
        self, key: JobKey, config: RunConfig, since: str, wait_seconds: float
    ) -> bytes:
        """Ask the master's supervisor, by the address of its pod: names are cached, also their absence."""
        name = names.pod_name(key.name, 0)
        pod = next((p for p in self._informers.of(POD).records(key) if p.name == name), None)
        if pod is None or not pod.address:
            raise ClusterError(f"pod {name} has no address yet")
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        path = f"{wire.PATH_PROGRESS}?since={since}&wait={wait_seconds:g}"
        timeout = wait_seconds + PROGRESS_TIMEOUT_SECONDS
        address = f"{host}:{names.SUPERVISOR_PORT}"
        return await http.get(address, path, timeout, wire.PROGRESS_LIMIT_BYTES)

    @contextlib.contextmanager
    def _doubting(self, key: JobKey) -> Iterator[None]:
        """Around a write: one that fails says that the job may be another than we know."""
        try:
            yield
        except ClusterError:
            self._doubt(key)
            raise

    # ------------------------------------------------------------------ what is to be

    async def put_status(self, key: JobKey, document: dict[str, Any], version: str) -> None:
        """PUT `/status` at the observed version; numbers alone wait when their budget is spent."""
        if self._numbers_alone(key, document) and not self._progress_writes.try_take():
            return  # nothing is lost: the next pass writes newer ones
        with self._doubting(key):
            answer = await self._put_what_fits(key, document, version)
        if self._known is not None:
            self._known.answered(key, answer)
        if self._watcher is not None:
            self._watcher.wrote(key, document)
        lost = list(kept.dropped(document, answer.get("status")))
        if lost:
            fields = f"status.{', status.'.join(lost[:8])}"
            await self._tell_lost(key, answer, lost, f"the API server does not keep {fields}")
        if kept.essential(lost):
            raise ClusterError(
                f"nothing is begun on a status without {', '.join(lost)}: {kept.REMEDY}"
            )

    async def _put_what_fits(self, key: JobKey, document: Body, version: str) -> Body:
        """Words that an older CRD refuses are left out: better a status without them than none."""
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": version}
        body = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata}
        while True:
            try:
                return await self._rest.put(
                    f"{_job_path(key)}/status", {**body, "status": document}
                )
            except ApiError as error:
                if error.status in (404, 409):
                    raise Conflict(str(error)) from error
                fits = kept.without(document, error.fields) if error.status == 422 else document
                if fits == document:
                    if error.status == 422 and (job := self._last_read(key)):
                        sentence = f"this job stands still, its status is refused ({error.message})"
                        await self._tell_lost(key, job, error.fields, sentence)
                    raise
                document = fits

    async def _tell_lost(
        self, key: JobKey, job: Mapping[str, Any], lost: Sequence[str], sentence: str
    ) -> None:
        """Once for a job and what it loses, in the life of this process."""
        if list(lost) == self._lost.get(key):
            return
        self._lost[key] = list(lost)
        sentence = f"{sentence}: {kept.REMEDY}"
        facts = {"namespace": key.namespace, "job": key.name, "fields": list(lost)}
        log(Event.STATUS_CUT, logging.WARNING, text=sentence, **facts)
        uid = str((job.get("metadata") or {}).get("uid", ""))
        try:
            told = JobEvent(Reason.OUTDATED_CRD.value, sentence[:1024], warning=True)
            await self.post_event(key, uid, told)
        except ClusterError as error:  # the log has it
            verb = "post_event"
            log(Event.CLUSTER_CALL_FAILED, logging.WARNING, verb=verb, error=str(error), **facts)

    def _last_read(self, key: JobKey) -> Mapping[str, Any] | None:
        packed = self._last.get(key)
        return None if packed is None else unpack(packed)

    def _numbers_alone(self, key: JobKey, document: Mapping[str, Any]) -> bool:
        old = (self._last_read(key) or {}).get("status") or {}
        changed = {k for k in old.keys() | document.keys() if old.get(k) != document.get(k)}
        return changed == {"progress"}

    async def create(self, key: JobKey, kind: ChildKind[Any], manifest: Mapping[str, Any]) -> None:
        """POST. See the port."""
        with self._doubting(key):
            await self._create(key, kind, manifest)

    async def _create(self, key: JobKey, kind: ChildKind[Any], manifest: Mapping[str, Any]) -> None:
        if kind.watched:
            name = manifest["metadata"]["name"]
            with self._informers.of(kind).making(key.namespace, name) as take:
                take(await self._post(key, kind, manifest))
            return
        attempt = manifest["metadata"].get("labels", {}).get(names.LABEL_ATTEMPT)
        if attempt is not None:
            self._remembered.begin_attempt(key)
        uid, first = owner_uid(manifest), attempt == "1"
        with self._remembered.writing(key, kind, uid, first=first) as known:
            made = kind.project(await self._post(key, kind, manifest), key.name)
            if made is not None:
                known[made.name] = made

    async def _post(self, key: JobKey, kind: ChildKind[Any], manifest: Mapping[str, Any]) -> Body:
        try:
            return await self._rest.post(kind.path(key.namespace), manifest)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                raise await self._taken(key, kind, manifest) from error
            if kind.optional and error.status == 404:
                raise unserved(kind) from error
            raise (refusal(error) or error) from error

    async def _taken(
        self, key: JobKey, kind: ChildKind[Any], manifest: Mapping[str, Any]
    ) -> ClusterError:
        """Whose the object is that has our name."""
        name, uid = manifest["metadata"]["name"], owner_uid(manifest)
        if not kind.watched:
            ours = any(r.name == name for r in await self._remembered.read(key, kind, uid))
            return AlreadyExists(name, ours=True) if ours else somebody_elses(kind, name)
        there = await self._rest.find(kind.path(key.namespace, name))
        if there is None:
            return ClusterError(f"{kind.noun} {name} went at this moment")
        found, wanted = (child_record(child, key.name) for child in (there, _as_made(manifest)))
        if found.owner_uid != uid:
            self._taken_names(key, kind).add(name)
        ours = (found.owner_uid, found.attempt) == (uid, wanted.attempt)
        return AlreadyExists(name, ours=ours)

    async def delete(
        self,
        key: JobKey,
        kind: ChildKind[Any],
        name: str,
        uid: str,
        grace_seconds: int | None = None,
    ) -> None:
        """DELETE with a uid precondition."""
        options: Body = {"preconditions": {"uid": uid}}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        with self._doubting(key), self._remembered.dropping(key, kind, name):
            await self._delete(kind.path(key.namespace, name), options)

    async def mark(self, key: JobKey, mark: Mark) -> None:
        """PUT `/status` of the object as it is now, at its version."""
        await put_mark(self._rest, key, mark, to_text(self._wall_clock()))

    async def delete_job(self, key: JobKey, uid: str) -> None:
        """Delete the job; garbage collection takes its children."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        self._doubt(key)
        await self._delete(_job_path(key), options)

    async def _delete(self, path: str, options: Body) -> None:
        try:
            await self._rest.delete(path, options)
        except ApiError as error:
            if error.status == 409:
                raise Conflict(str(error)) from error
            raise

    async def post_event(self, key: JobKey, uid: str, event: JobEvent) -> None:
        """One core/v1 Event."""
        now = to_text(self._wall_clock())
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{key.name}.", "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "name": key.name,
                "namespace": key.namespace,
                "uid": uid,
            },
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "message": event.message,
            "source": {"component": names.MANAGED_BY},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._rest.post(f"/api/v1/namespaces/{key.namespace}/events", body)


def _as_made(manifest: Mapping[str, Any]) -> Body:
    """A manifest with what only an API server would add."""
    return {**manifest, "metadata": {"uid": "", **manifest["metadata"]}}


def _job_path(key: JobKey) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{key.namespace}/{names.PLURAL}/{key.name}"
