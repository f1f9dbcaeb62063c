"""A thousand jobs with ten thousand pods before one operator: `make accept-scale`. Needs no root.

    python benchmarks/accept_scale.py [--jobs 1000] [--pods 10]

The API server is real, nodes and kubelets are KWOK's; the operator is a process of its own with the chart's rights and
the chart's pace. Measured, in this order: memory with no job; filling up; memory, CPU and requests while nothing
happens; a restart of the operator with all jobs there (reconciled: each job was passed over once); a storm: one pod of
every job crashes at once, every gang restarts, then a part of the jobs completes, a part fails and the rest goes on
(as Restarting: a job is Running once its supervisor has spoken, and there is none).
Writes results/scale.json; a smaller run writes out/scale.json.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import re
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from record import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "api"))

import kwok_run
from apibed.admin import Admin
from apibed.process import Process, called, install_rights, rendered
from apibed.scene import Body, Scene
from bed.cluster import Bed, log_to_stderr
from kwok_run import Figures
from operator_load import HOME, idle_share, job
from process_costs import cpu_seconds, memory
from soak_fates import Board, ends, whole

from speech_contract import names
from speech_contract.exit_codes import EXIT_DO_NOT_CONTINUE, EXIT_SIGSEGV
from speech_contract.reasons import State
from speech_operator.cluster.known_jobs import TRUST_SECONDS

RSS_MIB, COLD_SECONDS = 200.0, 30.0
AT_ONCE = 24
QUIET_SECONDS = 120.0  # by then every job has been told that its fake supervisor does not answer
PATIENCE_SECONDS = 3600.0
TURNS, TURN_SECONDS = 60, 15.0
ENDS = (State.COMPLETE, State.FAILED, State.RESTARTING, State.RESTARTING)  # by the job's number


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=10, help="of each job")
    return kwok_run.main("scale", parser, scale, table)


async def scale(bed: Bed, folder: Path, options: argparse.Namespace) -> Figures:
    """The whole run."""
    account = install_rights(bed, HOME, rendered(bed, HOME), folder)
    admin = await Admin.login(bed.kubeconfig)
    scene = await Scene.make(admin, "scale")
    board = Board(admin, scene.jobs_path)
    watching = asyncio.create_task(board.follow())
    field = Field(bed, scene, board, options)
    try:
        figures: Figures = {"jobs": options.jobs, "pods": options.jobs * options.pods}
        async with operator(account) as process:
            figures["filling"] = await process.during(field.filled(process))
            figures["idle"] = await process.during(field.idle(process))
        log_to_stderr(f"{figures}")
        asked, began = collections.Counter(called(bed, HOME)), time.monotonic()
        async with operator(account) as process:
            figures["cold"] = await process.during(field.cold(process, began, asked))
            log_to_stderr(f"cold: {figures['cold']}")
            figures["storm"] = await process.during(field.storm(process))
        return figures
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await admin.close()


@contextlib.asynccontextmanager
async def operator(account: Path) -> Any:
    """As the chart starts it, stopped at the end; no pass may have failed for a fault of its own."""
    async with Process(account, "scale", HOME, echo=False) as process:
        await process.said("leadership_gained")
        yield process
        assert await process.stop() == 0
        assert not process.events("reconcile_failed"), process.events("reconcile_failed")[0]


class Field:
    """All jobs of the run, as one watch tells of them."""

    def __init__(self, bed: Bed, scene: Scene, board: Board, options: argparse.Namespace) -> None:
        self._bed = bed
        self._scene = scene
        self._board = board
        self._jobs = [f"job-{number}" for number in range(options.jobs)]
        self._pods = options.pods

    async def filled(self, process: Process) -> Figures:
        """Post all jobs, and wait until every gang is there."""
        pid, began = process.process.pid, time.monotonic()
        await asyncio.sleep(5.0)
        empty = memory(pid)["VmRSS"]
        path = self._scene.jobs_path
        await at_once(
            [lambda n=n: self._scene.admin.post(path, job(n, self._pods)) for n in self._jobs]
        )
        await self._all("attempt 1 is whole", lambda _, job: whole(job, 1))
        took = time.monotonic() - began
        await self._all("all pods run", lambda _, job: _ready(job) == self._pods)
        return {
            "seconds": round(took, 1),
            "cpuSeconds": round(cpu_seconds(pid), 1),
            "emptyMiB": empty,
            "rssMiB": memory(pid),
        }

    async def idle(self, process: Process) -> Figures:
        """Memory, CPU and requests while nothing happens, until all jobs have been read again once."""
        pid = process.process.pid
        await asyncio.sleep(QUIET_SECONDS)
        before, since = collections.Counter(called(self._bed, HOME)), time.monotonic()
        share = await idle_share(pid, TRUST_SECONDS)
        asked = collections.Counter(called(self._bed, HOME)) - before
        seconds = time.monotonic() - since
        return {
            "cpuPercent": share,
            "requestsPerSecond": round(asked.total() / seconds, 2),
            "requests": {" ".join(kind): n for kind, n in asked.most_common()},
            "rssMiB": memory(pid),
        }

    async def cold(
        self, process: Process, began: float, before: collections.Counter[tuple[str, str]]
    ) -> Figures:
        """From the process's start until each job was passed over once, by its own count of passes."""
        pid = process.process.pid
        while True:
            if await passes(process) >= len(self._jobs):
                break
            await asyncio.sleep(1.0)  # the process pays for each look
        took = time.monotonic() - began
        asked = collections.Counter(called(self._bed, HOME)) - before
        await asyncio.sleep(20.0)
        return {
            "seconds": round(took, 1),
            "cpuSeconds": round(cpu_seconds(pid), 1),
            "requests": {" ".join(kind): n for kind, n in asked.most_common()},
            "rssMiB": memory(pid),
        }

    async def storm(self, process: Process) -> Figures:
        """Every gang restarts at once; then each job meets its own end."""
        pid, began = process.process.pid, time.monotonic()
        await at_once([lambda n=n: self._ends(n, 1, EXIT_SIGSEGV) for n in self._jobs])
        await self._all("attempt 2 is whole", lambda _, job: whole(job, 2))
        took = time.monotonic() - began
        at_restart = memory(pid)
        await self._end()
        counted = collections.Counter(
            (one["status"]["state"], one["status"]["restarts"]["counted"])
            for one in self._board.jobs.values()
        )
        return {
            "restartedSeconds": round(took, 1),
            "seconds": round(time.monotonic() - began, 1),
            "rssMiB": at_restart,
            "peakMiB": memory(pid)["VmHWM"],
            "fates": {f"{state}, {n} restart": count for (state, n), count in counted.items()},
            "wrong": sum(n for (_, restarts), n in counted.items() if restarts != 1),
            "pods": await self._pods_left(),
        }

    async def _end(self) -> None:
        """Those that are to, as they are to; again, where a pod was taken away before it was heard."""
        codes = {State.COMPLETE: 0, State.FAILED: EXIT_DO_NOT_CONTINUE}
        told = {name: ENDS[number % len(ENDS)] for number, name in enumerate(self._jobs)}
        for _ in range(TURNS):
            left = [n for n, end in told.items() if _state(self._board.jobs.get(n)) != end]
            if not left:
                return
            running = [n for n in left if told[n] in codes and whole(self._board.jobs.get(n), 2)]
            await at_once([lambda n=n: self._ends(n, 0, codes[told[n]]) for n in running])
            await asyncio.sleep(TURN_SECONDS)
        raise TimeoutError(f"{len(left)} jobs did not end as told, one is {left[0]}")

    async def _ends(self, name: str, rank: int, code: int) -> None:
        await ends(self._scene, names.pod_name(name, rank), code)

    async def _all(self, what: str, holds: Callable[[int, Body | None], bool]) -> None:
        """Wait until it holds of every job."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_SECONDS:
            jobs = ((number, self._board.jobs.get(n)) for number, n in enumerate(self._jobs))
            wrong = [job for number, job in jobs if not holds(number, job)]
            if not wrong:
                return
            await asyncio.sleep(1.0)
        raise TimeoutError(f"waited for {what} of {len(wrong)} jobs; one is {wrong[0]}")

    async def _pods_left(self) -> Figures:
        """Pods by attempt; of the first one there must be none."""
        found: collections.Counter[str] = collections.Counter()
        async for pod in pages(self._scene.admin, self._scene.namespace):
            found[pod["metadata"]["labels"][names.LABEL_ATTEMPT]] += 1
        return dict(found)


async def pages(admin: Admin, namespace: str) -> Any:
    """All pods of jobs."""
    path = f"/api/v1/namespaces/{namespace}/pods?limit=500&labelSelector={names.LABEL_JOB_NAME}"
    more = ""
    while True:
        page = await admin.get(path + more)
        for pod in page["items"]:
            yield pod
        if not page["metadata"].get("continue"):
            return
        more = f"&continue={page['metadata']['continue']}"


def _ready(document: Body | None) -> int:
    status = (document or {}).get("status") or {}
    return int((status.get("replicas") or {}).get("ready") or 0)


def _state(document: Body | None) -> str:
    return str(((document or {}).get("status") or {}).get("state", ""))


async def at_once(calls: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
    """All of them, some at once."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async with limit:
            await call()

    await asyncio.gather(*map(one, calls))


async def passes(process: Process) -> int:
    """Passes that ended well, of the process's own metrics."""
    _, text = await process.fetch("metrics_port", "/metrics")
    found = re.search(r'speech_operator_reconcile_total\{result="done"\} (\S+)', text)
    return int(float(found[1])) if found else 0


def table(figures: Figures) -> list[Row]:
    """The figures beside what they must be."""
    filling, idle, cold, storm = (figures[part] for part in ("filling", "idle", "cold", "storm"))
    peak = max(storm["peakMiB"], filling["rssMiB"]["VmHWM"], idle["rssMiB"]["VmHWM"])
    size = f"{figures['jobs']:,} jobs and {figures['pods']:,} pods"
    lists = sum(n for kind, n in cold["requests"].items() if kind.startswith("list "))
    return [
        Row("memory with no job", f"{filling['emptyMiB']:g} MiB"),
        Row(f"memory, {size}", f"{idle['rssMiB']['VmRSS']:g} MiB, {cold['rssMiB']['VmRSS']:g} after a restart"),
        Row("… its peak, the storm included", f"{peak:g} MiB", f"≤ {RSS_MIB:g} MiB", peak <= RSS_MIB),
        Row("CPU then, nothing happening", f"{idle['cpuPercent']:g} % of a core"),
        Row("requests a second then", f"{idle['requestsPerSecond']:g}"),
        Row("from a start with all jobs there until all were reconciled", f"{cold['seconds']:g} s",
            f"≤ {COLD_SECONDS:g} s", cold["seconds"] <= COLD_SECONDS),
        Row("… lists asked for", f"{lists}"),
        Row("every gang restarts at once", f"{storm['restartedSeconds']:g} s until all are whole again"),
        Row("… jobs that ended otherwise than told", f"{storm['wrong']}", "0", storm["wrong"] == 0),
        Row("… pods of the first attempt left", f"{storm['pods'].get('1', 0)}", "0", "1" not in storm["pods"]),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
