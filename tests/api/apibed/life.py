"""One life of the operator's core in this process: informer, cluster, controller, and what kopf would mark."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from speech_contract import names
from speech_operator import controller
from speech_operator.cluster.base import JobKey
from speech_operator.cluster.informer import Informers, Timings
from speech_operator.cluster.kubernetes import KubernetesCluster
from speech_operator.cluster.rest import Pace, Rest, TokenBucket, Transport
from speech_operator.controller import Controller
from speech_operator.snapshot import Platform

QUICK = Timings(watch=30.0, first_backoff=0.02, last_backoff=0.2)
PACE = Pace(writes_per_second=1000.0, write_burst=1000.0)


class Life:
    """Parts of a running operator that tests look into."""

    def __init__(
        self,
        transport: Transport,
        marks: Transport,
        namespaces: tuple[str, ...],
        timings: Timings = QUICK,
    ) -> None:
        rest = Rest(transport, time.monotonic, pace=PACE)
        self.informers = Informers(rest, namespaces, self.mark, random.random, timings=timings)
        self.cluster = KubernetesCluster(
            rest,
            self.informers,
            Platform(default_image="trainer:default", launcher_image="operator:test"),
            time.time,
            TokenBucket(1000.0, 1000.0, time.monotonic, asyncio.sleep),
        )
        self.controller = Controller(self.cluster, time.time)
        self._marks = marks
        self._namespaces = namespaces

    def mark(self, key: JobKey) -> None:
        self.controller.mark(key)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.run())
            group.create_task(self._work())
            for namespace in self._namespaces:
                group.create_task(self._watch_jobs(namespace))

    async def _work(self) -> None:
        await self.informers.wait_until_synced()
        await self.controller.run()

    async def _watch_jobs(self, namespace: str) -> None:
        """What kopf does: everything that is there, then every change."""
        path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}?watch=true"
        while True:
            stream: AsyncGenerator[bytes, None] = self._marks.stream(path, 10.0)
            async with contextlib.aclosing(stream) as lines:
                async for line in lines:
                    metadata = json.loads(line)["object"]["metadata"]
                    self.mark(JobKey(metadata["namespace"], metadata["name"]))


@contextlib.contextmanager
def short_backoff() -> Iterator[None]:
    """Failing passes are tried again at a pace for tests."""
    first, last = controller.FIRST_BACKOFF_SECONDS, controller.LAST_BACKOFF_SECONDS
    controller.FIRST_BACKOFF_SECONDS, controller.LAST_BACKOFF_SECONDS = 0.05, 1.0
    try:
        yield
    finally:
        controller.FIRST_BACKOFF_SECONDS, controller.LAST_BACKOFF_SECONDS = first, last


@contextlib.asynccontextmanager
async def alive(
    transport: Transport, marks: Transport, *namespaces: str, timings: Timings = QUICK
) -> AsyncIterator[Life]:
    """A life that ends with the block, at whatever point it is."""
    life = Life(transport, marks, namespaces, timings)
    task = asyncio.create_task(life.run())
    try:
        yield life
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
