"""Pods that do not start: a kubelet's words in its status and in Events, as an API server hands them on."""

from __future__ import annotations

import time

from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import Body, Scene, condition, reason_of

from speech_contract import names
from speech_operator.children import POD
from speech_operator.cluster.pod_warnings import PodWarnings
from speech_operator.cluster.rest import Rest

WORDS = 'Back-off pulling image "trainer:test"'
MOUNT = 'MountVolume.SetUp failed for volume "runs": not found'


def waits(reason: str, message: str) -> Body:
    container = {
        "name": names.CONTAINER, "ready": False, "restartCount": 0, "image": "trainer:test",
        "imageID": "", "state": {"waiting": {"reason": reason, "message": message}},
    }  # fmt: skip
    return {"phase": "Pending", "containerStatuses": [container]}


async def warn(admin: Admin, scene: Scene, pod: Body) -> None:
    event = {
        "metadata": {"generateName": "kubelet."},
        "involvedObject": {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
                           "namespace": scene.namespace},
        "type": "Warning", "reason": "FailedMount", "message": MOUNT,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    await admin.post(f"/api/v1/namespaces/{scene.namespace}/events", event)


async def test_what_a_kubelet_says_is_told_and_taken_back(admin: Admin, scene: Scene) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace) as life:
        await scene.create()
        pods = {pod["metadata"]["name"]: pod for pod in await scene.gang(1)}
        await scene.set_pod("asr-worker-0", waits("ErrImagePull", WORDS))

        # Looked at once: the scheduler's word, that there is no node, may come next.
        seen: list[Body] = []

        async def told() -> bool:
            seen[:] = [await scene.job() or {}]
            return reason_of(seen[0], "Running") == "ImagePullBackOff"

        await scene.until("the kubelet's word", told)
        status = seen[0]["status"]
        sentence = f"pod asr-worker-0 has not started: {WORDS}"
        assert (status["state"], status["reason"]) == ("Starting", "ImagePullBackOff")
        assert status["message"] == sentence == condition(seen[0], "Running")["message"]
        events = await scene.events("ImagePullBackOff")
        assert [event["message"] for event in events] == [sentence]
        await scene.set_pod("asr-worker-0", waits("ContainerCreating", ""))

        async def over() -> bool:
            # This API server has a scheduler and no node: after a moment it says so.
            return reason_of(await scene.job(), "Running") in ("PodCreated", "Unschedulable")

        await scene.until("the end of it", over)
        master = pods["asr-master-0"]
        path = f"/api/v1/namespaces/{scene.namespace}/pods/asr-master-0/binding"
        target = {"kind": "Node", "name": "node-1"}
        await admin.post(path, {"metadata": {"name": "asr-master-0"}, "target": target})
        await warn(admin, scene, master)
        owner = (await scene.job() or {})["metadata"]["uid"]

        async def bound() -> bool:
            records = await life.cluster.list_children(scene.key, POD, owner)
            return any(record.node == "node-1" for record in records)

        await scene.until("the node", bound)
        records = await life.cluster.list_children(scene.key, POD, owner)
        rest = Rest(admin.transport, time.monotonic)
        heard = await PodWarnings(rest).told(scene.namespace, list(records), time.time() + 61)
        assert [(r.hindrance, r.words) for r in heard if r.node] == [("FailedMount", MOUNT)]
