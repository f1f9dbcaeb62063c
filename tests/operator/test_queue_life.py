"""A whole life in a queue over a cluster in memory: the operator dies after any write, and it ends the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from speech_contract.outcome import Outcome
from speech_operator.apply import apply
from speech_operator.children import FLAVOR, POD, SERVICE, WORKLOAD
from speech_operator.cluster.base import JobKey
from speech_operator.cluster.kueue_records import workload
from speech_operator.cluster.marks import marked
from speech_operator.observe import observe
from speech_operator.plan import Mark
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import FlavorRecord, Platform, PodPhase

KEY = JobKey("speech", "asr")
POLICY = {"schedulingPolicy": {"gang": "Kueue", "queue": "team"}}


class Queue:
    """One job's Workload, and what Kueue, scheduler and kubelets do: admit, evict once, admit again, let it finish."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.now = cluster, 1_800_000_000.0
        self.document: dict[str, Any] | None = None
        self.made = 0
        self.evicted = False
        self.others = cluster.list_children, cluster.create, cluster.delete
        cluster.platform = Platform(default_image="trainer:1", launcher_image="op:1", kueue=True)
        cluster.clock = lambda: self.now
        spec = {**cluster.document["spec"], "checkpoint": {"uri": "/runs/asr", "ephemeral": True}}
        cluster.document = {**cluster.document, "spec": spec}
        for name in ("list_children", "create", "delete", "mark"):
            setattr(cluster, name, getattr(self, name))

    # ------------------------------------------------------------------ the port

    async def list_children(self, key: JobKey, kind: Any, uid: str) -> Any:
        if kind is WORKLOAD:
            return [workload(self.document, "asr")] if self.document else []
        if kind is FLAVOR:
            return [FlavorRecord("pool", "f")]
        return await self.others[0](key, kind, uid)

    async def create(self, key: JobKey, kind: Any, manifest: Any) -> None:
        if kind is SERVICE:
            return  # the fake knows none but that it is there
        if kind is not WORKLOAD:
            assert kind is not POD or self._holds(), "a pod without quota"
            await self.others[1](key, kind, manifest)
            return
        self.cluster.check_alive()
        assert self.document is None
        self.made += 1
        metadata = {**manifest["metadata"], "uid": f"w{self.made}", "resourceVersion": "1"}
        self.document = {**manifest, "metadata": metadata}
        self.cluster._wrote("create workload")

    async def delete(self, key: JobKey, kind: Any, *rest: Any) -> None:
        assert kind is not WORKLOAD, "nothing here asks for that"
        await self.others[2](key, kind, *rest)

    async def mark(self, key: JobKey, mark: Mark) -> None:
        self.cluster.check_alive()
        assert self.document is not None
        if workload(self.document, "asr") != mark.record:
            return
        assert not self.cluster.pods or mark.facts[0].type in ("PodsReady", "Finished")
        self._write(marked(self.document.get("status") or {}, mark, 1, "2026-01-01T00:00:00Z"))
        self.cluster._wrote(f"mark {mark.facts[0].type}")

    # ------------------------------------------------------------------ the others

    def _write(self, status: dict[str, Any]) -> None:
        assert self.document is not None
        version = str(int(self.document["metadata"]["resourceVersion"]) + 1)
        metadata = {**self.document["metadata"], "resourceVersion": version}
        self.document = {**self.document, "metadata": metadata, "status": status}

    def told(self, kind: str) -> bool:
        conditions = ((self.document or {}).get("status") or {}).get("conditions") or []
        return any(c["type"] == kind and c["status"] == "True" for c in conditions)

    def _holds(self) -> bool:
        return self.document is not None and workload(self.document, "asr").holds

    def _says(self, **facts: bool) -> None:
        assert self.document is not None
        status = dict(self.document.get("status") or {})
        kept = [c for c in status.get("conditions") or () if c["type"] not in facts]
        new = [
            {"type": kind, "status": str(value), "reason": "Preempted", "message": "to make room"}
            for kind, value in facts.items()
        ]
        sets = [{"name": n, "flavors": {"cpu": "pool"}} for n in ("master", "worker")]
        if facts.get("Admitted"):
            status["admission"] = {"clusterQueue": "gpus", "podSetAssignments": sets}
        self._write({**status, "conditions": [*kept, *new]})

    def step(self) -> None:
        self.now += 11
        self.cluster.finish_deletes()
        if self.document is None or self.told("Finished"):
            return
        if not self.told("QuotaReserved"):
            self._says(QuotaReserved=True, Admitted=True, Evicted=False)
        self._pods()

    def _pods(self) -> None:
        for pod in list(self.cluster.pods.values()):
            if pod.phase is PodPhase.PENDING:
                self.cluster.set_pod(pod.node_rank, phase=PodPhase.RUNNING, node="n", ready=True)
        live = [pod for pod in self.cluster.pods.values() if not pod.deleting]
        conditions = self.cluster.status().get("conditions", [])
        whole = any(c["reason"] == "PodCreated" for c in conditions)
        if len(live) < 2 or not whole or not self.told("PodsReady"):
            return
        if not self.evicted:
            self.evicted = True
            self._says(Evicted=True)
            return
        told = Outcome(live[0].attempt, 0, "Done", 0, step=60, verdict="Healthy")
        for rank in (0, 1):
            self.cluster.set_pod(rank, phase=PodPhase.SUCCEEDED, exit_code=0, outcome=told)


def lived(cluster: Any, crash: type[BaseException]) -> dict[str, Any]:
    """What a life comes to."""
    queue = Queue(cluster)
    for _ in range(80):
        try:
            asyncio.run(one_pass(cluster, queue.now))
        except crash:
            continue
        queue.step()
        if queue.told("Finished"):
            break
    status, document = cluster.status(), queue.document or {"status": {}}
    return {
        "state": status["state"],
        "reasons": [attempt["reason"] for attempt in status["attempts"]],
        "counted": status["restarts"].get("counted", 0),
        "pods": sorted(cluster.created),
        "workloads": queue.made,
        "finished": queue.told("Finished"),
        "holds": "admission" in document["status"],
    }


async def one_pass(cluster: Any, now: float) -> None:
    cluster.dead = False
    seen = await observe(cluster, KEY, None, None)
    assert seen is not None
    await apply(cluster, KEY, seen, reconcile(seen, now), at_once=1)


@pytest.fixture
def healthy(make_cluster: Any, crash: Any) -> dict[str, Any]:
    return lived(make_cluster(policy=POLICY), crash)


def test_a_life_in_a_queue(healthy: dict[str, Any]) -> None:
    assert healthy == {
        "state": "Complete",
        "reasons": ["Evicted", "TrainingSucceeded"],
        "counted": 0,
        "pods": [(f"asr-{kind}-0", n) for kind in ("master", "worker") for n in (1, 2)],
        "workloads": 1,
        "finished": True,
        "holds": False,
    }


def test_dying_after_any_write_changes_nothing(
    make_cluster: Any, crash: Any, healthy: dict[str, Any]
) -> None:
    for write in range(1, 40):
        cluster = make_cluster(policy=POLICY, crash_after=frozenset({write}))
        assert lived(cluster, crash) == healthy, f"died after write {write}: {cluster.calls}"
        if cluster.writes < write:
            break
    assert write > 12
