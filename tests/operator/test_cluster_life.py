"""A whole job over an API server in memory: what it costs in requests, and that no crash or fault changes its end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import re
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from speech_contract import names
from speech_operator.apply import apply
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.informer import Informers
from speech_operator.cluster.known_jobs import KnownJobs
from speech_operator.cluster.kubernetes import KubernetesCluster
from speech_operator.cluster.rest import WRITES, Answer, Pace, Rest, TokenBucket
from speech_operator.observe import observe
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import Platform
from speech_operator.timestamps import to_text

KEY = JobKey("speech", "asr")
NAMESPACE = "/namespaces/speech"
JOB = f"/apis/{names.API_VERSION}{NAMESPACE}/{names.PLURAL}/asr"
JOBS = JOB.rpartition("/")[0]
PODS = f"/api/v1{NAMESPACE}/pods"
TIMES = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


COSTS = {
    ("PUT", "speechtrainingjobs"): 7,
    ("GET", "pods"): 1,
    ("POST", "pods"): 4,
    ("DELETE", "pods"): 2,
    ("POST", "configmaps"): 2,
    ("DELETE", "configmaps"): 1,
    ("GET", "services"): 1,  # of the second attempt
    ("POST", "services"): 1,
    ("POST", "events"): 4,
}


OF_ONE_POD = {
    ("PUT", "speechtrainingjobs"): 3,
    ("GET", "pods"): 1,  # of all jobs, once
    ("POST", "pods"): 1,
    ("POST", "configmaps"): 1,
    ("POST", "events"): 2,
}


class Dead(BaseException):
    """The operator died: no handler of ours may see it."""


class ApiServer:
    """Objects by path, with uids, versions, preconditions, and watches. `spoil(number)` may fail a request."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []  # method and plural
        self.created: collections.Counter[tuple[str, str]] = collections.Counter()
        self.log: list[
            tuple[int, str, str, dict[str, Any]]
        ] = []  # version, collection, type, object
        self.changed = asyncio.Condition()
        self.version = 0
        self.dies_after = 0  # the number of a write
        self.fails_at = 0  # the number of a request
        self.lost_answer = False  # of the failing request: it was carried out

    def put(self, path: str, document: dict[str, Any], kind: str) -> dict[str, Any]:
        self.version += 1
        metadata = {**document["metadata"], "resourceVersion": str(self.version)}
        stored = self.objects[path] = {**document, "metadata": metadata}
        self.log.append((self.version, path.rpartition("/")[0], kind, stored))
        return stored

    def drop(self, path: str) -> None:
        self.version += 1
        gone = self.objects.pop(path)
        gone = {**gone, "metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        self.log.append((self.version, path.rpartition("/")[0], "DELETED", gone))

    def list(self, collection: str, selector: str = "") -> list[dict[str, Any]]:
        label, _, value = selector.partition("=")
        return [
            found
            for path, found in self.objects.items()
            if path.rpartition("/")[0] == collection
            and (
                not label or found["metadata"].get("labels", {}).get(label, "") in (value or "asr")
            )
        ]

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        place, _, query = path.partition("?")
        plural = re.sub(r".*/namespaces/\w+/", "", place).split("/")[0]
        self.asked.append((method, plural))
        fails = len(self.asked) == self.fails_at
        if fails and not self.lost_answer:
            raise ClusterError("connection refused")
        code, answer = self._carry_out(method, place, urllib.parse.parse_qs(query), body)
        async with self.changed:
            self.changed.notify_all()
        if method in WRITES and self.writes == self.dies_after:
            raise Dead
        if fails:
            raise ClusterError("connection reset")
        return Answer(code, json.dumps(answer).encode())

    @property
    def writes(self) -> int:
        return sum(method in WRITES for method, _ in self.asked)

    def _carry_out(self, method: str, path: str, query: Any, body: Any) -> tuple[int, Any]:
        if method == "POST":
            return self._post(path, body)
        if path.rpartition("/")[2] in ("pods", "configmaps", "services"):
            items = self.list(path, query.get("labelSelector", [""])[0])
            return 200, {"items": items, "metadata": {"resourceVersion": str(self.version)}}
        target = path.removesuffix("/status")
        there = self.objects.get(target)
        if there is None:
            return 404, {"reason": "NotFound"}
        if method == "GET":
            return 200, there
        if method == "PUT":
            if body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
                return 409, {"reason": "Conflict"}
            return 200, self.put(target, {**there, "status": body["status"]}, "MODIFIED")
        if body["preconditions"]["uid"] != there["metadata"]["uid"]:
            return 409, {"reason": "Conflict"}
        if path.startswith(PODS):
            metadata = {**there["metadata"], "deletionTimestamp": "now"}
            self.put(path, {**there, "metadata": metadata}, "MODIFIED")
        else:
            self.drop(path)
        return 200, {}

    def _post(self, path: str, body: Any) -> tuple[int, Any]:
        if path.endswith("/events"):
            return 201, body
        name = body["metadata"]["name"]
        if f"{path}/{name}" in self.objects:
            return 409, {"reason": "AlreadyExists"}
        attempt = body["metadata"]["labels"].get(names.LABEL_ATTEMPT, "")
        self.created[name, attempt] += 1
        metadata = {**body["metadata"], "uid": f"uid-{self.version + 1}"}
        return 201, self.put(f"{path}/{name}", {**body, "metadata": metadata}, "ADDED")

    async def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        place, _, query = path.partition("?")
        seen = int(urllib.parse.parse_qs(query)["resourceVersion"][0])
        while True:
            for version, collection, kind, found in list(self.log):
                if version > seen and collection == place:
                    yield json.dumps({"type": kind, "object": found}).encode()
                    seen = version
            async with self.changed:
                await self.changed.wait()


class Life:
    """One operator's core over the server: passes are made when a test says so."""

    def __init__(self, server: ApiServer) -> None:
        rest = Rest(server, lambda: 0.0, pace=Pace(1e6, 1e6))
        self.informers = Informers(rest, ("speech",), lambda key: None, lambda: 0.0)
        writes = TokenBucket(1e6, 1e6, lambda: 0.0, asyncio.sleep)
        self.known = KnownJobs(lambda: 0.0)
        self.cluster = KubernetesCluster(
            rest, self.informers, Platform(), lambda: 0.0, writes, known=self.known
        )
        self.server, self.heard = server, 0

    def hear(self) -> None:
        """What a watch of jobs brings: all that happened, but what happened last, which is under way."""
        told = [
            (v, job) for v, place, _, job in self.server.log if place == JOBS and v > self.heard
        ]
        for version, job in told if self.heard == 0 else told[:-1]:
            self.heard = version
            self.known.told(KEY, job)

    async def look(self, now: float) -> None:
        """One pass. A failure is what the next one is for."""
        await self.informers.wait_until_synced()
        self.hear()
        with contextlib.suppress(ClusterError):
            seen = await observe(self.cluster, KEY, None, None)
            if seen is not None:
                await apply(self.cluster, KEY, seen, reconcile(seen, now), at_once=1)


@contextlib.asynccontextmanager
async def alive(server: ApiServer) -> AsyncIterator[Life]:
    life = Life(server)
    task = asyncio.create_task(life.informers.run())
    try:
        yield life
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class World:
    """Kubelets by a script: attempt 1 loses a worker, attempt 2 is done."""

    def __init__(self, server: ApiServer, now: float) -> None:
        self.server = server
        self.now = now
        self.ends = ({"asr-worker-0": 139}, {"asr-worker-0": 0, "asr-master-0": 0})

    async def step(self) -> None:
        self.now += 11.0
        for pod in self.server.list(PODS):
            path = f"{PODS}/{pod['metadata']['name']}"
            if "deletionTimestamp" in pod["metadata"]:
                self.server.drop(path)
            elif "status" not in pod:
                self.server.put(path, {**pod, "status": {"phase": "Running"}}, "MODIFIED")
        self._end()
        async with self.server.changed:
            self.server.changed.notify_all()
        for _ in range(20):  # the watch is read
            await asyncio.sleep(0)

    def _end(self) -> None:
        status = self.server.objects[JOB].get("status") or {}
        if not any(c["reason"] == "PodCreated" for c in status.get("conditions", ())):
            return
        for name, code in self.ends[status["attempt"] - 1].items():
            pod = self.server.objects.get(f"{PODS}/{name}")
            if pod is None or pod.get("status", {}).get("phase") != "Running":
                continue
            state = {"exitCode": code, "finishedAt": to_text(self.now)}
            container = {"name": names.CONTAINER, "state": {"terminated": state}}
            phase = "Failed" if code else "Succeeded"
            ended = {"phase": phase, "containerStatuses": [container]}
            self.server.put(f"{PODS}/{name}", {**pod, "status": ended}, "MODIFIED")


def server_with_job(build: Any) -> ApiServer:
    server = ApiServer()
    document = build.document()
    document["spec"]["checkpoint"] = {"uri": "/runs/asr"}
    document["spec"]["trainer"]["volumeMounts"] = [{"name": "runs", "mountPath": "/runs"}]
    claim = {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}
    document["spec"]["pod"] = {"volumes": [claim]}
    document["spec"]["trainer"]["image"] = "trainer:1"
    server.put(JOB, document, "ADDED")
    return server


async def live(server: ApiServer, now: float, world: World | None = None) -> str:
    """Passes until the job is complete and nothing is written any more; operators come as others die."""
    world, quiet = world or World(server, now), 0
    while quiet < 4:
        assert world.now < now + 11.0 * 100, "the job never comes to rest"
        with contextlib.suppress(Dead):
            async with alive(server) as life:
                while quiet < 4:
                    assert world.now < now + 11.0 * 100, "the job never comes to rest"
                    before = server.writes
                    await life.look(world.now)
                    quiet = quiet + 1 if server.writes == before else 0
                    await world.step()
    return end_state(server)


def end_state(server: ApiServer) -> str:
    """All objects, without what differs from one life to the next: times, uids, versions."""
    kept = {
        path: {
            "labels": found["metadata"].get("labels"),
            "data": found.get("data"),
            "status": _without_durations(found.get("status")),
        }
        for path, found in server.objects.items()
    }
    return TIMES.sub("", json.dumps(kept, sort_keys=True))


def _without_durations(status: dict[str, Any] | None) -> dict[str, Any] | None:
    """`goodput` tells how long each part took, which a crash may change; nothing is decided by it."""
    return status and {name: value for name, value in status.items() if name != "goodput"}


async def test_what_a_job_costs(build: Any) -> None:
    """Start, gang restart, finish. A request more is paid by every job of a cluster."""
    server = server_with_job(build)
    state = json.loads(await live(server, build.now))[JOB]["status"]
    assert (state["state"], state["attempt"]) == ("Complete", 2)
    assert dict(collections.Counter(server.asked)) == COSTS


async def test_what_a_job_of_one_pod_costs(build: Any) -> None:
    """An attempt that begins, one that runs, an end: nothing is asked that is known already."""
    server = server_with_job(build)
    server.objects[JOB]["spec"] |= {"numNodes": 1}
    world = World(server, build.now)
    world.ends = ({"asr-master-0": 0},)
    state = json.loads(await live(server, build.now, world))[JOB]["status"]
    assert (state["state"], state["attempt"]) == ("Complete", 1)
    assert dict(collections.Counter(server.asked)) == OF_ONE_POD


async def healthy(build: Any) -> tuple[str, ApiServer]:
    server = server_with_job(build)
    return await live(server, build.now), server


async def test_a_crash_after_any_write_changes_nothing(build: Any) -> None:
    wanted, calm = await healthy(build)
    for write in range(1, calm.writes + 1):
        server = server_with_job(build)
        server.dies_after = write
        assert await live(server, build.now) == wanted, f"after write {write}"
        assert server.created == calm.created, f"after write {write}"


@pytest.mark.parametrize("lost_answer", [False, True], ids=["not carried out", "answer lost"])
async def test_a_fault_of_any_request_changes_nothing(build: Any, lost_answer: bool) -> None:
    wanted, calm = await healthy(build)
    for request in range(1, len(calm.asked) + 1):
        server = server_with_job(build)
        server.fails_at, server.lost_answer = request, lost_answer
        assert await live(server, build.now) == wanted, f"request {request}"
        assert server.created == calm.created, f"request {request}"
