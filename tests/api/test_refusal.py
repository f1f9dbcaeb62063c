"""What the API server will not take is told once, in its words, and heals by itself."""

from __future__ import annotations

import asyncio

from apibed.admin import Admin
from apibed.scene import Scene, condition, reason_of

from speech_operator.app import Operator
from speech_operator.settings import Settings

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


async def test_pod_security_is_told_once_and_heals(admin: Admin) -> None:
    scene = await Scene.make(admin, "scene-restricted", RESTRICTED)
    trainer = {**Scene.manifest()["spec"]["trainer"]}
    trainer["securityContext"] = {"capabilities": {"add": ["IPC_LOCK"]}}
    settings = Settings(watch_namespaces=(scene.namespace,), metrics_port=0, probes_port=0)
    stop = asyncio.Event()
    operator = Operator(settings, admin.transport, admin.transport.credentials)
    running = asyncio.create_task(operator.run(stop))
    try:
        await scene.create(trainer=trainer)

        async def refused() -> bool:
            return reason_of(await scene.job(), "Running") == "PodRefused"

        await scene.until("PodRefused", refused)
        message = condition(await scene.job(), "Running")["message"]
        assert 'violates PodSecurity "restricted' in message
        assert "use another namespace" in message
        assert [event["type"] for event in await scene.events("PodRefused")] == ["Warning"]
        version = (await scene.job() or {})["metadata"]["resourceVersion"]
        await asyncio.sleep(1.5)  # some more tries
        assert (await scene.job() or {})["metadata"]["resourceVersion"] == version
        key = next(iter(RESTRICTED))
        path = f"/api/v1/namespaces/{scene.namespace}"
        await admin.patch(path, {"metadata": {"labels": {key: "privileged"}}})
        await scene.gang(1)
    finally:
        stop.set()
        assert await running == 0


async def test_what_we_make_fits_restricted(admin: Admin) -> None:
    scene = await Scene.make(admin, "scene-fits", RESTRICTED)
    settings = Settings(watch_namespaces=(scene.namespace,), metrics_port=0, probes_port=0)
    stop = asyncio.Event()
    operator = Operator(settings, admin.transport, admin.transport.credentials)
    running = asyncio.create_task(operator.run(stop))
    try:
        await scene.create()
        await scene.gang(1)
    finally:
        stop.set()
        assert await running == 0
