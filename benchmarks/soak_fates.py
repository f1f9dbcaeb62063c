"""Lives of jobs by what becomes of them, each told to its end and checked there. Used by accept_soak.py.

Pods are KWOK's, which run at once, until somebody says otherwise: this module is kubelet, user and bystander. What it
waits for it hears from one watch on all jobs of the namespace: a look a job would be the load that is measured.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

from apibed.admin import Admin
from apibed.scene import Body, Scene, condition, reason_of
from bed.api import ApiError
from operator_load import job

from speech_contract import names
from speech_contract.exit_codes import (
    EXIT_DO_NOT_CONTINUE,
    EXIT_NON_FINITE,
    EXIT_SIGSEGV,
    Cause,
)
from speech_contract.outcome import Outcome
from speech_contract.reasons import Reason, State
from speech_operator.cluster.base import ClusterError

PODS = 2
PATIENCE_SECONDS = 600.0
DEADLINE_SECONDS, TTL_SECONDS = 20, 5
POD_CREATED = Reason.POD_CREATED.value
Seen = Callable[[Body | None], bool]


class Board:
    """The jobs of a namespace as one watch tells of them."""

    def __init__(self, admin: Admin, path: str) -> None:
        self._admin = admin
        self._path = path
        self.jobs: dict[str, Body] = {}
        self._news: dict[str, asyncio.Event] = collections.defaultdict(asyncio.Event)

    async def follow(self) -> None:
        """List and watch until cancelled."""
        while True:
            with contextlib.suppress(ClusterError, ApiError, KeyError):
                await self._once()
            await asyncio.sleep(0.5)

    async def _once(self) -> None:
        found = await self._admin.get(self._path)
        there = {one["metadata"]["name"]: one for one in found["items"]}
        for name in self.jobs.keys() | there.keys():
            self._take(name, there.get(name))
        version = found["metadata"]["resourceVersion"]
        stream = self._admin.transport.stream(
            f"{self._path}?watch=true&resourceVersion={version}", 10.0
        )
        async with contextlib.aclosing(stream) as lines:
            async for line in lines:
                event = json.loads(line)
                gone = event["type"] == "DELETED"
                self._take(event["object"]["metadata"]["name"], None if gone else event["object"])

    def _take(self, name: str, document: Body | None) -> None:
        if document is None:
            self.jobs.pop(name, None)
        else:
            self.jobs[name] = document
        self._news[name].set()

    async def until(self, name: str, what: str, holds: Seen) -> None:
        """Return once it holds of the job; None: it is gone. Raises TimeoutError with its status."""
        news = self._news[name]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not holds(self.jobs.get(name)):
                    news.clear()
                    await news.wait()
        except TimeoutError as error:
            status = json.dumps((self.jobs.get(name) or {}).get("status"))[:600]
            raise TimeoutError(f"{name}: waited for {what}: {status}") from error

    def forget(self, name: str) -> None:
        """Nobody waits for it any more."""
        self._news.pop(name, None)


@dataclasses.dataclass
class Life:
    """One job from its first document to nothing. `rest` bounds the seconds that it trains between two turns."""

    scene: Scene
    board: Board
    name: str
    rest: tuple[float, float]
    chance: random.Random

    async def begin(self, **policy: Any) -> None:
        """POST it."""
        await self.post(job(self.name, PODS), policy)

    async def post(self, document: Body, policy: Body) -> None:
        document["spec"]["runPolicy"] = {**document["spec"].get("runPolicy", {}), **policy}
        await self.scene.admin.post(self.scene.jobs_path, document)

    async def runs(self, attempt: int = 1) -> None:
        """Wait until the gang of this attempt is there, and let it train."""
        await self.until(f"attempt {attempt}", lambda job: whole(job, attempt))
        await asyncio.sleep(self.chance.uniform(*self.rest))

    async def until(self, what: str, holds: Seen) -> None:
        await self.board.until(self.name, what, holds)

    async def state(self, wanted: State, reason: str = "") -> None:
        """Wait for a state and, of the condition of its name, for a reason."""
        await self.until(
            f"{wanted.value} {reason}",
            lambda job: (
                _state(job) == wanted and (not reason or reason_of(job, wanted.value) == reason)
            ),
        )

    async def ends(self, rank: int, code: int, outcome: Outcome | None = None) -> None:
        """The container that trains on this node ends so."""
        await ends(self.scene, names.pod_name(self.name, rank), code, outcome)

    async def completes(self) -> None:
        """Every pod ends with 0; those of the next attempt, if somebody took one away meanwhile."""
        while _state(self.board.jobs.get(self.name)) != State.COMPLETE:
            at = attempt_of(self.board.jobs.get(self.name))
            for rank in reversed(range(PODS)):
                await self.ends(rank, 0)
            await self.until(
                "Complete", lambda job, at=at: _state(job) == State.COMPLETE or whole(job, at + 1)
            )

    @property
    def path(self) -> str:
        return f"{self.scene.jobs_path}/{self.name}"

    async def clear(self) -> None:
        """Delete what is left, and wait until the watch says that it went."""
        with contextlib.suppress(ApiError):  # by its time-to-live it may be gone
            await self.scene.admin.delete(self.path)
        await self.until("its end", lambda job: job is None)
        self.board.forget(self.name)


async def ends(scene: Scene, pod: str, code: int, outcome: Outcome | None = None) -> None:
    """The container that trains in this pod ends so, once the pod is there."""
    for _ in range(int(PATIENCE_SECONDS)):
        try:
            return await scene.ends(pod, code, outcome)
        except ApiError as error:
            if error.status != 404:
                raise
            await asyncio.sleep(1.0)
    raise TimeoutError(f"{pod} is not there")


def _state(document: Body | None) -> str:
    return str(((document or {}).get("status") or {}).get("state", ""))


def whole(document: Body | None, attempt: int) -> bool:
    """Whether all pods of this attempt, or of a later one, are there.

    No job gets to Running here: no supervisor speaks for it.
    """
    return attempt_of(document) >= attempt and reason_of(document, "Running") == POD_CREATED


def attempt_of(document: Body | None) -> int:
    """The attempt of its status."""
    return int(((document or {}).get("status") or {}).get("attempt") or 0)


async def complete(life: Life) -> None:
    """Trains and is done."""
    await life.begin()
    await life.runs()
    await life.completes()


async def fail(life: Life) -> None:
    """A code that no restart mends."""
    await life.begin()
    await life.runs()
    await life.ends(0, EXIT_DO_NOT_CONTINUE)
    await life.state(State.FAILED, Cause.DO_NOT_CONTINUE.value)


async def restart(life: Life) -> None:
    """A worker crashes; the gang comes back, and is done."""
    await life.begin()
    await life.runs()
    await life.ends(1, EXIT_SIGSEGV)
    await life.runs(2)
    await life.completes()


async def roll_back(life: Life) -> None:
    """Losses are NaN; the gang goes back to its confirmed checkpoint, and is done."""
    await life.begin()
    await life.runs()
    told = Outcome(
        attempt=1, node_rank=0, phase="Train", exit_code=EXIT_NON_FINITE, message="loss is nan",
        step=60, last_confirmed_step=50,
    )  # fmt: skip
    await life.ends(0, EXIT_NON_FINITE, told)
    await life.runs(2)
    await life.completes()


async def suspend(life: Life) -> None:
    """Suspended while it runs, then resumed, and done."""
    await life.begin()
    await life.runs()
    await life.scene.admin.patch(life.path, {"spec": {"runPolicy": {"suspend": True}}})
    await life.state(State.SUSPENDED)
    await life.scene.admin.patch(life.path, {"spec": {"runPolicy": {"suspend": False}}})
    await life.runs(2)
    await life.completes()


async def delete(life: Life) -> None:
    """Deleted while it runs."""
    await life.begin()
    await life.runs()


async def deadline(life: Life) -> None:
    """Runs longer than it may."""
    await life.begin(activeDeadlineSeconds=DEADLINE_SECONDS)
    await life.state(State.FAILED, Reason.DEADLINE_EXCEEDED.value)


async def refuse(life: Life) -> None:
    """A manifest that the CRD takes and the operator does not."""
    document = job(life.name, PODS)
    document["spec"]["data"]["train"]["manifest"] = "s3://bucket/train.jsonl"
    await life.post(document, {})
    await life.state(State.REFUSED)
    await life.until(
        "the refusal", lambda job: condition(job, "Accepted").get("reason") == "InvalidSpec"
    )


async def expire(life: Life) -> None:
    """Done, and cleaned up by its time-to-live."""
    await life.begin(ttlSecondsAfterFinished=TTL_SECONDS)
    await life.runs()
    for rank in reversed(range(PODS)):
        await life.ends(rank, 0)
    await life.until("the clean-up", lambda job: job is None)


async def taken(life: Life) -> None:
    """Somebody else's pod has the name of its master, for a while."""
    pods = f"/api/v1/namespaces/{life.scene.namespace}/pods"
    name = names.pod_name(life.name, 0)
    other = {"containers": [{"name": "main", "image": "none"}], "schedulerName": "nobody"}
    await life.scene.admin.post(pods, {"metadata": {"name": name}, "spec": other})
    await life.begin()
    await life.until("NameTaken", lambda job: reason_of(job, "Running") == Reason.NAME_TAKEN.value)
    await life.scene.admin.call("DELETE", f"{pods}/{name}", {"gracePeriodSeconds": 0})
    await life.runs()
    await life.completes()


FATES: tuple[Callable[[Life], Awaitable[None]], ...] = (
    complete, fail, restart, roll_back, suspend, delete, deadline, refuse, expire, taken,
)  # fmt: skip
