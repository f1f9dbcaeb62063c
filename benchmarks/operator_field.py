"""One namespace of a bench: jobs are posted into it, and a watch tells when their pods were there and when they ran.

Used by operator_load.py, operator_pace.py and operator_rival.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence

from apibed.admin import Admin
from apibed.scene import Body, Scene
from process_costs import machine_seconds

from speech_contract import names
from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.rest import Pace, Rest
from speech_operator.cluster.transport import KubernetesTransport

PATIENCE = 240.0
LOOK_SECONDS = 2.0  # the control plane has something to write of a deletion for about as long
UNBOUND = 100_000.0  # a second


@dataclasses.dataclass(frozen=True)
class Took:
    """Seconds from the first POST until the last pod was there, and until the last one ran."""

    created: float
    running: float
    cpu: float = 0.0  # that the operator took meanwhile
    median: float | None = None  # of a job: from its own POST until its last pod was there
    slowest: float | None = None  # likewise, of 99 in 100
    machine: float = 0.0  # CPU seconds of everything on it until the last pod was there


@dataclasses.dataclass(frozen=True)
class Kind:
    """Of jobs: where they are posted, and the label by which a pod says whose it is."""

    api: str
    plural: str
    label: str


OURS = Kind(names.API_VERSION, names.PLURAL, names.LABEL_JOB_NAME)


class Tally:
    """Pods of one namespace as a watch tells of them."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.there: set[str] = set()
        self.running: set[str] = set()
        self.last_there = self.last_running = self.last_gone = 0.0
        self.last_of: dict[str, float] = {}  # by job, when its newest pod came
        self.came = 0
        self._news = asyncio.Event()

    async def follow(self, admin: Admin, path: str) -> None:
        """Watch until cancelled; an API server drops a watch whose reader has no time for it."""
        version = (await admin.get(path))["metadata"]["resourceVersion"]
        while True:
            stream = admin.transport.stream(f"{path}?watch=true&resourceVersion={version}", 10.0)
            async with contextlib.aclosing(stream) as lines:
                async for line in lines:
                    event = json.loads(line)
                    version = event["object"]["metadata"]["resourceVersion"]
                    self._take(event)

    def _take(self, event: Body) -> None:
        name, now = event["object"]["metadata"]["name"], time.monotonic()
        if event["type"] == "DELETED":
            self.there.discard(name)
            self.running.discard(name)
            self.last_gone = now
        elif name not in self.there:
            self.there.add(name)
            self.came += 1
            labels = event["object"]["metadata"].get("labels") or {}
            self.last_there = self.last_of[labels.get(self._label, "")] = now
        if event["type"] == "MODIFIED" and event["object"]["status"].get("phase") == "Running":
            if name not in self.running:
                self.running.add(name)
                self.last_running = now
        self._news.set()

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Return once it holds. Raises TimeoutError with the count."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            found = f"{len(self.there)} pods there, {len(self.running)} run"
            raise TimeoutError(f"waited {PATIENCE:.0f} s for {what}: {found}") from error


class Field:
    """One namespace with a watch on it. Use as an async context manager."""

    def __init__(self, admin: Admin, namespace: str, kind: Kind = OURS) -> None:
        self.admin = admin
        self.namespace = namespace
        self.tally = Tally(kind.label)
        self._kind = kind
        self.core = f"/api/v1/namespaces/{namespace}"
        self.pods = f"{self.core}/pods"
        self.jobs = f"/apis/{kind.api}/namespaces/{namespace}/{kind.plural}"

    async def __aenter__(self) -> Field:
        await Scene.make(self.admin, self.namespace)
        self._watch = asyncio.create_task(self.tally.follow(self.admin, self.pods))
        await asyncio.sleep(0.5)  # until it watches
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    async def post(
        self, path: str, bodies: Sequence[Body], pods: int, by: KubernetesTransport, at_once: int
    ) -> Took:
        """POST them, so many requests under way at once, and wait for the pods."""
        pace = Pace(UNBOUND, UNBOUND, in_flight=at_once, timeout_seconds=60.0)
        rest, limit = Rest(by, time.monotonic, pace=pace), asyncio.Semaphore(at_once)
        sent, began, before = dict[str, float](), time.monotonic(), machine_seconds()

        async def one(body: Body) -> None:
            async with limit:
                sent[body["metadata"]["name"]] = time.monotonic()
                await rest.post(path, body)

        await asyncio.gather(*map(one, bodies))
        await self.tally.until(f"{pods} pods", lambda: len(self.tally.there) == pods)
        spent = machine_seconds() - before
        await self.tally.until(f"{pods} to run", lambda: len(self.tally.running) == pods)
        took = Took(self.tally.last_there - began, self.tally.last_running - began, machine=spent)
        of = self.tally.last_of
        waits = sorted(of[name] - at for name, at in sent.items() if name in of)
        if not waits:
            return took
        slowest = waits[min(len(waits) - 1, int(0.99 * len(waits)))]
        return dataclasses.replace(took, median=statistics.median(waits), slowest=slowest)

    async def clear(self) -> None:
        """Delete everything, and wait until garbage collection has nothing left to do."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        for path in (self.jobs, self.pods):
            with contextlib.suppress(ClusterError):  # a thousand may take longer than an answer may
                await self.admin.call("DELETE", path, options)
        await self.tally.until("no pod", lambda: not self.tally.there)
        for _ in range(int(PATIENCE / LOOK_SECONDS)):
            await asyncio.sleep(LOOK_SECONDS)
            if not await self._left():
                break
        else:
            raise TimeoutError(f"garbage collection left something in {self.namespace}")

    async def _left(self) -> bool:
        labelled = f"?limit=1&labelSelector={self._kind.label}"
        paths = [f"{self.core}/{kind}{labelled}" for kind in ("services", "configmaps", "pods")]
        return any([(await self.admin.get(path))["items"] for path in paths])
