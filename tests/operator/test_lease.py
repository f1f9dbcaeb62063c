"""Two operators and one Lease on a clock of their own: taking, keeping, losing, letting go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.lease import Lease, LeaseLost, LeaseTimes
from speech_operator.cluster.rest import Answer, Rest

TIMES = LeaseTimes()


class Server:
    """One Lease object with optimistic concurrency; `down` answers nothing."""

    def __init__(self) -> None:
        self.object: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        if self.down:
            raise ClusterError("down")
        if method == "GET":
            return self._answer() if self.object else Answer(404, b"{}")
        expected = body["metadata"].get("resourceVersion")
        if method == "PUT" and expected != str(self.version):
            return Answer(409, json.dumps({"reason": "Conflict"}).encode())
        if method == "POST" and self.object:
            return Answer(409, json.dumps({"reason": "AlreadyExists"}).encode())
        self.version += 1
        self.object = {
            **body,
            "metadata": {**body["metadata"], "resourceVersion": str(self.version)},
        }
        return self._answer()

    def _answer(self) -> Answer:
        return Answer(200, json.dumps(self.object).encode())

    async def stream(self, path: str, timeout_seconds: float) -> Any:
        raise NotImplementedError
        yield b""

    @property
    def holder(self) -> str:
        assert self.object is not None
        return str(self.object["spec"]["holderIdentity"])


class World:
    """A server, a clock, and what happens at given times."""

    def __init__(self) -> None:
        self.server = Server()
        self.now = 0.0
        self.plans: list[tuple[float, Any]] = []

    def lease(self, holder: str) -> Lease:
        rest = Rest(self.server, lambda: self.now, self.sleep)
        return Lease(
            rest, "home", "speechtrain", holder, lambda: self.now, lambda: 1.7e9 + self.now,
            lambda: 0.5, self.sleep,
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        for at, plan in list(self.plans):
            if at <= self.now:
                self.plans.remove((at, plan))
                await plan()

    def at(self, seconds: float, plan: Any) -> None:
        self.plans.append((seconds, plan))


class Stop(Exception):
    """The test has seen enough."""


@pytest.fixture
def world() -> World:
    return World()


def stop_at(world: World, seconds: float) -> None:
    async def stop() -> None:
        raise Stop

    world.at(seconds, stop)


async def test_the_first_makes_it_and_keeps_it(world: World) -> None:
    lease = world.lease("one")
    await lease.acquire()
    assert lease.held
    stop_at(world, 30 * TIMES.retry)
    with pytest.raises(Stop):
        await lease.hold()
    assert world.server.holder == "one"
    assert world.server.version > 20


async def test_a_standby_never_takes_a_lease_that_is_renewed(world: World) -> None:
    one, two = world.lease("one"), world.lease("two")
    await one.acquire()
    for second in range(1, 120, 2):
        world.at(float(second), one._renew)
    stop_at(world, 119.0)
    with pytest.raises(Stop):
        await two.acquire()
    assert world.server.holder == "one"


async def test_a_standby_takes_over_after_the_whole_duration_of_silence(world: World) -> None:
    await world.lease("one").acquire()
    two = world.lease("two")
    await two.acquire()
    assert TIMES.duration <= world.now <= TIMES.duration + 2 * TIMES.retry
    assert world.server.holder == "two"
    assert world.server.object is not None
    assert world.server.object["spec"]["leaseTransitions"] == 1


async def test_a_lease_let_go_is_taken_at_once(world: World) -> None:
    one, two = world.lease("one"), world.lease("two")
    await one.acquire()
    await one.release()
    assert not one.held
    await two.acquire()
    assert world.now < 1.0


async def test_ours_from_a_former_life_is_ours(world: World) -> None:
    await world.lease("one").acquire()
    await world.lease("one").acquire()
    assert world.now < 1.0


async def test_another_holder_ends_the_work_at_once(world: World) -> None:
    one = world.lease("one")
    await one.acquire()

    async def usurp() -> None:
        assert world.server.object is not None
        world.server.version += 1
        world.server.object["metadata"]["resourceVersion"] = str(world.server.version)
        world.server.object["spec"]["holderIdentity"] = "two"

    world.at(10.0, usurp)
    with pytest.raises(LeaseLost, match="another"):
        await one.hold()
    assert world.now < 10.0 + 2 * TIMES.retry
    await one.release()
    assert world.server.holder == "two"


async def test_a_lost_answer_to_our_own_renewal_is_no_loss(world: World) -> None:
    one = world.lease("one")
    await one.acquire()

    async def renewed_unheard() -> None:
        assert world.server.object is not None
        world.server.version += 1
        world.server.object["metadata"]["resourceVersion"] = str(world.server.version)

    world.at(10.0, renewed_unheard)
    stop_at(world, 30.0)
    with pytest.raises(Stop):
        await one.hold()
    assert one.held


async def test_whoever_cannot_renew_stops_before_another_may_start(world: World) -> None:
    one = world.lease("one")
    await one.acquire()

    async def fall() -> None:
        world.server.down = True

    world.at(5.0, fall)
    with pytest.raises(LeaseLost, match="not renewed"):
        await one.hold()
    assert world.now < 5.0 + TIMES.duration


@pytest.mark.parametrize("seconds", [5.0, 30.0])
async def test_an_outage_is_waited_out(world: World, seconds: float) -> None:
    """Also that of an API server that ten thousand pods keep from answering."""
    one = world.lease("one")
    await one.acquire()

    async def turn() -> None:
        world.server.down = not world.server.down

    world.at(5.0, turn)
    world.at(5.0 + seconds, turn)
    stop_at(world, 60.0)
    with pytest.raises(Stop):
        await one.hold()
    assert one.held
