"""Whether a codec that is killed comes to the same weights: `make accept-codec-kills`.

    python benchmarks/codec_kills.py [--kills 20] [--steps 100] [--seed 0]

Trains the codec's Debug preset with small batches twice through the command line's own controller: left alone, and
with `kill -9` at random moments of its course, from the first imports to the last steps. A kill takes the rank, or the
supervisor with it. Every tensor of the last checkpoint (weights, moments, codebooks, the vectors that started them) and
the exported file must be the same bit by bit. Writes results/codec-kills.json. About ten minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import record
import torch
from record import Row
from safetensors.torch import load_file

from speech_contract import names, paths
from speech_operator.cluster.local_state import JobFolder
from speech_operator.local_run import run_local
from speech_telemetry.processes import descendants
from speech_trainer.data.checks import digest
from speech_trainer.data.synthesize import SynthesisPlan, synthesize

EVERY = 5  # steps between two checkpoints
BATCH = 4  # a quarter of the preset's: the kills are what is measured, not the training
DISCRIMINATORS = 80  # they come in while kills still fall; codebooks start at 60
AT_START = 0.2  # share of kills that fall while an attempt imports, restores and checks
STARTING = 12.0  # seconds of that
LOOKS = 0.05  # seconds between two looks at the job


@dataclass(frozen=True)
class Kill:
    """Of the first attempt that is at `step`, `after` seconds later. `pod`: the supervisor too."""

    step: int
    after: float
    pod: bool


@dataclass
class Killed:
    """What was done to a run."""

    planned: list[Kill]
    steps: list[int] = field(default_factory=list)  # that were reported when it was killed

    async def strike(self, folder: JobFolder, ended: asyncio.Event) -> None:
        """One kill after another, each of another attempt, until the run ends."""
        attempts: set[int] = set()
        for kill in self.planned:
            due = False
            while not due:
                if await passed(ended, LOOKS):
                    return
                attempt, step = standing(folder)
                due = attempt not in attempts and step >= kill.step and bool(alive(folder))
            if await passed(ended, kill.after):
                return
            attempt, step = standing(folder)
            while not slay(folder, pod=kill.pod):
                if await passed(ended, LOOKS):
                    return
            attempts.add(attempt)
            self.steps.append(step)
            print(f"killed at step {step}, attempt {attempt}", flush=True)


async def passed(ended: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until the run has ended: whether it has."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    return ended.is_set()


def plan(count: int, steps: int, seed: int) -> list[Kill]:
    """Moments in the order of steps; some at once when their attempt has begun."""
    chance = random.Random(seed)
    moments = sorted(chance.randrange(1, steps) for _ in range(count))
    early = set(chance.sample(range(1, count), round(AT_START * count))) if count > 1 else set()
    return [
        Kill(
            0 if number in early else step,
            chance.uniform(0, STARTING if number in early else 1.0),
            pod=chance.random() < 0.5,
        )
        for number, step in enumerate(moments)
    ]


def standing(folder: JobFolder) -> tuple[int, int]:
    """Attempt and last reported step."""
    status = (folder.read_job() or {}).get("status", {})
    return status.get("attempt", 0), (status.get("progress") or {}).get("step") or 0


def alive(folder: JobFolder) -> list[int]:
    """The supervisor and what is below it, once there is something."""
    found = [pod.pid for pod in folder.pods() if pod.pid]
    return [pid for one in found for pid in (one, *descendants(one))] if found else []


def slay(folder: JobFolder, *, pod: bool) -> bool:
    """SIGKILL; whether there was somebody."""
    found = alive(folder)
    for pid in found if pod else found[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def job(name: str, steps: int) -> dict[str, Any]:
    """The same but for its name."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {
            "recipe": {"codec": {"preset": "Debug", "adversarialStartStep": DISCRIMINATORS}},
            "data": {
                "train": {"folder": "data/wavs"},
                "validation": {"manifest": "data/validation.jsonl"},
            },
            "training": {"maxSteps": steps, "seed": 7, "device": "CPU", "globalBatchSize": BATCH},
            "checkpoint": {"uri": name, "everySteps": EVERY},
            "health": {"preflight": {"mode": "Off"}},
            "runPolicy": {"restarts": {"max": 1000, "sameCause": 1000, "perWindow": {"max": 100}}},
        },
    }  # fmt: skip


async def train(place: Path, name: str, steps: int, killed: Killed) -> int:
    """One run to its end; its exit code."""
    folder, ended = JobFolder(place / "state", "default", name), asyncio.Event()
    striking = asyncio.create_task(killed.strike(folder, ended))
    code = await run_local(job(name, steps), place / "job.yaml", place / "state")
    ended.set()
    await striking
    return code


def differences(a: Path, b: Path, steps: int) -> tuple[int, list[str]]:
    """How many tensors two runs ended with, and the names of those that are not the same bit by bit."""
    one, other = (last(folder, steps) for folder in (a, b))
    same = [
        name
        for name in one.keys() & other.keys()
        if one[name].dtype == other[name].dtype and torch.equal(bits(one[name]), bits(other[name]))
    ]
    unequal = (one.keys() | other.keys()) - set(same)
    exports = [digest(folder / paths.EXPORT / "model.safetensors") for folder in (a, b)]
    return len(one), sorted(unequal) + ["export"] * (exports[0] != exports[1])


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """As bytes, so that NaN is NaN and -0 is not 0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def last(folder: Path, steps: int) -> dict[str, torch.Tensor]:
    """What the last checkpoint holds."""
    (found,) = (folder / paths.CHECKPOINTS).glob(f"step-{steps}.a*")
    return dict(load_file(found / "state.safetensors"))


def measure(place: Path, count: int, steps: int, seed: int) -> dict[str, Any]:
    """Both runs, and what differs."""
    synthesize(SynthesisPlan(languages=("te",), utterances=24, validation=2), place / "data")
    began = time.monotonic()
    codes = [asyncio.run(train(place, "quiet", steps, Killed([])))]
    alone = time.monotonic() - began
    killed = Killed(plan(count, steps, seed))
    codes.append(asyncio.run(train(place, "killed", steps, killed)))
    if any(codes):
        raise SystemExit(f"exit codes {codes}: a run did not end as it should")
    tensors, unequal = differences(place / "quiet", place / "killed", steps)
    return {
        "steps": steps,
        "seed": seed,
        "killedAtSteps": killed.steps,
        "pods": sum(kill.pod for kill in killed.planned[: len(killed.steps)]),
        "attempts": standing(JobFolder(place / "state", "default", "killed"))[0],
        "tensors": tensors,
        "unequal": unequal,
        "seconds": {"alone": round(alone), "killed": round(time.monotonic() - began - alone)},
    }


def rows(found: dict[str, Any], wanted: int) -> list[Row]:
    """The figures beside their bounds."""
    kills, unequal = len(found["killedAtSteps"]), found["unequal"]
    shown = f"{len(unequal)} of {found['tensors']}" + (
        f": {', '.join(unequal[:3])}" if unequal else ""
    )
    return [
        Row("codec: kill -9 at random moments", str(kills), f"≥ {wanted}", kills >= wanted),
        Row("tensors that differ from an undisturbed run", shown, "0", not unequal),
    ]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    record.be_quiet()
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.kills, options.steps, options.seed)
    table = rows(found, options.kills)
    record.show(table)
    return 0 if record.write("codec-kills", before, found, table) else 1


if __name__ == "__main__":
    sys.exit(main())
