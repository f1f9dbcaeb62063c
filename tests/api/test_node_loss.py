"""A node that dies against a real API server: the gang leaves it, and its pod goes by force once the Node is gone."""

from __future__ import annotations

import contextlib
from typing import Any

from apibed.admin import Admin, Body
from apibed.life import alive
from apibed.scene import Scene

from speech_operator.cluster.rest import ApiError

NODE = "node-that-dies"
LONG_AGO = "2026-01-01T00:00:00Z"


async def make_node(admin: Admin, ready: str) -> None:
    """A node without a kubelet, unfit for the scheduler: its pod is bound by hand."""
    await admin.post("/api/v1/nodes", {"metadata": {"name": NODE}, "spec": {"unschedulable": True}})
    told = {"type": "Ready", "status": ready, "reason": "NodeStatusUnknown", "message": ""}
    told["lastTransitionTime"] = LONG_AGO
    await admin.patch(f"/api/v1/nodes/{NODE}/status", {"status": {"conditions": [told]}})


async def bind(scene: Scene, pod: str) -> None:
    path = f"/api/v1/namespaces/{scene.namespace}/pods/{pod}/binding"
    target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
    await scene.admin.post(path, body)


async def left(scene: Scene) -> list[str]:
    return [pod["metadata"]["name"] for pod in await scene.pods(1)]


async def test_the_pod_of_a_dead_node_goes_when_the_node_is_deleted_and_not_before(
    admin: Admin, scene: Scene
) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace, nodes=True):
        policy: dict[str, Any] = {"terminationGracePeriodSeconds": 1}
        volumes = [{"name": name, "emptyDir": {}} for name in ("runs", "data")]
        checkpoint = {"uri": "/runs/asr", "ephemeral": True}
        await scene.create(runPolicy=policy, pod={"volumes": volumes}, checkpoint=checkpoint)
        await scene.gang(1)
        await make_node(admin, "Unknown")
        try:
            await bind(scene, "asr-worker-0")
            job = await scene.state("Restarting")
            assert job["status"]["attempts"][0]["cause"] == "NodeLost"

            async def stuck() -> Body | None:
                found = await scene.job() or {}
                message = found["status"].get("message") or ""
                return found if "Nothing starts beside it" in message else None

            told = (await scene.until("PodStuck", stuck))["status"]
            assert (told["reason"], await left(scene)) == ("PodStuck", ["asr-worker-0"])
            assert f"node {NODE} has been NotReady since {LONG_AGO}" in told["message"]
            assert await scene.pods(2) == []
        finally:
            with contextlib.suppress(ApiError):
                await admin.delete(f"/api/v1/nodes/{NODE}")
        await scene.gang(2)
        assert await left(scene) == []
        for reason in ("PodStuck", "PodAbandoned"):
            assert len(await scene.events(reason)) == 1
        await scene.delete()
