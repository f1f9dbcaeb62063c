"""A small Lease: at most one operator at work. Called by `app`.

It keeps a standby from doing the same work twice; it is no fence (fixed names, versions and uids are). Times
are monotonic and one's own: another's clock is never compared with ours, only whether its record moved.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
from collections.abc import Callable, Mapping
from typing import Any

from speech_contract.events import Event
from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.rest import ApiError, Body, Clock, Rest, Sleep
from speech_operator.events import log


class LeaseLost(Exception):
    """Another took it, or it could not be renewed in time: whoever worked under it must stop at once."""


@dataclasses.dataclass(frozen=True)
class LeaseTimes:
    """Seconds. A request is given up before the deadline, so that one slow answer does not cost the Lease."""

    duration: float = 60.0  # a standby waits this long after the holder's last word
    deadline: float = 45.0  # the holder stops itself when it could not renew for so long
    retry: float = 5.0
    request: float = 10.0


class Lease:
    """`acquire`, then `hold` until it raises; `release` on the way out."""

    def __init__(
        self,
        rest: Rest,
        namespace: str,
        name: str,
        holder: str,
        clock: Clock,
        wall_clock: Clock,
        random: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        times: LeaseTimes | None = None,
    ) -> None:
        self._rest = rest
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._identity = {"name": name, "namespace": namespace}
        self._holder = holder
        self._clock = clock
        self._wall_clock = wall_clock
        self._random = random
        self._sleep = sleep
        self._times = times or LeaseTimes()
        self._mine: Body | None = None  # as the API server returned it last
        self._seen: tuple[object, float] = (None, clock())  # another's version, since when

    @property
    def held(self) -> bool:
        """Whether it is ours, as far as we know."""
        return self._mine is not None

    async def acquire(self) -> None:
        """Return when it is ours."""
        while True:
            try:
                if await self._try():
                    return
            except ClusterError as error:
                self._tell(error)
            await self._pause()

    async def hold(self) -> None:
        """Renew for ever. Raises LeaseLost."""
        renewed_at = self._clock()
        while True:
            await self._pause()
            try:
                async with asyncio.timeout(self._times.deadline):
                    await self._renew()
                renewed_at = self._clock()
            except (ClusterError, TimeoutError) as error:
                self._tell(error)
            if self._clock() - renewed_at > self._times.deadline:
                self._mine = None
                raise LeaseLost(f"not renewed for {self._times.deadline:g} s")

    async def release(self) -> None:
        """Leave an empty holder, so that a standby need not wait. Does nothing when it is not ours."""
        if self._mine is None:
            return
        try:
            await self._write(self._mine, holder="")
        except ClusterError as error:
            self._tell(error)  # it runs out by itself
        self._mine = None

    async def _try(self) -> bool:
        there = await self._rest.find(self._path)
        if there is None:
            self._mine = await self._rest.post(self._collection, self._body({}, self._holder, 0))
            return True
        if not self._free(there):
            return False
        try:
            self._mine = await self._write(there, holder=self._holder)
        except ApiError as error:
            if error.status == 409:  # another was faster
                return False
            raise
        return True

    def _free(self, there: Body) -> bool:
        """Ours from a former life, let go, or without a sign of life for the whole duration."""
        spec = there.get("spec") or {}
        holder, version = spec.get("holderIdentity"), there["metadata"]["resourceVersion"]
        if not holder or holder == self._holder:
            return True
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        duration = max(self._times.duration, float(spec.get("leaseDurationSeconds") or 0))
        return self._clock() - self._seen[1] >= duration

    async def _renew(self) -> None:
        assert self._mine is not None
        try:
            self._mine = await self._write(self._mine, holder=self._holder)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            there = await self._rest.find(self._path)  # an answer of ours may have been lost
            if there is None or (there.get("spec") or {}).get("holderIdentity") != self._holder:
                self._mine = None
                raise LeaseLost("another operator holds the Lease") from error
            self._mine = there

    async def _write(self, old: Body, holder: str) -> Body:
        spec = old.get("spec") or {}
        moved = spec.get("holderIdentity") != holder and bool(holder)
        transitions = int(spec.get("leaseTransitions") or 0) + moved
        body = self._body(old["metadata"], holder, transitions)
        return await self._rest.put(self._path, body, self._times.request)

    def _body(self, metadata: Mapping[str, Any], holder: str, transitions: int) -> Body:
        now = datetime.datetime.fromtimestamp(self._wall_clock(), tz=datetime.UTC)
        version = metadata.get("resourceVersion")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**self._identity, **({"resourceVersion": version} if version else {})},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": int(self._times.duration) if holder else 1,
                "leaseTransitions": transitions,
                "renewTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }

    async def _pause(self) -> None:
        await self._sleep(self._times.retry * (0.8 + 0.4 * self._random()))

    def _tell(self, error: Exception) -> None:
        log(Event.CLUSTER_CALL_FAILED, logging.WARNING, verb="lease", error=repr(error))
