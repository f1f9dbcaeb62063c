"""Probes and metrics over HTTP, answered by the event loop that works: a loop that hangs does not answer.

/healthz    no pass is stuck
/readyz     at work, or standing by with the pods known
/metrics    Prometheus text, on a port of its own
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final, NamedTuple

from speech_operator.cluster.base import JobKey
from speech_operator.cluster.rest import Clock

REQUEST_SECONDS: Final = 5.0
REQUEST_LIMIT: Final = 8192  # bytes
PLAIN: Final = "text/plain; charset=utf-8"


class Reply(NamedTuple):
    """What a page answers."""

    ok: bool
    body: bytes
    content_type: str = PLAIN


Pages = Mapping[str, Callable[[], Reply]]


class Pulse:
    """Which passes are under way, and since when."""

    def __init__(self, clock: Clock, stuck_seconds: float) -> None:
        self._clock = clock
        self._stuck_seconds = stuck_seconds
        self._began: dict[JobKey, float] = {}

    @contextlib.contextmanager
    def beat(self, key: JobKey) -> Iterator[None]:
        """Around one pass."""
        self._began[key] = self._clock()
        try:
            yield
        finally:
            self._began.pop(key, None)

    def healthz(self) -> Reply:
        """Not ok when a pass takes longer than every time-out in it together."""
        if not self._began:
            return Reply(True, b"ok: idle")
        key = min(self._began, key=lambda k: self._began[k])
        age = self._clock() - self._began[key]
        text = f"oldest pass {key}: {age:.1f} s of {self._stuck_seconds:g} s".encode()
        return Reply(age < self._stuck_seconds, text)


@contextlib.asynccontextmanager
async def serve(port: int, pages: Pages) -> AsyncIterator[int]:
    """Serve the pages while the block lasts; gives the port that was taken."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, pages))
                await writer.drain()
        writer.close()

    listening = _listen(port)
    server = await asyncio.start_server(answer, sock=listening, limit=REQUEST_LIMIT)
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.close()


def _listen(port: int) -> socket.socket:
    """Both families on one port: a kubelet probes by whichever address the pod has."""
    everywhere = ("", port)
    if socket.has_dualstack_ipv6():
        return socket.create_server(everywhere, family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(everywhere)


def _response(head: bytes, pages: Pages) -> bytes:
    method, _, rest = head.decode("latin-1").partition(" ")
    page = pages.get(rest.partition(" ")[0].partition("?")[0])
    if method != "GET" or page is None:
        return _message(
            "404 Not Found" if method == "GET" else "405 Method Not Allowed", b"", PLAIN
        )
    reply = page()
    status = "200 OK" if reply.ok else "503 Service Unavailable"
    return _message(status, reply.body, reply.content_type)


def _message(status: str, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + body
