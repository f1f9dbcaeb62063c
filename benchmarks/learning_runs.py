"""Whole training runs, several at once, each in a process and on cores of its own: what they scored, said and cost.

Used by accept_codec.py and accept_cloning.py. A run goes through the command line's own controller.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import queue
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import record

from speech_cli.rendering.evaluations import evaluations
from speech_contract import env, names, paths
from speech_contract.outcome import EXIT_INTERRUPTED
from speech_operator.cluster.local_state import JobFolder
from speech_operator.local_run import run_local
from speech_trainer.data.manifest import Utterance

HERE = Path(__file__).resolve().parent
REACHED = (HERE, HERE.parent / "tests" / "zoo")  # where wraps of recipes lie


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run. `spec`: of its manifest; data and checkpoint are filled in by `document`."""

    name: str
    seed: int
    spec: Mapping[str, Any]

    @property
    def job(self) -> str:
        """A job's name, which is also its folder's below the place of all runs."""
        return "-".join(re.findall(r"[a-z0-9]+", self.name.lower()))


def spec(
    place: Path, recipe: Mapping[str, Any], steps: int, seed: int, how: Mapping[str, Any]
) -> dict[str, Any]:
    """As people write it; rivals (`wrap`) are judged and let go on. `how` may add to recipe, data, training."""
    (kind, settings), wrap = next(iter(recipe.items())), how.get("wrap")
    return {
        "recipe": {kind: {"preset": "Debug", **settings, **how.get("recipe", {})}},
        "data": {
            "train": {"manifest": str(place / "data/train.jsonl")},
            "validation": {"manifest": str(place / "data/validation.jsonl")},
            **how.get("data", {}),
        },
        "training": {
            "maxSteps": steps, "seed": seed, "device": "CPU", **how.get("training", {}),
        },
        "checkpoint": {"everySteps": steps},
        "strategicLogging": {"enabled": False},
        **({"trainer": {"env": [{"name": env.WRAP_RECIPE, "value": wrap}]}} if wrap else {}),
        **({"health": {"mode": "Notify"}} if wrap else {}),
        **how.get("spec", {}),
    }  # fmt: skip


def at_once(
    place: Path, count: int, runs: Sequence[Planned], say: Callable[[dict[str, Any]], str]
) -> list[dict[str, Any]]:
    """What `train` found of each, so many at the same time, in the order of `runs`; a line of progress each."""
    ours = sorted(os.sched_getaffinity(0))
    count = min(count, len(ours))
    free: queue.Queue[list[int]] = queue.Queue()
    for number in range(count):
        free.put(ours[number::count])  # two runs that share cores wait for each other's threads

    def one(run: Planned) -> dict[str, Any]:
        found = _apart(place, run, free)
        print(
            f"{run.name}: {say(found)}, {found['seconds']} s, {found['cpuSeconds']} CPU s",
            flush=True,
        )
        return found

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, runs))


def _apart(place: Path, run: Planned, free: queue.Queue[list[int]]) -> dict[str, Any]:
    cores = free.get()
    try:
        asked = json.dumps(dataclasses.asdict(run))
        command = [sys.executable, __file__, str(place), asked, *map(str, cores)]
        reached = os.pathsep.join([*map(str, REACHED), os.environ.get("PYTHONPATH", "")])
        answer = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, text=True,
            env={**os.environ, "PYTHONPATH": reached},
        ).stdout  # fmt: skip
    finally:
        free.put(cores)
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return found


def train(place: Path, run: Planned) -> dict[str, Any]:
    """One run to its end; what was scored and said of it, and what it cost."""
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": run.job},
        "spec": {**run.spec, "checkpoint": {"uri": run.job, **run.spec["checkpoint"]}},
    }
    began, used = time.monotonic(), _cpu_seconds()
    code = asyncio.run(run_local(document, place / "job.yaml", place / "state"))
    if code == EXIT_INTERRUPTED:
        sys.exit(f"{run.name}: interrupted; nothing was written")
    status = (JobFolder(place / "state", "default", run.job).read_job() or {})["status"]
    preflight, health = status.get("preflight", {}), status.get("health", {})
    seconds, used = time.monotonic() - began, _cpu_seconds() - used
    return {
        "name": run.name,
        "seed": run.seed,
        "steps": status.get("progress", {}).get("step"),
        "exitCode": code,
        **_scored(place / run.job),
        "preflight": list(dict.fromkeys(str(row["check"]) for row in preflight.get("failed", []))),
        "findings": [f"{f['rule']}: {f['evidence']}" for f in health.get("findings", [])],
        "seconds": round(seconds, 1),
        "cpuSeconds": round(used, 1),
    }


def _scored(run_dir: Path) -> dict[str, Any]:
    """The last scores, the trivial answers, and all evaluations in order."""
    written, events = run_dir / paths.RESULT, run_dir / paths.EVENTS
    result = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}
    lines = events.read_text(encoding="utf-8").splitlines() if events.is_file() else []
    return {
        "scores": result.get("scores", {}),
        "baselines": result.get("baselines", {}),
        "course": [dataclasses.asdict(one) for one in evaluations(map(json.loads, lines))],
    }


def contents(utterances: Sequence[Utterance]) -> dict[str, Any]:
    """What is in a manifest."""
    return {
        "recordings": len(utterances),
        "seconds": round(sum(u.duration for u in utterances), 1),
        "languages": sorted({str(u.language) for u in utterances}),
        "speakers": sorted({str(u.speaker) for u in utterances}),
    }


def _cpu_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def quiet_rows(what: str, runs: Sequence[Mapping[str, Any]]) -> list[record.Row]:
    """A correct recipe passes its preflight, ends and raises nothing."""
    loud = [one for one in runs if one["findings"] or one["preflight"] or one["exitCode"]]
    said = "; ".join(f"{one['name']}: {one['findings'] or one['preflight']}" for one in loud)
    name = f"{what}, {len(runs)} correct runs: findings"
    return [record.Row(name, said or "none", "none", not loud)]


def main() -> int:
    """What `_apart` starts: the answer is the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path)
    parser.add_argument("run")
    parser.add_argument("cores", type=int, nargs="*")
    given = parser.parse_args()
    record.be_quiet()
    os.sched_setaffinity(0, given.cores)
    print(json.dumps(train(given.place, Planned(**json.loads(given.run)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
