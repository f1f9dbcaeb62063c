"""kopf against a real API server behind a gate that fails its watch: the watch comes back, in the same process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from apibed.admin import Admin
from apibed.scene import Scene

from speech_operator.cluster.base import JobKey
from speech_operator.cluster.rest import Rest
from speech_operator.cluster.transport import Credentials, KubernetesTransport
from speech_operator.watch import JobWatch

FAULT = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 500, "reason": "InternalError", "message": "etcd is away"},
}


class Gate:
    """Lets everything through to the API server but the next `failures` watches of jobs.

    `event`: the watch begins with 200 and then says 500, as an API server does that loses its etcd; else the
    answer itself is 500.
    """

    def __init__(self, transport: KubernetesTransport, *, event: bool) -> None:
        self._transport = transport
        self._event = event
        self.failures = 0
        self.failed = 0
        self.watches = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            given = await self._transport.send("GET", request.path_qs, None, 10.0)
            return web.Response(
                status=given.status, body=given.body, content_type="application/json"
            )
        if self.failures:
            self.failures -= 1
            self.failed += 1
            return await self._fail(request)
        self.watches += 1
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        stream = self._transport.stream(request.path_qs, 10.0)
        async with contextlib.aclosing(stream) as lines:
            async for line in lines:
                await response.write(line)
        return response

    async def _fail(self, request: web.Request) -> web.StreamResponse:
        if not self._event:
            return web.json_response(FAULT["object"], status=500)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(json.dumps(FAULT).encode() + b"\n")
        return response


@contextlib.asynccontextmanager
async def served(gate: Gate) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", gate.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("event", [True, False], ids=["an event of the watch", "its answer"])
async def test_the_job_watch_comes_back_after_a_500(
    admin: Admin, scene: Scene, event: bool
) -> None:
    gate, heard, logins = Gate(admin.transport, event=event), dict[JobKey, Any](), 0
    gate.failures = 2

    async def login() -> Credentials:
        nonlocal logins
        logins += 1
        return Credentials(server=url, verify=False)

    async with served(gate) as url:
        rest = Rest(admin.transport, time.monotonic)
        spaces = (scene.namespace,)
        watch = JobWatch(rest, spaces, heard.__setitem__, login, time.monotonic, random.random)
        running = asyncio.create_task(watch.run())
        beside = asyncio.create_task(asyncio.Event().wait())  # a worker of ours

        async def watching() -> bool:
            return gate.watches > 0

        await scene.until("a watch after the faults", watching)
        assert gate.failed == 2
        assert logins == (3 if event else 1)  # an event ends kopf; an answer it asks for again
        heard.clear()
        await scene.create()

        async def told() -> bool:
            return scene.key in heard

        await scene.until("the job named by the watch", told)
        assert heard[scene.key] == await scene.job()
        assert not beside.done()
        assert not running.done()
        for task in (running, beside):
            task.cancel()
        await asyncio.gather(running, beside, return_exceptions=True)
