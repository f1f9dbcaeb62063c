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
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from apibed.admin import Admin
from apibed.process import Process, called, install_rights, rendered
from apibed.scene import Body, Scene, install
from bed.cluster import Bed, log_to_stderr
from operator_field import LOOK_SECONDS, OURS, PATIENCE, UNBOUND, Field, Kind, Took
from process_costs import cpu_seconds, memory

from speech_contract import names
from speech_operator.cluster.transport import KubernetesTransport

HOME = "speechtrain"
GPU = "nvidia.com/gpu"
PRODUCT = "NVIDIA-H200"
NODES = 20
QUIET_SECONDS = 90.0  # by then every job has been told that its fake supervisor does not answer
IDLE_SECONDS = 60.0
IN_FLIGHT = 32  # requests under way at once, of the bare posts as of the operator
ONE_BY_ONE = 200
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


async def idle_share(pid: int, seconds: float = IDLE_SECONDS) -> float:
    """Per cent of one core over a while in which nothing happens."""
    before, since = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
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
