"""One scripted job from its first pod to its end, run while the operator dies or its requests fail.

The script is what kubelets and people do; it looks at the API server alone, so it does not care how many lives
the operator has. Start, gang restart and finish are one script: a number names a request anywhere in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from apibed.life import QUICK, alive
from apibed.scene import Scene
from apibed.states import difference, end_state
from apibed.transports import Faulty, Mortal, Recording
from bed.cluster import Bed

from speech_contract.outcome import Outcome
from speech_operator.cluster.rest import Transport

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
    await scene.ends("asr-master-0", 0, done)
    await scene.ends("asr-worker-0", 0)
    await scene.state("Complete")


async def healthy(bed: Bed, admin: Transport, name: str) -> tuple[str, Recording]:
    """The end state of a run that nothing disturbs, and its requests."""
    scene = await asyncio.to_thread(Scene.make, bed, name)
    recording = Recording(admin)
    async with alive(recording, admin, scene.namespace):
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


async def dies_after(bed: Bed, admin: Transport, write: int, wanted: str) -> str:
    """The operator dies after its write of this number, and another takes over. What differs at the end."""
    scene = await asyncio.to_thread(Scene.make, bed, f"crash-{write}")
    playing = asyncio.create_task(script(scene))
    try:
        mortal = Mortal(admin, write)
        async with alive(mortal, admin, scene.namespace):
            dead = asyncio.create_task(mortal.died.wait())
            await asyncio.wait({dead, playing}, return_when=asyncio.FIRST_COMPLETED, timeout=40)
            dead.cancel()
        if not mortal.died.is_set():
            return f"write {write} was never made"
        async with alive(admin, admin, scene.namespace):
            await playing
            found = await settled(scene, wanted)
    finally:
        playing.cancel()
    last = mortal.writes[-1]
    gap = difference(wanted, found)
    return gap and f"after write {write}, {last.method} {last.path}:\n{gap}"


async def suffers(bed: Bed, admin: Transport, request: int, fault: int, wanted: str) -> str:
    """One request fails. What differs at the end."""
    scene = await asyncio.to_thread(Scene.make, bed, f"fault-{request}-{fault}")
    faulty = Faulty(admin, request, fault)
    async with alive(faulty, admin, scene.namespace, timings=FAULT_TIMINGS):
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
