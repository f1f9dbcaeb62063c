"""Whole training runs of the codec's Debug preset under the real supervisor: correct ones, and broken twins.

Used by accept_health.py. A correct run is checked, starts its codebooks and goes on past their first revivals; it must
raise nothing. Twins run as those of VITS do (voice_runs.py).

    python benchmarks/codec_runs.py [--seeds 0 1 2 3 4] [--twins NAME …]      # alone, a line a run, nothing written
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "zoo"))

import voice_runs
from record import Row
from twins.catalogue import CODEC, START, STEPS, Twin

PAST_START = START + 40  # steps of a correct run


def sound(place: Path, data: Path, seed: int) -> dict[str, Any]:
    """One correct run, evaluated on the way."""
    name = f"codec-{seed}"
    document = voice_runs.job(
        name, data, seed, kind="codec", held_out=True,
        training={"maxSteps": PAST_START, "evaluateEverySteps": STEPS * 2},
        checkpoint={"uri": name, "everySteps": 50},
    )  # fmt: skip
    return {"seed": seed, **voice_runs.watch(document, place)}


def measure(place: Path, seeds: Sequence[int], twins: Sequence[Twin] = CODEC) -> dict[str, Any]:
    """All of it; a line of progress a run."""
    return voice_runs.sound_and_twins(
        place, voice_runs.speech(place, 1), "codec", sound, seeds, twins
    )


def table(result: Mapping[str, Any]) -> list[Row]:
    """Correct runs raise nothing; each twin is named, in time."""
    return voice_runs.sound_and_twins_table("codec", result)


if __name__ == "__main__":
    sys.exit(voice_runs.alone("codec", CODEC, measure))
