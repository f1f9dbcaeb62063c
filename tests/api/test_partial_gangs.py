"""Gangs that a quota has no room for at once: none holds for ever what another one needs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apibed.admin import Admin
from apibed.scene import Body, Scene

from speech_contract import names
from speech_contract.outcome import Outcome
from speech_operator.app import Operator
from speech_operator.policies import release
from speech_operator.settings import Settings

SIZE = 4
JOBS = ("da", "db", "dc", "dd")
MOST_PODS = {"metadata": {"name": "most"}, "spec": {"hard": {"pods": str(SIZE)}}}


async def test_four_gangs_share_a_quota_of_one(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without giving back they stand still for ever as soon as two of them are half there."""
    monkeypatch.setattr(release, "REFUSED_SECONDS", 1.0)
    monkeypatch.setattr(release, "FIRST_SECONDS", 2.0)
    monkeypatch.setattr(release, "LONGEST_SECONDS", 8.0)
    scene = await Scene.make(admin, "scene-shared-quota")
    quotas = f"/api/v1/namespaces/{scene.namespace}/resourcequotas"
    await admin.post(quotas, MOST_PODS)

    async def counted() -> Any:
        return ((await admin.get(f"{quotas}/most")).get("status") or {}).get("hard")

    await scene.until("the quota", counted)
    settings = Settings(watch_namespaces=(scene.namespace,), metrics_port=0, probes_port=0)
    stop = asyncio.Event()
    operator = Operator(settings, admin.transport, admin.transport.credentials)
    running = asyncio.create_task(operator.run(stop))
    try:
        for name in JOBS:
            manifest = Scene.manifest(numNodes=SIZE, checkpoint={"uri": f"/runs/{name}"})
            manifest["metadata"]["name"] = name
            await admin.post(scene.jobs_path, manifest)
        order: list[str] = []

        async def all_done() -> bool:
            await _kubelet(scene, order)
            return len(order) == len(JOBS)

        await scene.until("all jobs done", all_done, seconds=120.0)
        jobs = (await admin.get(scene.jobs_path))["items"]
    finally:
        stop.set()
        assert await running == 0
    given_back = 0
    for job in jobs:
        status = job["status"]
        assert (status["attempt"], status["restarts"].get("counted", 0)) == (1, 0)
        given_back += (status.get("partialGang") or {}).get("releases", 0)
    assert len(await scene.events("GangReleased", given_back)) == given_back


async def _kubelet(scene: Scene, order: list[str]) -> None:
    """Whoever has all of its pods trains and is done; never more pods than the quota has room for."""
    pods = await scene.list("pods")
    alive = [pod for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]
    assert len(alive) <= SIZE
    by_job: dict[str, list[Body]] = {}
    for pod in alive:
        if "deletionTimestamp" not in pod["metadata"]:
            by_job.setdefault(pod["metadata"]["labels"][names.LABEL_JOB_NAME], []).append(pod)
    for job, gang in by_job.items():
        if len(gang) == SIZE and job not in order:
            for rank in range(SIZE):
                await scene.runs(names.pod_name(job, rank))
            for rank in reversed(range(SIZE)):
                done = Outcome(attempt=1, node_rank=0, phase="Done", exit_code=0, verdict="Healthy")
                await scene.ends(names.pod_name(job, rank), 0, done if rank == 0 else None)
            order.append(job)


async def test_a_server_without_the_gate_drops_a_pods_gang_without_a_word(admin: Admin) -> None:
    """Why `gang` offers no Kubernetes: whoever asked for all of the gang would get half of it, and not know."""
    reference = {"name": "asr", "podGroup": "workers"}
    container = {"name": "pytorch", "image": "trainer:test"}
    pod = {
        "metadata": {"name": "one"},
        "spec": {"containers": [container], "workloadRef": reference},
    }
    made = await admin.post("/api/v1/namespaces/default/pods?dryRun=All", pod)
    assert made["spec"]["containers"][0]["image"] == "trainer:test"
    assert "workloadRef" not in made["spec"]
