"""Jobs of every fate, over and over, before one operator: `make accept-soak`. Needs no root.

    python benchmarks/accept_soak.py [--jobs 200] [--minutes 20]

The API server is real, nodes and kubelets are KWOK's; the operator is one process with the chart's rights and the
chart's pace. So many jobs of two pods live at once; where one has met its fate (soak_fates.py) the next one begins,
until the time is up and all are gone. What must hold: every job met its own fate and nothing of it is left; memory is
flat; tasks, threads, watches and open files are as before the first job; calls and rights of the chart are the same.

Flat: a line through the means of each minute of the second half. Its slope and the slope's standard error are
given, and the upper end of its 95 % interval, times the length of that half, may be no more than `GROWTH_MIB`.
Writes results/soak.json; a smaller run writes out/soak.json.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import itertools
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from record import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "api"))

import kwok_run
import operator_probe
from apibed.admin import Admin
from apibed.process import Process, granted, install_rights, rendered
from apibed.scene import Body, Scene
from bed.cluster import Bed
from kwok_run import Figures
from operator_load import HOME
from process_costs import memory, open_files
from soak_fates import FATES, Board, Life

GROWTH_MIB = 2.0
SAMPLE_SECONDS = 5.0
QUIET_SECONDS = 60.0  # idle connections and kopf's workers go within it
FILES_MARGIN = 4  # connections to the API server that happen to be kept alive
T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31)  # of Student's t, by degrees of freedom
PROBE = str(Path(operator_probe.__file__))
UNCALLED = {
    "update speechtrainingjobs/finalizers": "no call: some clusters ask for it before they take owner references",
    "list events": "asked for a pod whose kubelet is silent for a minute; KWOK's never is (tests/api/test_starting.py)",
    "get nodes": "asked for a pod's node that the watch does not know; here it knows all (tests/api/test_node_loss.py)",
}


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200, help="that live at once")
    parser.add_argument("--minutes", type=float, default=20.0)
    return kwok_run.main("soak", parser, soak, table)


@dataclasses.dataclass
class Met:
    """What came of the lives so far."""

    fates: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    problems: list[str] = dataclasses.field(default_factory=list)


async def soak(bed: Bed, folder: Path, options: argparse.Namespace) -> Figures:
    """The whole run."""
    documents = rendered(bed, HOME)
    account = install_rights(bed, HOME, documents, folder)
    admin, met = await Admin.login(bed.kubeconfig), Met()
    try:
        scene = await Scene.make(admin, "soak")
        async with Process(account, "soak", HOME, echo=False, program=(PROBE,)) as process:
            await process.said("leadership_gained")
            await asyncio.sleep(QUIET_SECONDS / 4)
            began = await held(bed, process)
            async with sampled(process.process.pid) as samples:
                await process.during(live(scene, options, met))
            left = await leftovers(scene)
            await asyncio.sleep(QUIET_SECONDS)
            ended = await held(bed, process)
            failed = collections.Counter(
                line["event"] for line in process.lines if line.get("level") in ("error", "warning")
            )
            faults = process.events("reconcile_failed")
            await one_more(scene)
            assert await process.stop() == 0
        async with Process(account, "next", HOME, echo=False) as process:
            await process.said("leadership_gained")
            await asyncio.sleep(QUIET_SECONDS / 4)
            assert await process.stop() == 0
    finally:
        await admin.close()
    return {
        "jobsAtOnce": options.jobs,
        "minutes": options.minutes,
        "lives": dict(sorted(met.fates.items())),
        "problems": met.problems + [str(fault) for fault in faults],
        "left": left,
        "before": began,
        "after": ended,
        "rssMiB": [[round(at, 1), mib] for at, mib in samples],
        "second half": slope(samples),
        "warnings": dict(failed),
        **rights(bed, documents),
    }


async def live(scene: Scene, options: argparse.Namespace, met: Met) -> None:
    """So many jobs at once, one fate after the other, until the time is up and the last one is gone."""
    board, until = Board(scene.admin, scene.jobs_path), time.monotonic() + 60.0 * options.minutes
    numbers, watching = itertools.count(), asyncio.create_task(board.follow())
    rest = (5.0, min(60.0, 10.0 * options.minutes))

    async def slot(number: int) -> None:
        chance = random.Random(number)
        await asyncio.sleep(chance.uniform(0.0, rest[1]))
        while time.monotonic() < until:
            turn = next(numbers)
            fate = FATES[turn % len(FATES)]
            name = f"{fate.__name__.replace('_', '-')}-{turn}"
            life = Life(scene, board, name, rest, chance)
            try:
                await fate(life)
                await life.clear()
                met.fates[fate.__name__] += 1
            except Exception as error:  # told in the table; the other jobs go on
                met.problems.append(f"{name}: {error!r}")
                with contextlib.suppress(Exception):
                    await life.clear()

    await asyncio.gather(*(slot(number) for number in range(options.jobs)))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def one_more(scene: Scene) -> None:
    """A job for the operator that takes over: it alone asks which run configs there are."""
    board = Board(scene.admin, scene.jobs_path)
    watching = asyncio.create_task(board.follow())
    life = Life(scene, board, "one-more", (0.0, 0.0), random.Random(0))
    await life.begin()
    await life.runs()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def leftovers(scene: Scene) -> dict[str, int]:
    """Objects of jobs that garbage collection does not take away within a while."""
    found: dict[str, int] = {}
    for _ in range(60):
        kinds = ("pods", "services", "configmaps")
        found = {kind: len(await scene.list(kind)) for kind in kinds}
        if not any(found.values()):
            break
        await asyncio.sleep(2.0)
    return found


@contextlib.asynccontextmanager
async def sampled(pid: int) -> AsyncIterator[list[tuple[float, float]]]:
    """Seconds and MiB of a process while the block runs."""
    samples: list[tuple[float, float]] = []
    since = time.monotonic()

    async def sample() -> None:
        while True:
            samples.append((time.monotonic() - since, memory(pid)["VmRSS"]))
            await asyncio.sleep(SAMPLE_SECONDS)

    task = asyncio.create_task(sample())
    try:
        yield samples
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def held(bed: Bed, process: Process) -> Figures:
    """What the operator holds now, by its own count, by the kernel's and by the API server's."""
    told, pid = len(process.events(operator_probe.EVENT)), process.process.pid
    os.kill(pid, signal.SIGUSR1)
    for _ in range(200):
        await asyncio.sleep(0.1)
        if len(process.events(operator_probe.EVENT)) > told:
            break
    counted = process.events(operator_probe.EVENT)[told]
    return {
        "tasks": counted["tasks"],
        "threads": len(counted["threads"]),
        "objects": counted["objects"],
        "files": open_files(pid),
        "watches": watches(bed),
        "rssMiB": memory(pid)["VmRSS"],
    }


def watches(bed: Bed) -> dict[str, int]:
    """Watches of the operator that the API server has begun and not ended, by resource."""
    open_ones: dict[str, str] = {}
    for event in bed.audit(f"system:serviceaccount:{HOME}:"):
        if event["verb"] != "watch":
            continue
        if event["stage"] == "ResponseStarted":
            open_ones[event["auditID"]] = event["objectRef"]["resource"]
        else:
            open_ones.pop(event["auditID"], None)
    return dict(sorted(collections.Counter(open_ones.values()).items()))


def rights(bed: Bed, documents: Sequence[Body]) -> Figures:
    """What the account called, beside what the rendered chart grants."""
    calls: collections.Counter[str] = collections.Counter()
    refused: set[str] = set()
    for event in bed.audit(f"system:serviceaccount:{HOME}:"):
        reference: dict[str, Any] = event.get("objectRef") or {}
        again = event["verb"] == "watch" and event["stage"] == "ResponseComplete"
        if "resource" not in reference or again:
            continue
        sub = reference.get("subresource")
        kind = f"{event['verb']} {reference['resource']}{f'/{sub}' if sub else ''}"
        calls[kind] += 1
        if event["annotations"]["authorization.k8s.io/decision"] != "allow":
            refused.add(kind)
    given = {f"{verb} {kind}" for verb, kind in granted(documents)}
    return {
        "calls": dict(calls.most_common()),
        "grantedAndNotCalled": sorted(given - calls.keys()),
        "calledAndNotGranted": sorted((calls.keys() - given) | refused),
    }


def slope(samples: Sequence[tuple[float, float]]) -> Figures:
    """Of the second half: MiB an hour with its standard error, and what it may have come to in that half."""
    half = [one for one in samples if one[0] >= samples[-1][0] / 2]
    length = max(half[-1][0] - half[0][0], 1.0)
    blocks = max(4, min(len(T_95) + 2, round(length / 60.0)))
    parts = [half[len(half) * n // blocks : len(half) * (n + 1) // blocks] for n in range(blocks)]
    at, mib = ([statistics.fmean(one[axis] for one in part) for part in parts] for axis in (0, 1))
    line = statistics.linear_regression(at, mib)
    rest = [y - line.slope * x - line.intercept for x, y in zip(at, mib, strict=True)]
    spread = sum((x - statistics.fmean(at)) ** 2 for x in at)
    error = (sum(one**2 for one in rest) / (blocks - 2) / spread) ** 0.5
    upper = line.slope + T_95[blocks - 3] * error
    return {
        "blocks": blocks,
        "meanMiB": round(statistics.fmean(mib), 2),
        "slopeMiBPerHour": round(3600.0 * line.slope, 2),
        "errorMiBPerHour": round(3600.0 * error, 2),
        "growthMiB": round(line.slope * length, 2),
        "growthAtMostMiB": round(upper * length, 2),
    }


def table(figures: Figures) -> list[Row]:
    """The figures beside what they must be."""
    before, after, flat = figures["before"], figures["after"], figures["second half"]
    lives, wrong = sum(figures["lives"].values()), len(figures["problems"])
    unused = sorted(set(figures["grantedAndNotCalled"]) - UNCALLED.keys())
    tasks = sum(after["tasks"].values()) - sum(before["tasks"].values())
    return [
        Row(f"lives of {len(FATES)} fates, {figures['jobsAtOnce']} at once, {figures['minutes']:g} minutes",
            f"{lives} as told, {wrong} otherwise", "0 otherwise", wrong == 0 and lives > 0),
        Row("objects left of them", f"{sum(figures['left'].values())}", "0", not any(figures["left"].values())),
        Row("memory in the second half", f"{flat['meanMiB']:.1f} MiB, {flat['slopeMiBPerHour']:+.1f} ± "
            f"{flat['errorMiBPerHour']:.1f} MiB an hour"),
        Row("… grown in that half, upper end of 95 %", f"{flat['growthAtMostMiB']:.2f} MiB",
            f"≤ {GROWTH_MIB:g} MiB", flat["growthAtMostMiB"] <= GROWTH_MIB),
        Row("tasks more than before the first job", f"{tasks}", "≤ 0", tasks <= 0),
        Row("threads, before and after", f"{before['threads']} and {after['threads']}",
            "no more", after["threads"] <= before["threads"]),
        Row("watches at the API server, before and after",
            f"{sum(before['watches'].values())} and {sum(after['watches'].values())}",
            "the same", after["watches"] == before["watches"]),
        Row("open files, before and after", f"{before['files']} and {after['files']}",
            f"at most {FILES_MARGIN} more", after["files"] <= before["files"] + FILES_MARGIN),
        Row("rights that nothing called for", ", ".join(unused) or "none", "none", not unused),
        Row("calls without a right", ", ".join(figures["calledAndNotGranted"]) or "none", "none",
            not figures["calledAndNotGranted"]),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
