"""Whole training runs of the codec's Debug preset under the real supervisor: correct ones, and broken twins.

Used by accept_health.py. A correct run is checked, starts its codebooks and goes on past their first revivals; it must
raise nothing. Twins run as those of VITS do (voice_runs.py).

    python benchmarks/codec_runs.py [--seeds 0 1 2 3 4] [--twins NAME …]      # alone, a line a run, nothing written
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "zoo"))

import record
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
    voice_runs.reach_hooks()
    data = voice_runs.speech(place, 1)
    return {
        "sound": list(voice_runs.say(sound(place, data, seed) for seed in seeds)),
        "twins": list(
            voice_runs.say(voice_runs.twin_run(place, data, twin, "codec") for twin in twins)
        ),
    }


def table(result: dict[str, Any]) -> list[Row]:
    """Correct runs raise nothing; each twin is named, in time."""
    sound = result["sound"]
    rows = [voice_runs.checked("codec", sound)] if sound else []
    for one in sound:
        said = "; ".join(f["rule"] for f in one["findings"]) or f"none, {one['seconds']:.0f} s"
        quiet = not one["findings"] and one["exitCodes"] == [0]
        who = f"codec, seed {one['seed']}: {one['steps']} steps: findings"
        rows.append(Row(who, said, "none", quiet))
    return rows + voice_runs.twin_table("codec", result["twins"])


def main() -> int:
    """Run what was asked for and show it."""
    parser = argparse.ArgumentParser(description="Whole runs of the codec and of its twins.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--twins", nargs="*", default=[twin.wrap.__name__ for twin in CODEC])
    chosen = parser.parse_args()
    record.be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        twins = [twin for twin in CODEC if twin.wrap.__name__ in chosen.twins]
        rows = table(measure(Path(folder), chosen.seeds, twins))
    record.show(rows)
    return 0 if all(row.holds is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
