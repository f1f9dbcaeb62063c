"""Transports between the operator and the API server that count, fail and die."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.rest import WRITES, Answer, Transport

WATCH = "WATCH"


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it was sent."""

    method: str
    path: str


class Recording:
    """Passes everything on and keeps what was asked, one write at a time."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.requests: list[Request] = []
        self._one = asyncio.Lock()

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.method in WRITES]

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Answer:
        if method not in WRITES:
            return await self.read(method, path, timeout_seconds)
        async with self._one:  # creates one at a time, so that a number names a write
            self.requests.append(Request(method, path))
            return await self.carry(method, path, body, timeout_seconds)

    async def read(self, method: str, path: str, timeout_seconds: float) -> Answer:
        self.requests.append(Request(method, path))
        return await self.carry(method, path, None, timeout_seconds)

    async def carry(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Answer:
        return await self.inner.send(method, path, body, timeout_seconds)

    async def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        self.requests.append(Request(WATCH, path))
        async for line in self.inner.stream(path, timeout_seconds):
            yield line


class Mortal(Recording):
    """Dies after its `last` write: the API server has it, the operator never hears of it."""

    def __init__(self, inner: Transport, last: int) -> None:
        super().__init__(inner)
        self._last = last
        self.died = asyncio.Event()

    async def carry(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Answer:
        if self.died.is_set():
            await asyncio.Event().wait()  # until the dead operator's tasks are cancelled
        answer = await super().carry(method, path, body, timeout_seconds)
        if method in WRITES and len(self.writes) >= self._last:
            self.died.set()
            await asyncio.Event().wait()
        return answer


FAULTS = ("409", "410", "429", "500", "lost", "refused")
STREAM_FAULTS = ("refused", "410", "500", "cut", "silent")


class Faulty(Recording):
    """Spoils the request with number `at`, in the way of `fault`."""

    def __init__(self, inner: Transport, at: int, fault: int) -> None:
        super().__init__(inner)
        self._at = at
        self._fault = fault
        self.spoiled: str = ""

    async def carry(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Answer:
        if self.spoiled or len(self.requests) < self._at:
            return await super().carry(method, path, body, timeout_seconds)
        fault = FAULTS[self._fault % len(FAULTS)]
        self.spoiled = f"{fault} {method} {path}"
        if fault == "refused":
            raise ClusterError("injected: connection refused")
        if fault == "lost":
            await super().carry(method, path, body, timeout_seconds)
            raise ClusterError("injected: time-out, though it was carried out")
        return Answer(int(fault), _status(int(fault)), 0.0)

    async def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        self.requests.append(Request(WATCH, path))
        if self.spoiled or len(self.requests) < self._at:
            async for line in self.inner.stream(path, timeout_seconds):
                yield line
            return
        fault = STREAM_FAULTS[self._fault % len(STREAM_FAULTS)]
        self.spoiled = f"{fault} {WATCH}"
        if fault == "refused":
            raise ClusterError("injected: connection refused")
        if fault in ("410", "500"):
            event = {"type": "ERROR", "object": json.loads(_status(int(fault)))}
            yield json.dumps(event).encode()
        elif fault == "silent":
            await asyncio.Event().wait()
        else:  # cut after its first line
            async for line in self.inner.stream(path, timeout_seconds):
                yield line
                return


def _status(code: int) -> bytes:
    reasons = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
    status = {"kind": "Status", "code": code, "reason": reasons[code], "message": "injected"}
    return json.dumps(status).encode()
