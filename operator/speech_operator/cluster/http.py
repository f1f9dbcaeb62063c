"""One small HTTP GET over asyncio streams: capped, timed, no redirects, no dependency. Used by `get_progress`.

The other end is a supervisor inside somebody's pod: it may answer anything, for ever, or not at all.
"""

from __future__ import annotations

import asyncio
from typing import Final

from speech_operator.cluster.base import ClusterError

HEADER_LIMIT: Final = 16 * 1024  # bytes


async def get(address: str, path: str, timeout_seconds: float, limit: int) -> bytes:
    """The body of a 200 answer of at most `limit` bytes. Raises ClusterError for anything else."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _exchange(host.strip("[]"), int(port), path, limit)
    except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError) as error:
        kind = type(error).__name__
        raise ClusterError(f"GET {path} of {address}: {kind} {error}".strip()) from error


async def _exchange(host: str, port: int, path: str, limit: int) -> bytes:
    reader, writer = await asyncio.open_connection(host, port, limit=HEADER_LIMIT)
    try:
        request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n"
        writer.write(request.encode("ascii"))
        await writer.drain()
        head = await _head(reader)
        status = head[0].split(" ", 2)
        if len(status) < 2 or status[1] != "200":
            raise ClusterError(f"GET {path} of {host}:{port}: answer {head[0][:80]!r}")
        return await _body(reader, limit)
    finally:
        writer.transport.abort()  # all was read or is not wanted: nothing to wait for


async def _head(reader: asyncio.StreamReader) -> list[str]:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ClusterError("the answer's header is too large") from error
    return raw.decode("latin-1").split("\r\n")


async def _body(reader: asyncio.StreamReader, limit: int) -> bytes:
    """Everything until the end of the connection; HTTP/1.0 needs no length."""
    body = bytearray()
    while chunk := await reader.read(65536):
        body += chunk
        if len(body) > limit:
            raise ClusterError(f"the answer is larger than {limit} bytes")
    return bytes(body)
