"""Do the tests of the rules and policies find small faults in them? A random sample, drawn by a seed.

    python benchmarks/accept_mutants.py [--sample 120] [--seed 0] [--minutes 30]
    python benchmarks/accept_mutants.py --of trainer_image/speech_health/spike.py

Every mutant meets the tests that call its function: those that are named as its module is, then all others, the
quickest first. With `--of` every fault of one module meets the tests of its name alone, and nothing is written:
that takes a minute, and says what these tests do not look at. Survivors that change no behaviour are listed with
their reason in `mutants.json`; all others are faults of the tests.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import sys
import time
from pathlib import Path

import record
from mutants import OPTIONS, Mutant, killed, mutants_of, warm
from reached import ELSEWHERE, Reached, function_of, reached

ROOT = Path(__file__).parents[1]
REVIEWED = Path(__file__).with_name("mutants.json")
SHARE = 0.95
SLOWEST = 60.0  # seconds of one file of tests that hangs
HEALTH, POLICIES = "trainer_image/speech_health", "operator/speech_operator/policies"
# Tests that start processes, or train, are left out: what they see of a rule, quicker ones see.
SLOW = {"test_local_jobs.py", "test_cluster_life.py"}
DECISIONS = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("tests/operator/test_*.py")
    if path.name not in SLOW
)
ROOM = [
    "tests/health",
    "tests/zoo/test_curves.py",
    "tests/zoo/test_silences.py",
    "tests/zoo/test_public_runs.py",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/cli/test_replay*.py")),
    "tests/telemetry/test_captured.py",
    "tests/telemetry/test_faults_as_printed.py",
]


def every() -> list[Mutant]:
    """All that can be planted."""
    return [
        mutant
        for folder, package in ((HEALTH, "speech_health"), (POLICIES, "speech_operator.policies"))
        for path in sorted((ROOT / folder).glob("*.py"))
        if path.name != "__init__.py"
        for mutant in mutants_of(path, f"{package}.{path.stem}", str(path.relative_to(ROOT)))
    ]


def drawn(sample: int, seed: int) -> list[Mutant]:
    """The sample, in the order in which it was drawn."""
    everything = every()
    return random.Random(seed).sample(everything, min(sample, len(everything)))


def own(path: str) -> str:
    """The file of tests that mirrors a module, be there one or not."""
    return f"tests/{'health' if path.startswith(HEALTH) else 'operator'}/test_{Path(path).stem}.py"


def survives(mutant: Mutant, seen: Reached) -> bool:
    """Whether all tests that can see it pass."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    begins = function_of(ast.parse(source), mutant.number)
    tests = seen.of((mutant.path, begins))
    if begins == ELSEWHERE or not tests:  # what an import runs may be seen by any test of the room
        tests = list(dict.fromkeys([*tests, *seen.quickest]))
    first = [test for test in tests if test.startswith(f"{own(mutant.path)}::")]
    rest = [test for test in tests if test not in set(first)]
    return not any(killed(mutant, some, seen.limit(some)) for some in (first, rest) if some)


def reviewed() -> set[tuple[str, ...]]:
    """Faults that change no behaviour, each with its reason in the file."""
    rows = json.loads(REVIEWED.read_text("utf-8"))
    return {tuple(row[k] for k in ("path", "line", "change")) for row in rows}


def unseen(path: str, tests: str) -> int:
    """Print what these tests of a module do not see; 1 if there is any."""
    known = reviewed()
    if not (ROOT / tests).exists():
        sys.exit(f"{tests}: is not there")
    if killed(None, [tests], SLOWEST):
        sys.exit(f"{tests}: fails without any mutant")
    mutants = [mutant for mutant in every() if mutant.path == path and mutant.key not in known]
    survivors = [mutant for mutant in mutants if not killed(mutant, [tests], SLOWEST)]
    for mutant in survivors:
        _show(mutant)
    print(f"{tests}: sees {len(mutants) - len(survivors)} of {len(mutants)}")
    return int(bool(survivors))


def _show(mutant: Mutant) -> None:
    where = f"{mutant.path}:{mutant.number}"
    print(f"survived: {where}: {mutant.change} in {mutant.line}", flush=True)


def main() -> int:
    """Draw, plant, count; 1 when too many survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="draw no more after these")
    parser.add_argument(
        "--of", metavar="PATH", help="every fault of this module, and its own tests alone"
    )
    parser.add_argument("--by", metavar="TESTS", help="with --of: this file of tests instead")
    asked = parser.parse_args()
    before, began, known = record.machine(), time.monotonic(), reviewed()
    os.chdir(ROOT)
    warm()
    if asked.of:
        return unseen(asked.of, asked.by or own(asked.of))
    sample = drawn(asked.sample, asked.seed)
    seen = {
        HEALTH: reached(ROOM, ROOT, HEALTH, OPTIONS),
        POLICIES: reached(DECISIONS, ROOT, POLICIES, OPTIONS),
    }
    equivalent, rest, survivors = [], [], []
    for mutant in sample:
        if time.monotonic() - began > asked.minutes * 60.0:
            break
        (equivalent if mutant.key in known else rest).append(mutant)
        if mutant in equivalent:
            continue
        if survives(mutant, seen[HEALTH if mutant.path.startswith(HEALTH) else POLICIES]):
            survivors.append(mutant)
            _show(mutant)
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
