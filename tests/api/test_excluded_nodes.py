"""A suspect's node against the real scheduler: the next attempt keeps away from it, and comes back when it must."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from apibed.admin import Admin, Body
from apibed.life import Life, alive
from apibed.scene import Scene

from speech_contract.outcome import Outcome
from speech_contract.progress import Rule
from speech_operator.policies import exclusion

NODES = ("gpu-a", "gpu-b")
LABELS = {"nvidia.com/gpu.product": "NVIDIA-H200"}
ROOM = {"cpu": "64", "memory": "512Gi", "pods": "32", "nvidia.com/gpu": "8"}  # for one pod each
PATIENCE = 4.0  # times of Kubernetes are whole seconds, and both pods of an attempt have to be seen


async def make_node(admin: Admin, name: str) -> None:
    """A node without a kubelet that the scheduler takes for ready."""
    await admin.post("/api/v1/nodes", {"metadata": {"name": name, "labels": LABELS}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
    status = {"capacity": ROOM, "allocatable": ROOM, "conditions": [ready]}
    await admin.patch(f"/api/v1/nodes/{name}/status", {"status": status})


@pytest.fixture
async def nodes(admin: Admin) -> AsyncIterator[None]:
    for name in NODES:
        await make_node(admin, name)
    yield
    for name in NODES:
        await admin.delete(f"/api/v1/nodes/{name}")


@pytest.fixture
async def life(admin: Admin, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Life]:
    monkeypatch.setattr(exclusion, "PATIENCE_SECONDS", PATIENCE)
    async with alive(admin.transport, admin.transport, scene.namespace) as made:
        yield made


async def placed(scene: Scene, attempt: int) -> dict[str, str]:
    """Pod → node, once the scheduler has placed all of the attempt's pods."""

    async def look() -> dict[str, str] | None:
        pods = await scene.pods(attempt)
        where = {p["metadata"]["name"]: p["spec"].get("nodeName", "") for p in pods}
        return where if len(where) == 2 and all(where.values()) else None

    found: dict[str, str] = await scene.until(f"attempt {attempt} to be placed", look, 60.0)
    return found


def kept_away(pod: Body) -> list[str]:
    terms: list[Any] = (
        pod["spec"].get("affinity", {}).get("nodeAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    )  # fmt: skip
    fields = [field for term in terms for field in term.get("matchFields", [])]
    return [name for field in fields if field["operator"] == "NotIn" for name in field["values"]]


async def stand_in_for_kubelets(scene: Scene, attempt: int) -> None:
    """Let go of pods that are being deleted: nobody runs them."""

    async def look() -> bool:
        left = await scene.pods(attempt)
        for pod in left:
            if "deletionTimestamp" in pod["metadata"]:
                name = pod["metadata"]["name"]
                path = f"/api/v1/namespaces/{scene.namespace}/pods/{name}?gracePeriodSeconds=0"
                await scene.admin.delete(path)
        return not left

    await scene.until(f"the pods of attempt {attempt} to go", look, 60.0)


async def test_the_suspects_node_is_left_out_until_the_job_finds_no_room(
    nodes: None, life: Life, scene: Scene
) -> None:
    volumes = [{"name": name, "emptyDir": {}} for name in ("runs", "data")]
    checkpoint = {"uri": "/runs/asr", "ephemeral": True}
    await scene.create(pod={"volumes": volumes}, checkpoint=checkpoint)
    first = await scene.gang(1)
    where = await placed(scene, 1)
    assert set(where.values()) == set(NODES)
    assert [kept_away(pod) for pod in first] == [[], []]
    suspect = where["asr-worker-0"]
    other = where["asr-master-0"]

    told = Outcome(attempt=1, node_rank=0, phase="Training", exit_code=46, rank=11, step=204,
                   rule=Rule.RANK_DIVERGENCE.value, message="weights differ at step 200")  # fmt: skip
    # The master first: a worker that ended long ago would speak for itself.
    await scene.ends("asr-master-0", 46, told)
    await scene.ends("asr-worker-0", 46)

    second = await scene.gang(2)
    assert [kept_away(pod) for pod in second] == [[suspect], [suspect]]
    status = (await scene.job() or {})["status"]
    assert (status["attempts"][0]["rank"], status["attempts"][0]["node"]) == (11, suspect)
    (listed,) = status["excludedNodes"]
    assert (listed["name"], listed["attempt"], listed["cause"]) == (suspect, 1, "RankDisagrees")

    # One node is left for two pods: the scheduler itself says that there is no room.
    await stand_in_for_kubelets(scene, 2)
    third = await scene.gang(3)
    assert [kept_away(pod) for pod in third] == [[], []]
    assert set((await placed(scene, 3)).values()) == {suspect, other}
    status = (await scene.job() or {})["status"]
    assert status["excludedNodes"] == []
    assert status["attempts"][1]["cause"] == "Unschedulable"
    assert status["restarts"]["counted"] == 1
    for reason in ("NodeExcluded", "ExclusionDropped"):
        await scene.events(reason)
    await scene.delete()
    await stand_in_for_kubelets(scene, 3)
