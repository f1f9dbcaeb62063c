"""Twenty jobs in two queues on one quota, before the real controller of Kueue: `make accept-queues`. Needs root.

    python benchmarks/accept_queues.py [--jobs 20]

Control plane and Kueue are real, nodes and kubelets are KWOK's; the operator is a process of its own with the chart's
rights. Jobs of one to four pods come in two waves, the second with a higher priority, so that jobs of the first are
preempted; two are stopped by hand in between. A gang "trains" for some seconds once all of its pods run.
Kueue waits for ready pods before it admits the next.
What must hold: every job completes; never more pods than the quota has room for; preempted jobs go on in a new attempt
from their newest checkpoint, and no restart is counted; then `kubectl delete` of jobs and queues leaves nothing, usage
is 0. Writes results/queues.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import record
from record import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "api"))

from apibed.admin import Admin
from apibed.process import Process, called, install_rights, rendered
from apibed.scene import Body, Scene, condition, install
from bed import kueue, system
from bed.cluster import Bed, log_to_stderr
from bed.layout import cache_dir
from bed.system import Tier

from speech_contract import names
from speech_contract.outcome import Outcome

HOME = "speechtrain"
QUEUES = ("north", "south")
QUOTA = 8  # CPUs, and so pods
SIZES = (1, 2, 3, 4)
TRAINS_SECONDS = (3.0, 8.0)
PATIENCE = 420.0
API = f"/apis/{names.KUEUE_API_VERSION}"
Figures = dict[str, Any]


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    if reason := system.obstacle(Tier.CONTROL_PLANE):
        log_to_stderr(reason)
        return 1
    if not system.has_namespaces():
        log_to_stderr("Kueue runs in namespaces of its own: be root on a machine that allows them")
        return 1
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder, Bed("queues", kwok=True) as bed:
        install(bed)
        with kueue.running(bed, cache_dir(), log_to_stderr):
            figures = asyncio.run(queues(bed, Path(folder), options.jobs))
    rows = table(figures, options.jobs)
    record.show(rows)
    return 0 if record.write("queues", before, figures, rows) else 1


async def queues(bed: Bed, folder: Path, jobs: int) -> Figures:
    """The whole run."""
    documents = rendered(bed, HOME, kueue=True)
    account = install_rights(bed, HOME, documents, folder)
    admin = await Admin.login(bed.kubeconfig)
    try:
        nodes_and_quota(bed)
        scene = await Scene.make(admin, "speech")
        for queue in QUEUES:
            body = {"metadata": {"name": queue}, "spec": {"clusterQueue": "speech"}}
            kind = {"apiVersion": names.KUEUE_API_VERSION, "kind": "LocalQueue"}
            await admin.post(f"{API}/namespaces/speech/localqueues", {**kind, **body})
        async with Process(account, "operator", HOME, echo=False, kueue="true") as process:
            await process.said("leadership_gained")
            field = Field(scene, random.Random(7))
            began = time.monotonic()
            await field.run(jobs)
            seconds = time.monotonic() - began
            figures = {**await field.figures(), "seconds": round(seconds, 1)}
            figures["left"] = await swept_away(bed, admin, scene)
            faults = [line for line in process.lines if line["event"] == "reconcile_failed"]
            assert await process.stop() == 0
        figures["unusedRights"] = sorted(
            f"{verb} {kind}" for verb, kind in kueue_rights(documents) - set(called(bed, HOME))
        )
        return {**figures, "failedPasses": len(faults)}
    finally:
        await admin.close()


def kueue_rights(documents: list[Body]) -> set[tuple[str, str]]:
    """What the chart grants on Kueue's kinds."""
    return {
        (verb, kind)
        for document in documents
        for rule in document.get("rules") or ()
        if names.KUEUE_GROUP in rule["apiGroups"]
        for kind in rule["resources"]
        for verb in rule["verbs"]
    }


def nodes_and_quota(bed: Bed) -> None:
    """More room than quota, so that the quota alone decides; a flavor with its label and taint."""
    room = {"cpu": "64", "memory": "1Ti", "pods": "200"}
    taint = {"key": "pool", "value": "speech", "effect": "NoSchedule"}
    metadata = {
        "name": "fake-0",
        "annotations": {"kwok.x-k8s.io/node": "fake"},
        "labels": {"pool": "speech"},
    }
    status = {"capacity": room, "allocatable": room}
    bed.api.post(
        "/api/v1/nodes", {"metadata": metadata, "spec": {"taints": [taint]}, "status": status}
    )
    toleration = {"key": "pool", "operator": "Exists", "effect": "NoSchedule"}
    flavor = {"nodeLabels": {"pool": "speech"}, "tolerations": [toleration]}
    group = {
        "coveredResources": ["cpu"],
        "flavors": [{"name": "pool", "resources": [{"name": "cpu", "nominalQuota": QUOTA}]}],
    }
    cluster_queue = {
        "namespaceSelector": {},
        "preemption": {"withinClusterQueue": "LowerPriority"},
        "resourceGroups": [group],
    }
    for kind, plural, name, body in (
        ("ResourceFlavor", "resourceflavors", "pool", {"spec": flavor}),
        ("ClusterQueue", "clusterqueues", "speech", {"spec": cluster_queue}),
        ("WorkloadPriorityClass", "workloadpriorityclasses", "urgent", {"value": 100}),
        ("WorkloadPriorityClass", "workloadpriorityclasses", "usual", {"value": 10}),
    ):
        document = {"apiVersion": names.KUEUE_API_VERSION, "kind": kind, "metadata": {"name": name}}
        bed.api.post(f"{API}/{plural}", {**document, **body})


class Field:
    """The jobs, and what kubelets and trainers would do to their pods."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene, self.chance = scene, chance
        self.lasts: dict[str, float] = {}
        self.trains_since: dict[str, tuple[int, float]] = {}
        # Job and attempt: its end may be lost with a preempted pod.
        self.ended: set[tuple[str, int]] = set()
        self.most = 0
        self.resumed: dict[str, str] = {}

    async def run(self, jobs: int) -> None:
        """Two waves, then until all are done. Raises TimeoutError."""
        await self.submit("usual", jobs // 2)
        await self._until("the first wave to train", self.some_train)
        await self.by_hand()
        await self.submit("urgent", jobs - jobs // 2)
        await self._until("all to be done", self.all_done)

    async def by_hand(self) -> None:
        """A person stops one job in the queue's way, another one in ours, and lets both go on."""
        first, second = list(self.trains_since)[:2]
        workload = f"{API}/namespaces/speech/workloads/{names.workload_name(first)}"
        job = f"{self.scene.jobs_path}/{second}"
        await self.scene.admin.patch(workload, {"spec": {"active": False}})
        await self.scene.admin.patch(job, {"spec": {"runPolicy": {"suspend": True}}})
        await self._until("both to stop", lambda: self._are(first, "Queued", second, "Suspended"))
        await self.scene.admin.patch(workload, {"spec": {"active": True}})
        await self.scene.admin.patch(job, {"spec": {"runPolicy": {"suspend": False}}})

    async def _are(self, first: str, one: str, second: str, other: str) -> bool:
        states = {job["metadata"]["name"]: job["status"].get("state") for job in await self.jobs()}
        over = "Complete"  # it may have been done before it could be stopped
        return states[first] in (one, over) and states[second] in (other, over)

    async def submit(self, priority: str, count: int) -> None:
        for number in range(count):
            name = f"{priority}-{number}"
            self.lasts[name] = self.chance.uniform(*TRAINS_SECONDS)
            policy = {"gang": "Kueue", "queue": QUEUES[number % 2]}
            document = Scene.manifest(
                numNodes=SIZES[number % len(SIZES)],
                nprocPerNode=1,
                accelerator="",
                checkpoint={"uri": f"/runs/{name}", "ephemeral": True},
                pod={"volumes": [{"name": v, "emptyDir": {}} for v in ("runs", "data")]},
                runPolicy={"schedulingPolicy": policy, "terminationGracePeriodSeconds": 5},
            )
            document["spec"]["trainer"]["resourcesPerNode"] = {"limits": {"cpu": "1"}}
            labels = {names.LABEL_QUEUE_PRIORITY: priority}
            document["metadata"] = {"name": name, "labels": labels}
            await self.scene.admin.post(self.scene.jobs_path, document)

    async def _until(self, what: str, look: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await self._step(look):
            if time.monotonic() > deadline:
                states = [(j["metadata"]["name"], j["status"].get("state"), j["status"].get("message"))
                          for j in await self.jobs()]  # fmt: skip
                raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}: {states}")
            await asyncio.sleep(0.3)

    async def _step(self, look: Callable[[], Awaitable[bool]]) -> bool:
        alive = [
            p
            for p in await self.scene.list("pods")
            if p["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        self.most = max(self.most, len(alive))
        for job in await self.jobs():
            await self._train(job, [p for p in alive if _job_of(p) == job["metadata"]["name"]])
        return await look()

    async def _train(self, job: Body, pods: list[Body]) -> None:
        """A gang whose pods all run trains; when its time is over it is done."""
        name, status = job["metadata"]["name"], job.get("status") or {}
        attempt, size = status.get("attempt", 0), job["spec"]["numNodes"]
        running = [
            p
            for p in pods
            if p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]
        ]
        if (name, attempt) in self.ended or len(running) < size:
            return
        began = self.trains_since.get(name)
        if began is None or began[0] != attempt:
            began = self.trains_since[name] = attempt, time.monotonic()
            if attempt > 1:
                await self._note_resume(name, attempt)
        if time.monotonic() - began[1] < self.lasts[name]:
            return
        self.ended.add((name, attempt))
        done = Outcome(
            attempt=attempt, node_rank=0, phase="Done", exit_code=0, step=60, verdict="Healthy"
        )
        for rank in reversed(range(size)):
            await self.scene.ends(names.pod_name(name, rank), 0, done if rank == 0 else None)

    async def _note_resume(self, name: str, attempt: int) -> None:
        path = f"/api/v1/namespaces/speech/configmaps/{names.config_name(name, attempt)}"
        text = ((await self.scene.admin.find(path)) or {"data": {"run.json": ""}})["data"][
            "run.json"
        ]
        self.resumed[name] = (
            "Newest" if '"resumeFrom":"Newest"' in text.replace(" ", "") else text[:80]
        )

    async def jobs(self) -> list[Body]:
        found: list[Body] = (await self.scene.admin.get(self.scene.jobs_path))["items"]
        return found

    async def some_train(self) -> bool:
        return len(self.trains_since) >= 3

    async def all_done(self) -> bool:
        jobs = await self.jobs()
        return all((job.get("status") or {}).get("state") == "Complete" for job in jobs)

    async def figures(self) -> Figures:
        """What came of it; Kueue's word on a finished job may come a moment later."""
        await self.scene.until("all Workloads finished", self._finished, seconds=60.0)
        jobs = await self.jobs()
        evicted = [j["metadata"]["name"] for j in jobs if _evictions(j)]
        return {
            "complete": sum(job["status"]["state"] == "Complete" for job in jobs),
            "mostPods": self.most,
            "preempted": len(evicted),
            "evictions": sum(map(_evictions, jobs)),
            "resumedFromNewest": sum(self.resumed.get(name) == "Newest" for name in evicted),
            "restartsCounted": sum(job["status"]["restarts"].get("counted", 0) for job in jobs),
        }

    async def _finished(self) -> bool:
        found = (await self.scene.admin.get(f"{API}/namespaces/speech/workloads"))["items"]
        return all(condition(one, "Finished").get("status") == "True" for one in found)


def _job_of(pod: Body) -> str:
    return str(pod["metadata"]["labels"][names.LABEL_JOB_NAME])


def _evictions(job: Body) -> int:
    return sum(one.get("reason") == "Evicted" for one in job["status"]["attempts"])


async def swept_away(bed: Bed, admin: Admin, scene: Scene) -> Figures:
    """What is reserved once all have ended, and what is left after `kubectl delete` of everything."""
    reserved = [0.0]

    async def given_back() -> bool:
        status = (await admin.get(f"{API}/clusterqueues/speech"))["status"]
        flavors = status.get("flavorsReservation") or ()
        reserved[0] = sum(_cpus(one["total"]) for f in flavors for one in f["resources"])
        return reserved[0] == 0

    with contextlib.suppress(TimeoutError):  # the table says how much
        await scene.until("nothing to be reserved", given_back, seconds=60.0)
    bed.kubectl("delete", names.PLURAL, "--all", "-n", "speech", "--wait=true")
    bed.kubectl("delete", "localqueues.kueue.x-k8s.io", "--all", "-n", "speech", "--wait=true")
    for kind in ("clusterqueues", "resourceflavors", "workloadpriorityclasses"):
        bed.kubectl("delete", f"{kind}.kueue.x-k8s.io", "--all", "--wait=true")

    async def gone() -> bool:
        return not await _left(admin, scene)

    with contextlib.suppress(TimeoutError):
        await scene.until("nothing to be left", gone, seconds=60.0)
    return {"objects": len(await _left(admin, scene)), "cpuReserved": reserved[0]}


def _cpus(quantity: Any) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


async def _left(admin: Admin, scene: Scene) -> list[str]:
    places = [
        f"{API}/namespaces/speech/workloads",
        scene.jobs_path,
        "/api/v1/namespaces/speech/pods",
    ]
    return [one["metadata"]["name"] for path in places for one in (await admin.get(path))["items"]]


def table(figures: Figures, jobs: int) -> list[Row]:
    """What was to be shown."""
    done, most, left = figures["complete"], figures["mostPods"], figures["left"]
    preempted, resumed = figures["preempted"], figures["resumedFromNewest"]
    return [
        Row("jobs in two queues of Kueue, complete", f"{done} of {jobs}", "all", done == jobs),
        Row("most pods at once, quota", f"{most} of {QUOTA}", f"≤ {QUOTA}", most <= QUOTA),
        Row("preempted jobs that went on from their newest checkpoint", f"{resumed} of {preempted}",
            "all, ≥ 1", preempted == resumed > 0),
        Row("restarts counted for preemptions", str(figures["restartsCounted"]), "0", not figures["restartsCounted"]),
        Row("objects left after kubectl delete", str(left["objects"]), "0", not left["objects"]),
        Row("CPUs reserved when all had ended", f"{left['cpuReserved']:g}", "0", not left["cpuReserved"]),
        Row("rights on Kueue's kinds never used", ", ".join(figures["unusedRights"]) or "none", "none",
            not figures["unusedRights"]),
        Row("twenty jobs", f"{figures['seconds']:.0f} s"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
