"""The API server as a few verbs over plain dicts: pace, time-outs, errors. Used by everything else in this room.

A `Transport` carries single requests and streams; tests put theirs in between to inject faults. Whatever goes
wrong becomes a ClusterError, so that nothing of the HTTP library reaches the controller.

    ApiError(ClusterError)    the API server answered, but not with 2xx; `status`, `reason`, its sentence
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import orjson

from speech_operator.cluster.base import ClusterError

Body = dict[str, Any]
Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

TOO_MANY: Final = 429
TRIES: Final = (
    4  # of a request that is answered with 429: it was not carried out, so any verb may repeat
)
LONGEST_PAUSE_SECONDS: Final = 10.0  # a server may ask for more; then the pass fails and backs off
LONGEST_SENTENCE: Final = 900  # characters; status and events cut at 1024
WRITES: Final = frozenset({"POST", "PUT", "DELETE"})


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back. `retry_after` in seconds, when the server names it."""

    status: int
    body: bytes
    retry_after: float | None = None


class Transport(Protocol):
    """Carries requests to the API server. Raises ClusterError when no answer comes."""

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Answer:
        """One request, one answer."""
        ...

    def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        """GET, line by line, until the server ends it. `timeout_seconds` is for the connection alone."""
        ...


class ApiError(ClusterError):
    """An answer other than 2xx. `str()` is the API server's sentence."""

    def __init__(self, method: str, path: str, answer: Answer) -> None:
        document = _status_document(answer.body)
        self.status = answer.status
        self.reason = str(document.get("reason", ""))
        self.message = str(document.get("message", ""))[:LONGEST_SENTENCE]
        details = document.get("details") or {}
        causes = details.get("causes") or ()
        self.causes = frozenset(str(c.get("reason", "")) for c in causes)
        self.fields = tuple(str(c["field"]) for c in causes if c.get("field"))
        resource = path.partition("?")[0]
        super().__init__(f"{method} {resource}: {self.status} {self.message or self.reason}")


def _status_document(body: bytes) -> Mapping[str, Any]:
    """`metav1.Status`, or nothing: proxies answer with anything."""
    try:
        document = orjson.loads(body)
    except ValueError:
        return {"message": body[:200].decode(errors="replace")}
    return document if isinstance(document, Mapping) else {}


class TokenBucket:
    """`rate` a second, `burst` at once; who comes first is served first."""

    def __init__(self, rate: float, burst: float, clock: Clock, sleep: Sleep) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._tokens = burst
        self._filled_at = clock()

    async def take(self) -> None:
        """Wait for one's turn."""
        self._refill()
        self._tokens -= 1.0  # below 0: reserved by those who wait
        if self._tokens < 0.0:
            await self._sleep(-self._tokens / self._rate)

    def try_take(self) -> bool:
        """Take one if it is there at once."""
        self._refill()
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def _refill(self) -> None:
        now = self._clock()
        gained = (now - self._filled_at) * self._rate
        self._tokens = min(self._burst, self._tokens + gained)
        self._filled_at = now


@dataclasses.dataclass(frozen=True)
class Pace:
    """How hard the API server is driven. Chart: `operator.writeRate` and its neighbours."""

    writes_per_second: float = 100.0
    write_burst: float = 200.0
    in_flight: int = 32
    timeout_seconds: float = 10.0


class Rest:
    """Verbs on paths. Every method raises ApiError for an answer other than 2xx, ClusterError without one."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        pace: Pace | None = None,
    ) -> None:
        self.pace = pace or Pace()
        self._transport = transport
        self._sleep = sleep
        rate, burst = self.pace.writes_per_second, self.pace.write_burst
        self._writes = TokenBucket(rate, burst, clock, sleep)
        self._in_flight = asyncio.Semaphore(self.pace.in_flight)

    async def get(self, path: str) -> Body:
        """One object or list."""
        return await self._call("GET", path)

    async def find(self, path: str) -> Body | None:
        """Like `get`; None where there is nothing."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def post(self, path: str, body: Mapping[str, Any]) -> Body:
        """Create."""
        return await self._call("POST", path, body)

    async def put(
        self, path: str, body: Mapping[str, Any], timeout_seconds: float | None = None
    ) -> Body:
        """Replace; a `resourceVersion` in the body makes it a precondition."""
        return await self._call("PUT", path, body, timeout_seconds)

    async def delete(self, path: str, options: Mapping[str, Any] | None = None) -> None:
        """Delete; absence is success."""
        try:
            await self._call("DELETE", path, options)
        except ApiError as error:
            if error.status != 404:
                raise

    def stream(self, path: str) -> AsyncGenerator[bytes, None]:
        """Lines of a watch. The caller closes it, and gives up on one that has gone silent."""
        return self._transport.stream(path, self.pace.timeout_seconds)

    async def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
    ) -> Body:
        if body is not None:
            _check_json(method, path, body)
        timeout = timeout_seconds or self.pace.timeout_seconds
        for left in reversed(range(TRIES)):
            answer = await self._turn(method, path, body, timeout)
            if answer.status != TOO_MANY or left == 0:
                break
            pause = 1.0 if answer.retry_after is None else answer.retry_after
            await self._sleep(min(pause, LONGEST_PAUSE_SECONDS))
        if not 200 <= answer.status < 300:
            raise ApiError(method, path, answer)
        return _document(method, path, answer.body)

    async def _turn(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float
    ) -> Answer:
        if method in WRITES:
            await self._writes.take()
        async with self._in_flight:
            return await self._transport.send(method, path, body, timeout)


def _check_json(method: str, path: str, body: Mapping[str, Any]) -> None:
    """An API server answers a bare NaN with 400, and whatever was to be told is lost: find it here."""
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ClusterError(f"{method} {path}: the body is no JSON ({error})") from error


def _document(method: str, path: str, body: bytes) -> Body:
    try:
        document = orjson.loads(body)
    except ValueError as error:
        raise ClusterError(f"{method} {path}: the answer is no JSON") from error
    if not isinstance(document, dict):
        raise ClusterError(f"{method} {path}: the answer is no object")
    return document
