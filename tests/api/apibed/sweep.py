"""One scripted job from its first pod to its end, run while the operator dies or its requests fail.

The script is what kubelets and people do; it looks at the API server alone, so it does not care how many lives
the operator has. Start, gang restart and finish are one script: a number names a request anywhere in it.

Cases run side by side, each in a namespace of its own that is never emptied: a case waits for no other's reset.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from apibed.admin import Admin
from apibed.life import QUICK, alive
from apibed.scene import Scene
from apibed.states import difference, end_state
from apibed.transports import FAULTS, STREAM_FAULTS, WATCH, Faulty, Mortal, Recording

from speech_contract import names
from speech_contract.outcome import Outcome

AT_ONCE = 8
FAULT_TIMINGS = dataclasses.replace(QUICK, inactivity=1.5)
Run = Callable[[], Awaitable[str]]
Script = Callable[[Scene], Awaitable[None]]
TEAM = {"kind": names.RUNTIME_KIND, "name": "team"}
_RUNS = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What came of it. `struck`: what came to pass; a run may end before the request of its number."""

    cases: int
    struck: list[str]
    problems: list[str]


async def crash_sweep(admin: Admin, played: Script | None = None) -> Sweep:
    """The operator dies after each write of the script, and another takes over."""
    played = played or script
    wanted, recording = await healthy(admin, played)
    assert '"counted": 1' in wanted
    struck: list[str] = []
    writes = range(1, len(recording.writes) + 1)
    runs = [
        functools.partial(_dies_after, admin, played, write, wanted, struck) for write in writes
    ]
    return Sweep(len(runs), struck, await side_by_side(runs))


async def fault_sweep(admin: Admin, way: int | None = None) -> Sweep:
    """Each request of the script fails once, in this way; None: each in another one, in turn."""
    wanted, recording = await healthy(admin, script)
    struck: list[str] = []
    runs: list[Run] = []
    for at, request in enumerate(recording.requests, start=1):
        ways = len(STREAM_FAULTS if request.method == WATCH else FAULTS)
        fault = at % ways if way is None else way
        if fault < ways:
            runs.append(functools.partial(_suffers, admin, at, fault, wanted, struck))
    return Sweep(len(runs), struck, await side_by_side(runs))


async def script(scene: Scene) -> None:
    """Start; a worker dies; the gang comes back and finishes."""
    await start_and_finish(scene)


async def start_and_finish(
    scene: Scene, meanwhile: Callable[[], Awaitable[None]] | None = None, **spec: Any
) -> None:
    """The same for a job of such a spec; `meanwhile`: what happens before the worker dies."""
    await scene.create(**spec)
    await scene.gang(1)
    await scene.runs("asr-master-0")
    if meanwhile is not None:
        await meanwhile()
    await scene.ends("asr-worker-0", 139)
    for pod in await scene.gang(2):
        await scene.runs(pod["metadata"]["name"])
    done = Outcome(attempt=2, node_rank=0, phase="Done", exit_code=0, step=60, verdict="Healthy")
    await scene.ends("asr-worker-0", 0)  # first: what the master's end finds running is deleted
    await scene.ends("asr-master-0", 0, done)
    await scene.state("Complete")


async def changing_runtime(scene: Scene) -> None:
    """As `script`, by a runtime that has changed before the gang comes back."""
    path = await scene.create_runtime("team", said("old"))
    await start_and_finish(scene, functools.partial(_change, scene, path), runtimeRef=TEAM)
    kept = [found["data"]["accepted.json"] for found in await scene.list("configmaps")]
    assert kept
    assert all('"old"' in text and '"new"' not in text for text in kept), kept


async def _change(scene: Scene, path: str) -> None:
    await scene.admin.patch(path, {"spec": said("new")})


def said(word: str) -> dict[str, Any]:
    """A runtime's spec that every pod shows."""
    return {"trainer": {"env": [{"name": "RUNTIME", "value": word}]}}


async def healthy(admin: Admin, played: Script) -> tuple[str, Recording]:
    """The end state of a run that nothing disturbs, and its requests."""
    scene = await _scene(admin, "healthy")
    recording = Recording(admin.transport)
    async with alive(recording, admin.transport, scene.namespace):
        await played(scene)
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


async def _scene(admin: Admin, what: str) -> Scene:
    return await Scene.make(admin, f"sweep-{next(_RUNS)}-{what}")


async def _dies_after(
    admin: Admin, played: Script, write: int, wanted: str, struck: list[str]
) -> str:
    """What differs at the end. A pass more or less is no fault: the last numbers may never come up."""
    scene = await _scene(admin, f"crash-{write}")
    playing = asyncio.create_task(played(scene))
    try:
        mortal = Mortal(admin.transport, write)
        async with alive(mortal, admin.transport, scene.namespace):
            dead = asyncio.create_task(mortal.died.wait())
            await asyncio.wait({dead, playing}, return_when=asyncio.FIRST_COMPLETED, timeout=40)
            dead.cancel()
        last = mortal.writes[-1]
        case = f"after write {write}, {last.method} {last.path}"
        if mortal.died.is_set():
            struck.append(case)
        async with alive(admin.transport, admin.transport, scene.namespace):
            await playing
            found = await settled(scene, wanted)
    finally:
        playing.cancel()
    gap = difference(wanted, found)
    return gap and f"{case}:\n{gap}"


async def _suffers(admin: Admin, request: int, fault: int, wanted: str, struck: list[str]) -> str:
    """What differs at the end."""
    scene = await _scene(admin, f"fault-{request}-{fault}")
    faulty = Faulty(admin.transport, request, fault)
    async with alive(faulty, admin.transport, scene.namespace, timings=FAULT_TIMINGS):
        await script(scene)
        found = await settled(scene, wanted)
    case = f"request {request}, {faulty.spoiled}"
    if faulty.spoiled:
        struck.append(case)
    gap = difference(wanted, found)
    return gap and f"{case}:\n{gap}"


async def side_by_side(runs: Sequence[Run]) -> list[str]:
    """What went wrong in each run; a run that raised says how."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(run: Run) -> str:
        async with limit:
            try:
                return await run()
            except TimeoutError as error:
                return f"{run}: {error}"

    results = await asyncio.gather(*(one(run) for run in runs))
    return [result for result in results if result]
