"""One life of the operator's core in this process: informer, cluster, controller, and what kopf would mark."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

from speech_contract import names
from speech_operator import controller
from speech_operator.children import NODE, kinds
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.informer import Informers, Timings
from speech_operator.cluster.known_jobs import KnownJobs
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
        *,
        kueue: bool = False,
        nodes: bool = False,
    ) -> None:
        rest = Rest(transport, time.monotonic, pace=PACE)
        self.known = KnownJobs(time.monotonic)
        looked_at = kinds(kueue=kueue) + ((NODE,) if nodes else ())
        self.informers = Informers(
            rest, namespaces, self.mark, random.random,
            timings=timings, kinds=looked_at, jobs=self.known.documents,
        )  # fmt: skip
        self.cluster = KubernetesCluster(
            rest,
            self.informers,
            Platform(default_image="trainer:default", launcher_image="operator:test", kueue=kueue),
            time.time,
            TokenBucket(1000.0, 1000.0, time.monotonic, asyncio.sleep),
            known=self.known,
        )
        self.controller = Controller(self.cluster, time.time)
        self._marks = marks
        self._namespaces = namespaces

    def mark(self, key: JobKey) -> None:
        self.controller.mark(key, soon=True)

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
        """What kopf does: everything that is there, then every change, whatever comes between."""
        path = f"/apis/{names.API_VERSION}/namespaces/{namespace}/{names.PLURAL}?watch=true"
        while True:
            stream: AsyncGenerator[bytes, None] = self._marks.stream(path, 10.0)
            try:
                async with contextlib.aclosing(stream) as lines:
                    async for line in lines:
                        self._hear(json.loads(line))
            except ClusterError:
                # A CRD that changes shuts its watches down, and refuses the next ones.
                await asyncio.sleep(0.1)

    def _hear(self, event: dict[str, Any]) -> None:
        """Raises: ClusterError for a refusal, which is a line too."""
        if event.get("type") == "ERROR" or "object" not in event:
            raise ClusterError(str(event))
        metadata = event["object"]["metadata"]
        key = JobKey(metadata["namespace"], metadata["name"])
        gone = event["type"] == "DELETED"
        wish = self.known.told(key, None if gone else event["object"])
        self.controller.mark(key, soon=not wish)


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
    transport: Transport,
    marks: Transport,
    *namespaces: str,
    timings: Timings = QUICK,
    kueue: bool = False,
    nodes: bool = False,
) -> AsyncIterator[Life]:
    """A life that ends with the block, at whatever point it is."""
    life = Life(transport, marks, namespaces, timings, kueue=kueue, nodes=nodes)
    task = asyncio.create_task(life.run())
    try:
        yield life
        if task.done():
            task.result()
    except TimeoutError as error:
        if task.done():  # what was waited for could not come: say why
            raise AssertionError(f"the operator ended: {task.exception()!r}") from error
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
