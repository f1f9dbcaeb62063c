"""Do the tests of the rules and policies find small faults in them? A random sample, drawn by a seed.

    python benchmarks/accept_mutants.py [--sample 120] [--seed 0] [--minutes 30]

Every mutant first meets the tests of its module's name, then those of the room. Survivors that change no behaviour
are listed with their reason in `mutants.json`; all others are faults of the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

import pydantic  # noqa: F401  # warm: children are forked from here
import record
from mutants import Mutant, killed, mutants_of

ROOT = Path(__file__).parents[1]
REVIEWED = Path(__file__).with_name("mutants.json")
SHARE = 0.95
HEALTH, POLICIES = "trainer_image/speech_health", "operator/speech_operator/policies"
DECISIONS = [
    f"tests/operator/test_{name}.py" for name in ("policies", "failure_and_restart", "exclusion")
]
# Tests that reach a module first, where they are not called after it.
FIRST = {
    "baseline": ["baseline", "spike"],
    "budget": ["budget", "non_finite"],
    "detector": ["monitor"],
    "pace": ["stalled", "telemetry"],
    "rate_distortion": ["goal_unreachable"],
    "recorded": ["replay"],
}
ROOM = ["tests/health"]
SECONDS = 240.0  # for one set of tests: a mutant may loop


def drawn(sample: int, seed: int) -> list[Mutant]:
    """The sample, in the order in which it was drawn."""
    everything = []
    for folder, package in ((HEALTH, "speech_health"), (POLICIES, "speech_operator.policies")):
        for path in sorted((ROOT / folder).glob("*.py")):
            if path.name != "__init__.py":
                name = str(path.relative_to(ROOT))
                everything += mutants_of(path, f"{package}.{path.stem}", name)
    return random.Random(seed).sample(everything, min(sample, len(everything)))


def tests_of(mutant: Mutant) -> list[list[str]]:
    """Sets of tests, the nearest first."""
    if not mutant.path.startswith(HEALTH):
        return [DECISIONS]
    stem = Path(mutant.path).stem
    near = [f"tests/health/test_{name}.py" for name in FIRST.get(stem, [stem])]
    return [[name for name in near if (ROOT / name).is_file()], ROOM]


def main() -> int:
    """Draw, plant, count; 1 when too many survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="draw no more after these")
    asked = parser.parse_args()
    before, began = record.machine(), time.monotonic()
    reviewed = {
        tuple(row[k] for k in ("path", "line", "change"))
        for row in json.loads(REVIEWED.read_text("utf-8"))
    }
    sample = drawn(asked.sample, asked.seed)
    os.chdir(ROOT)
    for tests in (DECISIONS, ROOM):
        if killed(None, tests, SECONDS):
            sys.exit(f"{' '.join(tests)}: fails without any mutant")
    equivalent, rest, survivors = [], [], []
    for mutant in sample:
        if time.monotonic() - began > asked.minutes * 60.0:
            break
        (equivalent if mutant.key in reviewed else rest).append(mutant)
        if mutant in equivalent:
            continue
        if not any(tests and killed(mutant, tests, SECONDS) for tests in tests_of(mutant)):
            survivors.append(mutant)
            print(
                f"survived: {mutant.path}:{mutant.number}: {mutant.change} in {mutant.line}",
                flush=True,
            )
    tried = len(equivalent) + len(rest)
    share = 1.0 - len(survivors) / max(1, len(rest))
    rows = [
        record.Row("mutants drawn", f"{tried}, {len(equivalent)} equivalent", "≥ 100", tried >= 100),
        record.Row("mutants killed", f"{len(rest) - len(survivors)} of {len(rest)} ({share:.1%})", f"≥ {SHARE:.0%}",
                   share >= SHARE),
    ]  # fmt: skip
    figures = {
        "seed": asked.seed,
        "sample": tried,
        "equivalent": [[f"{m.path}:{m.number}", m.change, m.line] for m in equivalent],
        "killed": len(rest) - len(survivors),
        "share": round(share, 4),
        "seconds": round(time.monotonic() - began, 1),
        "survivors": [[f"{m.path}:{m.number}", m.change, m.line] for m in survivors],
    }
    record.show(rows)
    return 0 if record.write("mutants", before, figures, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
