"""Our training step of the codec beside that of descript-audio-codec, in one run: samples a second, memory, stages.

    python benchmarks/accept_codec_speed.py [--batch 1] [--frames 30] [--steps 2] [--turns 2] [--threads 1]

`make accept-codec-speed` runs it. Both builds have the sizes, the losses and the discriminators of the published 24 kHz
DAC, the same batch, crop, precision (float32) and thread count, and take turns, each turn a process of its own. The
package gets an environment of its own with today's torch in .cache/codec-speed. Writes results/codec-speed.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import environments
import record
import torch
from record import Row
from step_turns import Turns, peak, turn

HERE = Path(__file__).resolve().parent
HOME = HERE.parent / ".cache" / "codec-speed"
HOP, RATE = 320, 24000  # of Speech24k
TORCH = torch.__version__.partition("+")[0]
PACKAGES = ("descript-audio-codec==1.0.0", f"torch=={TORCH}", f"torchaudio=={TORCH}")
OURS, THEIRS = "step_ours", "step_dac"
FASTER, LEANER = 1.5, 0.75


def step_seconds(turns: Sequence[Mapping[str, Any]]) -> float:
    """CPU seconds of a step, the median of all."""
    return statistics.median(second for one in turns for second in one["seconds"])


def stages(turns: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """CPU seconds of each stage in a step, means over the turns, in the order in which they ran."""
    names = dict.fromkeys(name for one in turns for name in one["stages"])
    return {name: statistics.fmean(one["stages"][name] for one in turns) for name in names}


def rows(turns: Turns, batch: int) -> list[Row]:
    """Promises first, then where the time goes in both."""
    ours, theirs = (step_seconds(turns[build]) for build in (OURS, THEIRS))
    lean, fat = (peak(turns[build]) for build in (OURS, THEIRS))
    found = [
        Row("samples per CPU second, over DAC's",
            f"{theirs / ours:.2f} × ({batch / ours:.3f}, DAC {batch / theirs:.3f})",
            f"≥ {FASTER}", theirs / ours >= FASTER),
        Row("peak memory, over DAC's", f"{lean / fat:.2f} × ({lean:.2f} GiB, DAC {fat:.2f} GiB)",
            f"≤ {LEANER}", lean / fat <= LEANER),
    ]  # fmt: skip
    mine, other = stages(turns[OURS]), stages(turns[THEIRS])
    for name in dict.fromkeys([*mine, *other]):
        both = (f"{side[name]:.2f} s" if name in side else "none" for side in (mine, other))
        found.append(Row(f"stage: {name}", ", DAC ".join(both)))
    return found


def main() -> int:
    """Install, take turns, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=30, help=f"of {HOP} samples, in a crop")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    before = record.machine()
    pythons = {OURS: Path(sys.executable), THEIRS: environments.install(HOME, PACKAGES)}
    turns: Turns = {build: [] for build in pythons}
    with tempfile.TemporaryDirectory() as name:
        noise = torch.randn(asked.batch, 1, asked.frames * HOP)
        torch.save(noise * 10 ** (-16 / 20), Path(name) / "batch")  # as loud as DAC's recipe has it
        for _ in range(asked.turns):
            for build, python in pythons.items():
                one = turn(build, python, Path(name) / "batch", asked.steps, asked.threads)
                turns[build].append(one)
                print(build, [round(second, 2) for second in one["seconds"]], flush=True)
    lines = rows(turns, asked.batch)
    record.show(lines)
    sizes = {"batch": asked.batch, "samples": asked.frames * HOP, "rate": RATE, "precision": "FP32"}
    figures = {"sizes": sizes, "packages": PACKAGES, "turns": turns}
    return 0 if record.write("codec-speed", before, figures, lines) else 1


if __name__ == "__main__":
    sys.exit(main())
