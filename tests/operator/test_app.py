"""The job watch outlives kopf's ends; the probes tell of a stuck pass; one page a path; files enough."""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import resource
import threading
from typing import Any

import pytest

from speech_contract import names
from speech_operator.__main__ import keep_little_garbage, open_as_many_files_as_we_may
from speech_operator.cluster.base import JobKey
from speech_operator.cluster.rest import Answer, Rest
from speech_operator.cluster.transport import Credentials
from speech_operator.probes import Pulse, Reply, serve
from speech_operator.watch import JobWatch

KEY = JobKey("speech", "asr")


class Kinds:
    """Serves the kind, from the `after`-th question on."""

    def __init__(self, after: int = 0) -> None:
        self.asked = 0
        self._after = after

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        self.asked += 1
        if self.asked <= self._after:
            return Answer(404, b"{}")
        return Answer(200, json.dumps({"resources": [{"name": names.PLURAL}]}).encode())

    async def stream(self, path: str, timeout_seconds: float) -> Any:
        raise NotImplementedError
        yield b""


async def nobody() -> Credentials:
    raise NotImplementedError


class Guest:
    """In kopf's place: ends with an error so often, then stays until it is told to stop."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self.runs = 0
        self.staying = threading.Event()
        self.stopped = threading.Event()

    async def __call__(self, stop: threading.Event) -> None:
        self.runs += 1
        waiting = asyncio.get_running_loop().run_in_executor(None, stop.wait)  # as kopf does
        waiting.add_done_callback(lambda done: None)
        if self.runs <= self._failures:
            raise RuntimeError("a watch error that is no 410")
        self.staying.set()
        await asyncio.to_thread(stop.wait)
        self.stopped.set()


def watch(guest: Guest, kinds: Kinds, naps: list[float]) -> JobWatch:
    async def sleep(seconds: float) -> None:
        if seconds >= 60.0:  # the resync
            await asyncio.Event().wait()
        naps.append(seconds)

    rest = Rest(kinds, lambda: 0.0)
    return JobWatch(rest, (), lambda key, job: None, nobody, lambda: 0.0, lambda: 1.0, sleep, guest)


async def test_kopf_is_started_again_after_each_end_and_told_to_stop() -> None:
    guest, naps = Guest(failures=3), list[float]()
    alive = asyncio.Event()
    task = asyncio.create_task(watch(guest, Kinds(), naps).run())
    younger = asyncio.create_task(alive.wait())  # kopf would cancel it if it shared our loop
    assert await asyncio.to_thread(guest.staying.wait, 20.0)
    assert guest.runs == 4
    assert naps == [0.5, 1.0, 2.0]
    assert not younger.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await asyncio.to_thread(guest.stopped.wait, 20.0)
    younger.cancel()


async def test_kopf_waits_for_the_kind_it_would_else_never_see() -> None:
    guest, kinds, naps = Guest(failures=0), Kinds(after=2), list[float]()
    task = asyncio.create_task(watch(guest, kinds, naps).run())
    assert await asyncio.to_thread(guest.staying.wait, 20.0)
    assert (kinds.asked, guest.runs, len(naps)) == (3, 1, 2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_a_pass_that_does_not_end_fails_the_liveness_probe() -> None:
    now = [0.0]
    pulse = Pulse(lambda: now[0], stuck_seconds=300.0)
    assert pulse.healthz().ok
    with pulse.beat(KEY):
        now[0] = 299.0
        assert pulse.healthz().ok
        now[0] = 300.0
        assert not pulse.healthz().ok
        assert b"speech/asr" in pulse.healthz().body
    assert pulse.healthz().ok


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /healthz HTTP/1.1", "200"),
        ("GET /healthz?verbose HTTP/1.1", "200"),
        ("GET /sick HTTP/1.1", "503"),
        ("GET /other HTTP/1.1", "404"),
        ("POST /healthz HTTP/1.1", "405"),
    ],
)
async def test_pages(request_line: str, status: str) -> None:
    pages = {"/healthz": lambda: Reply(True, b"ok"), "/sick": lambda: Reply(False, b"")}
    async with serve(0, pages) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request_line}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    assert answer.split()[1] == status


def test_the_limit_of_open_files_is_the_hard_one() -> None:
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before, most) - 1, most))
    try:
        open_as_many_files_as_we_may()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


def test_garbage_in_cycles_does_not_pile_up() -> None:
    class Cycle:
        alive = most = 0

        def __init__(self) -> None:
            self.itself = self
            Cycle.alive += 1
            Cycle.most = max(Cycle.most, Cycle.alive)

        def __del__(self) -> None:
            Cycle.alive -= 1

    before, at_work = gc.get_threshold(), collections.deque[Cycle](maxlen=3000)
    keep_little_garbage()
    try:
        for _ in range(200_000):
            at_work.append(Cycle())  # the oldest of them has grown old by the time it is let go
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        gc.collect()
    assert Cycle.most < 20_000
