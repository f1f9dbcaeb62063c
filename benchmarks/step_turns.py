"""Turns of builds whose training step is measured, each a process of its own. Used by accept_*_speed.py."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Turns = dict[str, list[dict[str, Any]]]


def turn(build: str, python: Path, data: Path, steps: int, threads: int) -> dict[str, Any]:
    """One process of one build, `step_watch.py` on what torch has saved in `data`."""
    out = data.with_suffix(f".{build}.json")
    command = [str(python), str(HERE / "step_watch.py"), build, str(data), str(out)]
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "--steps", str(steps)], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{build}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def peak(turns: Sequence[Mapping[str, Any]]) -> float:
    """GiB above the imports, the median of the turns."""
    return statistics.median(one["peakBytes"] for one in turns) / 2**30
