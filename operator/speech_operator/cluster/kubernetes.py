"""KubernetesCluster: the port's calls as requests to an API server. Built by `app`, driven by the controller.

Pods come from the informer, everything else is asked for. Nothing is patched, applied or adopted; a 409 on a
create is looked into: ours of this attempt (an earlier pass made it) or somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol

from speech_contract import names, wire
from speech_contract.api import JobSpec
from speech_contract.run_config import RunConfig
from speech_operator.cluster import http
from speech_operator.cluster.base import (
    AlreadyExists,
    ClusterError,
    Conflict,
    JobKey,
    RunConfigs,
    Unsatisfiable,
)
from speech_operator.cluster.config_maps import RunConfigMaps, somebody_elses
from speech_operator.cluster.informer import PodInformer
from speech_operator.cluster.job_list import list_jobs
from speech_operator.cluster.pod_record import owner_uid, record
from speech_operator.cluster.rest import ApiError, Body, Clock, Rest, TokenBucket
from speech_operator.observe import Endpoints, Platform, PodRecord
from speech_operator.plan import JobEvent
from speech_operator.timestamps import to_text

PROGRESS_TIMEOUT_SECONDS: Final = 5.0  # beyond the time that was asked for
REMEDY_OF_POLICY: Final = (
    "let image and job fit the namespace's Pod Security level, or use another namespace"
)
REMEDY_OF_QUOTA: Final = "ask for less, or wait until others have freed what this job needs"
REMEDY: Final = "correct the job, or ask who runs the cluster; it is tried again"


class Watcher(Protocol):
    """Who wants to know every status that is read or written (the metrics)."""

    def read(self, key: JobKey, status: Mapping[str, Any] | None) -> None:
        """The status of a job as the API server has it; None when the job is gone."""
        ...

    def wrote(self, key: JobKey, status: Mapping[str, Any]) -> None:
        """A status that was just written."""
        ...


class KubernetesCluster:
    """A `Cluster` behind an API server. `progress_writes` bounds status writes that bring new numbers only."""

    def __init__(
        self,
        rest: Rest,
        informer: PodInformer,
        platform: Platform,
        wall_clock: Clock,
        progress_writes: TokenBucket,
        watcher: Watcher | None = None,
    ) -> None:
        self._rest = rest
        self._informer = informer
        self._platform = platform
        self._wall_clock = wall_clock
        self._progress_writes = progress_writes
        self._watcher = watcher
        self._run_configs = RunConfigMaps(rest)
        self._dirty: asyncio.Queue[JobKey] = asyncio.Queue()
        self._waiting: set[JobKey] = set()
        self._last: dict[JobKey, Mapping[str, Any]] = {}  # status as read in this pass
        self._services: set[tuple[JobKey, str]] = set()
        self._suspects: dict[JobKey, set[str]] = {}  # names that were taken when we wanted them

    @property
    def platform(self) -> Platform:
        """A cluster."""
        return self._platform

    # ------------------------------------------------------------------ what changed

    def mark(self, key: JobKey) -> None:
        """This job or one of its pods changed."""
        if key not in self._waiting:
            self._waiting.add(key)
            self._dirty.put_nowait(key)

    async def watch(self) -> AsyncIterator[JobKey]:
        """Marked keys, once the pods are known: a job must not be judged by pods that were not listed yet."""
        await self._informer.wait_until_synced()
        while True:
            key = await self._dirty.get()
            self._waiting.discard(key)
            yield key

    @property
    def waiting(self) -> int:
        """Marked keys that no worker has heard of yet."""
        return len(self._waiting)

    # ------------------------------------------------------------------ what is

    async def get_job(self, key: JobKey) -> Mapping[str, Any] | None:
        """The job document, always fresh."""
        document = await self._rest.find(_job_path(key))
        if document is None:
            self._forget(key)
        else:
            self._last[key] = document.get("status") or {}
        if self._watcher is not None:
            self._watcher.read(key, None if document is None else self._last[key])
        return document

    def _forget(self, key: JobKey) -> None:
        self._run_configs.forget(key)
        self._last.pop(key, None)
        self._suspects.pop(key, None)
        self._services = {known for known in self._services if known[0] != key}

    async def list_jobs(self) -> Sequence[Mapping[str, Any]]:
        """Every job of the namespaces that are watched."""
        return [job async for job in list_jobs(self._rest, self._informer.namespaces)]

    async def list_pods(self, key: JobKey) -> Sequence[PodRecord]:
        """Pods with the job's label under the job's pod names, and others that took such a name."""
        found = {p.record.name: p.record for p in self._informer.pods(key)}
        for name in sorted(self._suspects.get(key, set()) - found.keys()):
            pod = await self._rest.find(f"{_path(key, 'pods')}/{name}")
            if pod is None:
                self._suspects[key].discard(name)
            else:
                found[name] = record(pod, key.name)
        return [pod for pod in found.values() if pod.node_rank >= 0]

    async def get_run_configs(self, key: JobKey, uid: str, attempt: int) -> RunConfigs:
        """Run configs that this very job owns."""
        return await self._run_configs.read(key, uid, attempt)

    async def endpoints(self, key: JobKey, nodes: int, config: RunConfig | None) -> Endpoints:
        """Names that the headless Service gives to pods: `<pod>.<service>`.

        The Service's own name stands for all pods of the job, so it is no address of the master.
        """
        if config is not None:
            addresses = tuple(config.supervisor_addresses)
            return Endpoints(config.master_address, config.master_port, addresses)
        service = names.service_name(key.name)
        hosts = [f"{names.pod_name(key.name, rank)}.{service}" for rank in range(nodes)]
        supervisors = tuple(f"{host}:{names.SUPERVISOR_PORT}" for host in hosts)
        return Endpoints(hosts[0], names.MASTER_PORT, supervisors)

    async def has_service(self, key: JobKey, uid: str) -> bool:
        """Whether the headless Service is there; looked up anew for each attempt."""
        if (key, uid) in self._services:
            return True
        document = await self._rest.find(f"{_path(key, 'services')}/{names.service_name(key.name)}")
        ours = document is not None and owner_uid(document) == uid
        if ours:
            self._services.add((key, uid))
        return ours

    async def get_progress(
        self, key: JobKey, config: RunConfig, since: str, wait_seconds: float
    ) -> bytes:
        """Ask the master's supervisor, by the address of its pod: names are cached, also their absence."""
        name = names.pod_name(key.name, 0)
        pod = next((p for p in self._informer.pods(key) if p.record.name == name), None)
        if pod is None or not pod.address:
            raise ClusterError(f"pod {name} has no address yet")
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        path = f"{wire.PATH_PROGRESS}?since={since}&wait={wait_seconds:g}"
        timeout = wait_seconds + PROGRESS_TIMEOUT_SECONDS
        address = f"{host}:{names.SUPERVISOR_PORT}"
        return await http.get(address, path, timeout, wire.PROGRESS_LIMIT_BYTES)

    # ------------------------------------------------------------------ what is to be

    async def put_status(self, key: JobKey, document: dict[str, Any], version: str) -> None:
        """PUT `/status` at the observed version; numbers alone wait when their budget is spent."""
        if self._numbers_alone(key, document) and not self._progress_writes.try_take():
            return  # nothing is lost: the next pass writes newer ones
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": key.name, "namespace": key.namespace, "resourceVersion": version},
            "status": document,
        }
        try:
            await self._rest.put(f"{_job_path(key)}/status", body)
        except ApiError as error:
            if error.status in (404, 409):
                raise Conflict(str(error)) from error
            raise
        if self._watcher is not None:
            self._watcher.wrote(key, document)

    def _numbers_alone(self, key: JobKey, document: Mapping[str, Any]) -> bool:
        old = self._last.get(key) or {}
        changed = {k for k in old.keys() | document.keys() if old.get(k) != document.get(k)}
        return changed == {"progress"}

    async def create_pod(self, key: JobKey, manifest: Mapping[str, Any]) -> None:
        """POST. See the port."""
        try:
            await self._rest.post(_path(key, "pods"), manifest)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                raise await self._taken(key, manifest) from error
            refusal = _refusal(error)
            raise (refusal or error) from error

    async def _taken(self, key: JobKey, manifest: Mapping[str, Any]) -> ClusterError:
        """Whose the pod is that has our name."""
        name = manifest["metadata"]["name"]
        there = await self._rest.find(f"{_path(key, 'pods')}/{name}")
        if there is None:
            return ClusterError(f"pod {name} went at this moment")
        found, wanted = record(there, key.name), record(_as_pod(manifest), key.name)
        ours = found.owner_uid == wanted.owner_uid and found.attempt == wanted.attempt
        if found.owner_uid != wanted.owner_uid:
            self._suspects.setdefault(key, set()).add(name)
        return AlreadyExists(name, ours=ours)

    async def delete_pod(self, key: JobKey, name: str, uid: str, grace_seconds: int) -> None:
        """DELETE with a uid precondition."""
        options = {"gracePeriodSeconds": grace_seconds, "preconditions": {"uid": uid}}
        try:
            await self._rest.delete(f"{_path(key, 'pods')}/{name}", options)
        except ApiError as error:
            if error.status == 409:
                raise Conflict(str(error)) from error
            raise

    async def create_run_config(
        self, key: JobKey, uid: str, config: RunConfig, accepted: JobSpec
    ) -> None:
        """POST the ConfigMap of an attempt."""
        self._services.discard((key, uid))
        try:
            await self._run_configs.create(key, uid, config, accepted)
        except ApiError as error:
            raise (_refusal(error) or error) from error

    async def delete_run_config(self, key: JobKey, attempt: int) -> None:
        """Delete it."""
        await self._run_configs.delete(key, attempt)

    async def create_service(self, key: JobKey, manifest: Mapping[str, Any]) -> None:
        """POST; one that is there and ours is no error."""
        try:
            await self._rest.post(_path(key, "services"), manifest)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise (_refusal(error) or error) from error
            if not await self.has_service(key, owner_uid(manifest)):
                raise somebody_elses("service", manifest["metadata"]["name"]) from error
        self._services.add((key, owner_uid(manifest)))

    async def delete_job(self, key: JobKey, uid: str) -> None:
        """Delete the job; garbage collection takes its children."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._rest.delete(_job_path(key), options)
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
        await self._rest.post(_path(key, "events"), body)


def _refusal(error: ApiError) -> Unsatisfiable | None:
    """What the API server will not take however often it is asked; None for what may pass."""
    if error.status in (400, 422):
        return Unsatisfiable(f"{error.message}; {REMEDY}")
    if error.status != 403 or "NamespaceTerminating" in error.causes:
        return None
    if "cannot create resource" in error.message:  # the operator's own rights, not the job's fault
        return None
    if "violates PodSecurity" in error.message:
        return Unsatisfiable(f"{error.message}; {REMEDY_OF_POLICY}")
    quota = "exceeded quota" in error.message
    return Unsatisfiable(f"{error.message}; {REMEDY_OF_QUOTA if quota else REMEDY}")


def _as_pod(manifest: Mapping[str, Any]) -> Body:
    """A manifest with what only an API server would add."""
    return {**manifest, "metadata": {"uid": "", **manifest["metadata"]}}


def _job_path(key: JobKey) -> str:
    return f"/apis/{names.API_VERSION}/namespaces/{key.namespace}/{names.PLURAL}/{key.name}"


def _path(key: JobKey, plural: str) -> str:
    return f"/api/v1/namespaces/{key.namespace}/{plural}"
