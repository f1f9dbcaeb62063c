"""One scripted job from its first pod to its end, run while the operator dies or its requests fail.

The script is what kubelets and people do; it looks at the API server alone, so it does not care how many lives
the operator has. Start, gang restart and finish are one script: a number names a request anywhere in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from apibed.admin import Admin
from apibed.life import QUICK, alive
from apibed.scene import Scene
from apibed.states import difference, end_state
from apibed.transports import Faulty, Mortal, Recording

from speech_contract.outcome import Outcome

AT_ONCE = 6  # runs side by side, each in a namespace of its own
FAULT_TIMINGS = dataclasses.replace(QUICK, inactivity=1.5)


async def script(scene: Scene) -> None:
    """Start; a worker dies; the gang comes back and finishes."""
    await scene.create()
    await scene.gang(1)
    await scene.runs("asr-master-0")
    await scene.ends("asr-worker-0", 139)
    for pod in await scene.gang(2):
        await scene.runs(pod["metadata"]["name"])
    done = Outcome(attempt=2, node_rank=0, phase="Done", exit_code=0, step=60, verdict="Healthy")
    await scene.ends("asr-worker-0", 0)  # first: what the master's end finds running is deleted
    await scene.ends("asr-master-0", 0, done)
    await scene.state("Complete")


async def healthy(admin: Admin, name: str) -> tuple[str, Recording]:
    """The end state of a run that nothing disturbs, and its requests."""
    scene = await Scene.make(admin, name)
    recording = Recording(admin.transport)
    async with alive(recording, admin.transport, scene.namespace):
        await script(scene)
        state = await settled(scene)
    return state, recording


async def settled(scene: Scene, wanted: str = "") -> str:
    """The end state once it is the wanted one, or once it is the same twice."""
    last = ""
    for _ in range(100):
        state = await end_state(scene)
        if state == wanted or (not wanted and state == last):
            return state
        last = state
        await asyncio.sleep(0.1)
    return last


async def dies_after(admin: Admin, write: int, wanted: str, deaths: list[int]) -> str:
    """The operator dies after its write of this number, and another takes over. What differs at the end.

    A pass more or less is no fault, so the last numbers may never come up: `deaths` takes those that did.
    """
    scene = await Scene.make(admin, f"crash-{write}")
    playing = asyncio.create_task(script(scene))
    try:
        mortal = Mortal(admin.transport, write)
        async with alive(mortal, admin.transport, scene.namespace):
            dead = asyncio.create_task(mortal.died.wait())
            await asyncio.wait({dead, playing}, return_when=asyncio.FIRST_COMPLETED, timeout=40)
            dead.cancel()
        if mortal.died.is_set():
            deaths.append(write)
        async with alive(admin.transport, admin.transport, scene.namespace):
            await playing
            found = await settled(scene, wanted)
    finally:
        playing.cancel()
    gap = difference(wanted, found)
    last = mortal.writes[-1]
    return gap and f"after write {write}, {last.method} {last.path}:\n{gap}"


async def suffers(admin: Admin, request: int, fault: int, wanted: str) -> str:
    """One request fails. What differs at the end."""
    scene = await Scene.make(admin, f"fault-{request}-{fault}")
    faulty = Faulty(admin.transport, request, fault)
    async with alive(faulty, admin.transport, scene.namespace, timings=FAULT_TIMINGS):
        await script(scene)
        found = await settled(scene, wanted)
    gap = difference(wanted, found)
    return gap and f"request {request}, {faulty.spoiled}:\n{gap}"


async def side_by_side(runs: list[Callable[[], object]]) -> list[str]:
    """What went wrong in each run; a run that raised says how."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(run: Callable[[], object]) -> str:
        async with limit:
            try:
                return str(await run() or "")  # type: ignore[misc]
            except TimeoutError as error:
                return str(error)

    results = await asyncio.gather(*(one(run) for run in runs))
    return [result for result in results if result]
