"""The health rules on the zoo of curves with fresh seeds: misses, false alarms, delay, cost.

    python benchmarks/accept_health.py [--curves 1080] [--seed N]

`make accept-health` runs it and generates docs/zoo.md from the result. Exits with 1 when a fault was missed or a
healthy curve raised a warning. The seed is drawn anew each time and written down, so that a run can be repeated.
"""

from __future__ import annotations

import argparse
import collections
import secrets
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import record  # noqa: E402
from curves import FAULTS, HEALTHY, WITHIN, draw  # noqa: E402
from judging import Judged, judge  # noqa: E402
from record import Row  # noqa: E402

FEWEST = 500


def bound(failures: int, number: int) -> float:
    """Upper 95 % bound of a share (Clopper and Pearson, one-sided), by bisection."""
    low, high = failures / number, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(failures, number, middle) > 0.05:
            low = middle
        else:
            high = middle
    return high


def _at_most(failures: int, number: int, share: float) -> float:
    """P(X <= failures) of a binomial."""
    total = term = (1.0 - share) ** number
    for k in range(failures):
        term *= (number - k) / (k + 1) * share / max(1.0 - share, 1e-300)
        total += term
    return total


def row(kind: str, judged: list[Judged]) -> dict[str, Any]:
    """One kind of curve."""
    faulty = kind in FAULTS
    told = (FAULTS if faulty else HEALTHY)[kind].__doc__ or ""
    entry: dict[str, Any] = {"kind": kind, "what": told.splitlines()[0], "n": len(judged)}
    false = sum(bool(one.early) for one in judged)
    entry |= {"falseAlarms": false, "falseAlarmBound": round(bound(false, len(judged)), 4)}
    if faulty:
        missed = sum(one.missed for one in judged)
        entry |= {
            "rule": judged[0].curve.rule.value if judged[0].curve.rule else "",
            "missed": missed,
            "missBound": round(bound(missed, len(judged)), 4),
            "reports": spread([one.reports for one in judged if one.reports is not None]),
            "stepsWhenEachIsReported": spread(
                [s for one in judged if (s := one.steps) is not None and s == one.reports]
            ),
        }
    return entry


def spread(values: Sequence[int]) -> dict[str, float] | None:
    """Median and worst."""
    return {"median": statistics.median(values), "worst": max(values)} if values else None


def measure(number: int, seed: int) -> dict[str, Any]:
    """Judge `number` fresh curves."""
    kinds: dict[str, list[Judged]] = collections.defaultdict(list)
    for curve in draw(number, seed):
        kinds[curve.kind].append(judge(curve))
    everything = [one for judged in kinds.values() for one in judged]
    faults = [one for one in everything if one.curve.rule]
    missed, false = sum(one.missed for one in faults), sum(bool(one.early) for one in everything)
    costs = [one.seconds / len(one.curve.samples) * 1e6 for one in everything]
    return {
        "seed": seed,
        "curves": len(everything),
        "faults": len(faults),
        "missed": missed,
        "missBound": round(bound(missed, len(faults)), 4),
        "falseAlarms": false,
        "falseAlarmBound": round(bound(false, len(everything)), 4),
        "withinReports": WITHIN,
        "microsecondsPerSample": {
            "median": round(statistics.median(costs), 1),
            "worstCurve": round(max(costs), 1),
        },
        "rows": [row(kind, judged) for kind, judged in kinds.items()],
    }


def table(result: dict[str, Any]) -> list[Row]:
    """What had to hold."""
    delays = [row["reports"]["worst"] for row in result["rows"] if row.get("reports")]
    cost = result["microsecondsPerSample"]
    return [
        Row("curves", str(result["curves"]), f"≥ {FEWEST}", result["curves"] >= FEWEST),
        Row(
            "faults missed",
            f"{result['missed']} of {result['faults']} (95 % bound {result['missBound']:.2%})",
            "0",
            result["missed"] == 0,
        ),
        Row(
            "false alarms",
            f"{result['falseAlarms']} of {result['curves']} (95 % bound {result['falseAlarmBound']:.2%})",
            "0",
            result["falseAlarms"] == 0,
        ),
        Row("reports to the alarm, worst", str(max(delays)), f"≤ {WITHIN}", max(delays) <= WITHIN),
        Row(
            "CPU time a sample, median and worst curve",
            f"{cost['median']} and {cost['worstCurve']} µs",
            "≤ 200 µs",
            cost["worstCurve"] <= 200.0,
        ),
    ]


def main() -> int:
    """Measure, write, sum up."""
    parser = argparse.ArgumentParser(description="The health rules on fresh curves.")
    parser.add_argument("--curves", type=int, default=1080)
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    if chosen.curves < FEWEST:
        parser.error(f"--curves {chosen.curves} is below {FEWEST}: the bound would say little")
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    before = record.machine()
    result = measure(chosen.curves, seed)
    rows = table(result)
    record.show(rows)
    return 0 if record.write("health", before, result, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
