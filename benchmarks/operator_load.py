"""A hundred jobs and a thousand pods before the operator, beside the same pods posted bare. Used by accept_operator.py.

The control plane is real, nodes and kubelets are KWOK's. The operator is a process of its own with the chart's
rights; jobs and bare pods come from this process over the same client, the pods under the operator's account, so
that the API server treats both alike. One watch tells in both cases when a pod was there and when it ran.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from apibed.admin import Admin
from apibed.process import Process, called, install_rights, rendered
from apibed.scene import Body, Scene, install
from bed.cluster import Bed, log_to_stderr
from process_costs import cpu_seconds, machine_seconds, memory

from speech_contract import names
from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.rest import Pace, Rest
from speech_operator.cluster.transport import KubernetesTransport

HOME = "speechtrain"
GPU = "nvidia.com/gpu"
PRODUCT = "NVIDIA-H200"
NODES = 20
PATIENCE = 240.0
LOOK_SECONDS = 2.0  # the control plane has something to write of a deletion for about as long
QUIET_SECONDS = 90.0  # by then every job has been told that its fake supervisor does not answer
IDLE_SECONDS = 60.0
IN_FLIGHT = 32  # requests under way at once, of the bare posts as of the operator
ONE_BY_ONE = 200
UNBOUND = 100_000.0  # a second
UNPACED = {"write_rate": str(UNBOUND), "write_burst": str(UNBOUND), "in_flight": str(IN_FLIGHT)}


@dataclasses.dataclass(frozen=True)
class Shape:
    """So many jobs of so many pods."""

    jobs: int
    pods: int

    @property
    def total(self) -> int:
        return self.jobs * self.pods


WIDE, SINGLE, GANGS, FEW = Shape(100, 10), Shape(200, 1), Shape(16, 64), Shape(20, 1)
GANG = Shape(1, 64)


@dataclasses.dataclass(frozen=True)
class Took:
    """Seconds from the first POST until the last pod was there, and until the last one ran."""

    created: float
    running: float
    cpu: float = 0.0  # that the operator took meanwhile
    median: float | None = None  # of a job: from its own POST until its last pod was there
    slowest: float | None = None  # likewise, of 99 in 100
    machine: float = 0.0  # CPU seconds of everything on it until the last pod was there


def job(name: str, pods: int) -> Body:
    """Of the recipe of the README, with volumes that a scheduler does not wait for."""
    document = Scene.manifest(
        numNodes=pods,
        nprocPerNode=1,
        checkpoint={"uri": f"/runs/{name}", "ephemeral": True},
        accelerator=PRODUCT,
        pod={"volumes": [{"name": "runs", "emptyDir": {}}, {"name": "data", "emptyDir": {}}]},
    )
    document["spec"]["trainer"]["resourcesPerNode"] = {"limits": {GPU: "1"}}
    document["metadata"]["name"] = name
    return document


def fake_nodes(bed: Bed) -> None:
    """Room for some thousand pods, each with a GPU."""
    room = {"cpu": "1000", "memory": "4Ti", "pods": "1000", GPU: "1000"}
    for number in range(NODES):
        metadata = {
            "name": f"fake-{number}",
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {f"{GPU}.product": PRODUCT},
        }
        status = {"capacity": room, "allocatable": room}
        bed.api.post("/api/v1/nodes", {"metadata": metadata, "status": status})


@dataclasses.dataclass(frozen=True)
class Kind:
    """Of jobs: where they are posted, and the label by which a pod says whose it is."""

    api: str
    plural: str
    label: str


OURS = Kind(names.API_VERSION, names.PLURAL, names.LABEL_JOB_NAME)


class Tally:
    """Pods of one namespace as a watch tells of them."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.there: set[str] = set()
        self.running: set[str] = set()
        self.last_there = self.last_running = self.last_gone = 0.0
        self.last_of: dict[str, float] = {}  # by job, when its newest pod came
        self.came = 0
        self._news = asyncio.Event()

    async def follow(self, admin: Admin, path: str) -> None:
        """Watch until cancelled; an API server drops a watch whose reader has no time for it."""
        version = (await admin.get(path))["metadata"]["resourceVersion"]
        while True:
            stream = admin.transport.stream(f"{path}?watch=true&resourceVersion={version}", 10.0)
            async with contextlib.aclosing(stream) as lines:
                async for line in lines:
                    event = json.loads(line)
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._take(event)

    def _take(self, event: Body) -> None:
        name, now = event["object"]["metadata"]["name"], time.monotonic()
        if event["type"] == "DELETED":
            self.there.discard(name)
            self.running.discard(name)
            self.last_gone = now
        elif name not in self.there:
            self.there.add(name)
            self.came += 1
            labels = event["object"]["metadata"].get("labels") or {}
            self.last_there = self.last_of[labels.get(self._label, "")] = now
        if event["type"] == "MODIFIED" and event["object"]["status"].get("phase") == "Running":
            if name not in self.running:
                self.running.add(name)
                self.last_running = now
        self._news.set()

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Return once it holds. Raises TimeoutError with the count."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            found = f"{len(self.there)} pods there, {len(self.running)} run"
            raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}: {found}") from error


class Field:
    """One namespace with a watch on it. Use as an async context manager."""

    def __init__(self, admin: Admin, namespace: str, kind: Kind = OURS) -> None:
        self.admin = admin
        self.namespace = namespace
        self.tally = Tally(kind.label)
        self._kind = kind
        self.core = f"/api/v1/namespaces/{namespace}"
        self.pods = f"{self.core}/pods"
        self.jobs = f"/apis/{kind.api}/namespaces/{namespace}/{kind.plural}"

    async def __aenter__(self) -> Field:
        await Scene.make(self.admin, self.namespace)
        self._watch = asyncio.create_task(self.tally.follow(self.admin, self.pods))
        await asyncio.sleep(0.5)  # until it watches
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    async def post(
        self, path: str, bodies: Sequence[Body], pods: int, by: KubernetesTransport, at_once: int
    ) -> Took:
        """POST them, so many requests under way at once, and wait for the pods."""
        pace = Pace(UNBOUND, UNBOUND, in_flight=at_once, timeout_seconds=60.0)
        rest, limit = Rest(by, time.monotonic, pace=pace), asyncio.Semaphore(at_once)
        sent, began, before = dict[str, float](), time.monotonic(), machine_seconds()

        async def one(body: Body) -> None:
            async with limit:
                sent[body["metadata"]["name"]] = time.monotonic()
                await rest.post(path, body)

        await asyncio.gather(*map(one, bodies))
        await self.tally.until(f"{pods} pods", lambda: len(self.tally.there) == pods)
        spent = machine_seconds() - before
        await self.tally.until(f"{pods} to run", lambda: len(self.tally.running) == pods)
        took = Took(self.tally.last_there - began, self.tally.last_running - began, machine=spent)
        of = self.tally.last_of
        waits = sorted(of[name] - at for name, at in sent.items() if name in of)
        if not waits:
            return took
        slowest = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
        return dataclasses.replace(took, median=statistics.median(waits), slowest=slowest)

    async def clear(self) -> None:
        """Delete everything, and wait until garbage collection has nothing left to do."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        for path in (self.jobs, self.pods):
            with contextlib.suppress(ClusterError):  # a thousand may take longer than an answer may
                await self.admin.call("DELETE", path, options)
        await self.tally.until("no pod", lambda: not self.tally.there)
        for _ in range(int(PATIENCE / LOOK_SECONDS)):
            await asyncio.sleep(LOOK_SECONDS)
            if not await self._left():
                break
        else:
            raise TimeoutError(f"garbage collection left something in {self.namespace}")

    async def _left(self) -> bool:
        labelled = f"?limit=1&labelSelector={self._kind.label}"
        paths = [f"{self.core}/{kind}{labelled}" for kind in ("services", "configmaps", "pods")]
        return any([(await self.admin.get(path))["items"] for path in paths])


def bare(pod: Body, number: int) -> Body:
    """What the operator posted, as nobody's: without an owner that garbage collection would miss."""
    metadata = {key: pod["metadata"][key] for key in ("labels",)}
    metadata["labels"] = {**metadata["labels"], names.LABEL_JOB_NAME: "nobody"}
    spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
    document = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
    return {**document, "metadata": {**metadata, "name": f"bare-{number}"}}


class Bench:
    """The measurements over one cluster."""

    def __init__(
        self, bed: Bed, admin: Admin, account: KubernetesTransport, kubeconfig: Path
    ) -> None:
        self._bed = bed
        self._admin = admin
        self._account = account
        self._kubeconfig = kubeconfig
        self._numbers = iter(range(1000))

    @contextlib.asynccontextmanager
    async def operator(
        self, build: Mapping[str, str] = os.environ, **settings: str
    ) -> AsyncIterator[Process]:
        """An operator at work, of this build or of an earlier one; without settings as the chart starts it."""
        given = {"environ": build, **settings}
        async with Process(self._kubeconfig, "bench", HOME, echo=False, **given) as process:
            await process.said("leadership_gained")
            yield process
            assert await process.stop() == 0

    def field(self, kind: Kind = OURS) -> Field:
        return Field(self._admin, f"bench-{next(self._numbers)}", kind)

    async def sample(self) -> Body:
        """A pod as the operator makes it, and everything warm."""
        async with self.operator(), self.field() as field:
            await self._post(field, Shape(1, 10))
            found: Body = (await self._admin.get(field.pods))["items"][0]
            await field.clear()
        return found

    async def bare(self, pod: Body, count: int, at_once: int) -> Took:
        """The same pods without an operator, posted by its account."""
        bodies = [bare(pod, number) for number in range(count)]
        async with self.field() as field:
            took = await field.post(field.pods, bodies, count, self._account, at_once)
            await field.clear()
        log_to_stderr(f"bare, {count} pods, {at_once} at once: {took}")
        return took

    async def jobs(
        self, shape: Shape, build: Mapping[str, str] = os.environ, **settings: str
    ) -> Took:
        """The operator's way from jobs to pods."""
        async with self.operator(build, **settings) as process, self.field() as field:
            before = cpu_seconds(process.process.pid)
            took = await self._post(field, shape)
            took = dataclasses.replace(took, cpu=cpu_seconds(process.process.pid) - before)
            await field.clear()
            assert not process.events("reconcile_failed"), process.events("reconcile_failed")[0]
        return took

    async def _post(self, field: Field, shape: Shape) -> Took:
        bodies = [job(f"job-{number}", shape.pods) for number in range(shape.jobs)]
        by = self._admin.transport
        took = await field.post(field.jobs, bodies, shape.total, by, IN_FLIGHT)
        log_to_stderr(f"{shape}: {took}")
        return took

    async def restart(self, build: Mapping[str, str]) -> float:
        """A pod of a whole gang fails: seconds from the last old pod gone until the last new one is there."""
        async with self.operator(build, **UNPACED), self.field() as field:
            await self._post(field, GANG)
            await Scene(self._admin, field.namespace).ends("job-0-worker-0", 139)
            await field.tally.until(
                "the gang to be back", lambda: field.tally.came == 2 * GANG.pods
            )
            took = field.tally.last_there - field.tally.last_gone
            await field.clear()
        log_to_stderr(f"gang of {GANG.pods} back: {took}")
        return took

    async def weight(self, shape: Shape) -> dict[str, Any]:
        """Memory with nothing to do and with `shape` running, its CPU while nothing happens, its requests."""
        async with self.operator() as process, self.field() as field:
            pid = process.process.pid
            await asyncio.sleep(5.0)
            empty = memory(pid)
            before = collections.Counter(called(self._bed, HOME))
            took = await self._post(field, shape)
            await self._silent(field, shape)
            asked = collections.Counter(called(self._bed, HOME)) - before
            full, idle = memory(pid), await idle_share(pid)
            at_rest = collections.Counter(called(self._bed, HOME)) - before - asked
            await field.clear()
        return {
            "rssMiB": {"empty": empty["VmRSS"], "full": full["VmRSS"], "peak": full["VmHWM"]},
            "idleCpuPercent": idle,
            "requestsPerJob": {
                "total": round(asked.total() / shape.jobs, 1),
                **{" ".join(k): round(n / shape.jobs, 2) for k, n in asked.most_common()},
            },
            "idleRequestsPerSecond": round(at_rest.total() / IDLE_SECONDS, 2),
            "tookAtTheChartsPace": dataclasses.asdict(took),
        }

    async def lives(self, build: Mapping[str, str]) -> dict[str, float]:
        """Requests over the life of a job of one pod, until it is Complete and nothing follows: of each kind, a job."""
        async with self.operator(build, **UNPACED) as process, self.field() as field:
            before = collections.Counter(called(self._bed, HOME))
            await self._post(field, FEW)
            for pod in (await self._admin.get(field.pods))["items"]:
                scene = Scene(self._admin, field.namespace)
                await scene.ends(pod["metadata"]["name"], 0)
            await self._complete(field)
            asked = collections.Counter(called(self._bed, HOME)) - before
            await field.clear()
            assert not process.events("reconcile_failed"), process.events("reconcile_failed")[0]
        beside = {
            kind: n for kind, n in asked.items() if kind[1] != "leases" and kind[0] != "watch"
        }
        return {" ".join(kind): round(n / FEW.jobs, 2) for kind, n in sorted(beside.items())}

    async def _complete(self, field: Field) -> None:
        """Wait until all jobs are, and for what may follow."""
        for _ in range(int(PATIENCE / LOOK_SECONDS)):
            await asyncio.sleep(LOOK_SECONDS)
            found = (await self._admin.get(field.jobs))["items"]
            if all(job["status"].get("state") == "Complete" for job in found):
                return await asyncio.sleep(2 * LOOK_SECONDS)
        raise TimeoutError(f"not all jobs of {field.namespace} are Complete")

    async def _silent(self, field: Field, shape: Shape) -> None:
        """Wait until every job was told that nobody answers `/progress`, and nothing follows any more."""
        await asyncio.sleep(QUIET_SECONDS)
        found = (await self._admin.get(field.jobs))["items"]
        told = sum("TelemetryUnreachable" in json.dumps(item.get("status")) for item in found)
        assert told == shape.jobs, f"{told} of {shape.jobs} jobs were told"


async def idle_share(pid: int) -> float:
    """Per cent of one core over a while in which nothing happens."""
    before, since = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    return round(100.0 * (cpu_seconds(pid) - before) / (time.monotonic() - since), 2)


@contextlib.asynccontextmanager
async def bench(bed: Bed, folder: Path, crd: Body | None = None) -> AsyncIterator[Bench]:
    """The measurements over a new cluster: CRD, nodes, the operator's rights."""
    install(bed, crd)
    fake_nodes(bed)
    kubeconfig = install_rights(bed, HOME, rendered(bed, HOME), folder)
    admin, account = await Admin.login(bed.kubeconfig), await Admin.login(kubeconfig)
    try:
        yield Bench(bed, admin, account.transport, kubeconfig)
    finally:
        await admin.close()
        await account.close()


async def rates(bed: Bed, folder: Path, options: argparse.Namespace) -> dict[str, list[Took]]:
    """Bare and operated rounds alternate, so that drift meets both."""
    took: dict[str, list[Took]] = collections.defaultdict(list)
    async with bench(bed, folder) as at:
        pod = await at.sample()
        for _ in range(options.rounds):
            took["bare"].append(await at.bare(pod, WIDE.total, IN_FLIGHT))
            took["wide"].append(await at.jobs(WIDE, **UNPACED))
            took["gangs"].append(await at.jobs(GANGS, **UNPACED))
            took["single"].append(await at.jobs(SINGLE, **UNPACED))
        took["oneByOne"].append(await at.bare(pod, ONE_BY_ONE, 1))
    return took


async def weight(bed: Bed, folder: Path, _options: argparse.Namespace) -> dict[str, Any]:
    """Once: memory does not differ from run to run as time does."""
    async with bench(bed, folder) as at:
        return await at.weight(WIDE)
