"""The health rules on fresh curves and silences, and on whole runs of VITS: misses, false alarms, delay, cost.

    python benchmarks/accept_health.py [--curves 2190] [--silences 500] [--seed N]
                                       [--voice-seeds 0 1 2 3 4 | --no-voices]

`make accept-health` runs it and generates docs/zoo.md from the result. Exits with 1 when a fault was missed or
anything healthy raised a warning. The seed is drawn anew each time and written down, so that a run can be repeated.
The runs (correct ones that are disturbed, broken twins) take about half an hour on two cores; a line each.
"""

from __future__ import annotations

import argparse
import collections
import secrets
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import record  # noqa: E402
from curves import FAULTS, HEALTHY, WITHIN, draw  # noqa: E402
from judging import Heard, Judged, judge, listen  # noqa: E402
from record import Row  # noqa: E402
from silences import LATE, PATIENCE, STOPS, unfold  # noqa: E402
from trivial import TIMERS, TRIVIAL, false, missed, timer_cries, timer_misses  # noqa: E402

from speech_contract.outcome import EXIT_PREFLIGHT  # noqa: E402

FEWEST, PREFLIGHT_SECONDS = 500, 60


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
    faulty, within = kind in FAULTS, max(one.curve.within for one in judged)
    told = (FAULTS if faulty else HEALTHY)[kind].__doc__ or ""
    entry: dict[str, Any] = {"kind": kind, "what": told.splitlines()[0], "n": len(judged)}
    cried = sum(bool(one.early) for one in judged)
    entry |= {"falseAlarms": cried, "falseAlarmBound": round(bound(cried, len(judged)), 4)}
    if faulty:
        lost = sum(one.missed for one in judged)
        entry |= {
            "rule": judged[0].curve.rule.value if judged[0].curve.rule else "",
            "missed": lost,
            "missBound": round(bound(lost, len(judged)), 4),
            "within": within,
            "action": action(judged),
            "reports": spread([one.reports for one in judged if one.reports is not None]),
            "stepsWhenEachIsReported": spread(
                [s for one in judged if (s := one.steps) is not None and s == one.reports]
            ),
        }
    return entry


def action(judged: Sequence[Judged]) -> str:
    """What its rule does about it in a stranger's script, under default thresholds."""
    rule = judged[0].curve.rule
    done = {f.action.value for one in judged for f in one.findings if f.rule is rule}
    return ", ".join(sorted(done - {"None"}))


def trivial(name: str, judged: Sequence[Judged]) -> dict[str, Any]:
    """What an alarm without any rule makes of the same curves."""
    alarms = [(one.curve, TRIVIAL[name](one.curve)) for one in judged]
    return {
        "name": name,
        "what": TRIVIAL[name].__doc__,
        "missed": sum(missed(curve, at) for curve, at in alarms),
        "falseAlarms": sum(false(curve, at) for curve, at in alarms),
    }


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
    lost, cried = sum(one.missed for one in faults), sum(bool(one.early) for one in everything)
    costs = [one.seconds / len(one.curve.samples) * 1e6 for one in everything]
    return {
        "seed": seed,
        "curves": len(everything),
        "faults": len(faults),
        "missed": lost,
        "missBound": round(bound(lost, len(faults)), 4),
        "falseAlarms": cried,
        "falseAlarmBound": round(bound(cried, len(everything)), 4),
        "trivial": [trivial(name, everything) for name in TRIVIAL],
        "withinReports": WITHIN,
        "microsecondsPerSample": {
            "median": round(statistics.median(costs), 1),
            "worstCurve": round(max(costs), 1),
        },
        "rows": [row(kind, judged) for kind, judged in kinds.items()],
    }


def measure_silences(number: int, seed: int) -> dict[str, Any]:
    """Listen to `number` fresh attempts in which a rank stops, or only takes its time."""
    kinds = [*STOPS, *PATIENCE]
    heard: dict[str, list[Heard]] = {kind: [] for kind in kinds}
    for index in range(number):
        kind = kinds[index % len(kinds)]
        heard[kind].append(listen(kind, unfold(kind, seed * 1_000_003 + index)))
    every = [one for those in heard.values() for one in those]
    stops = [one for one in every if one.attempt.stopped is not None]
    lost, cried = sum(one.missed for one in stops), sum(bool(one.early) for one in every)
    return {
        "attempts": len(every),
        "stops": len(stops),
        "missed": lost,
        "missBound": round(bound(lost, len(stops)), 4),
        "falseAlarms": cried,
        "falseAlarmBound": round(bound(cried, len(every)), 4),
        "lateSecondsAllowed": LATE,
        "trivial": [
            {
                "seconds": seconds,
                "missed": sum(timer_misses(one.attempt, seconds) for one in stops),
                "falseAlarms": sum(timer_cries(one.attempt, seconds) for one in every),
            }
            for seconds in TIMERS
        ],
        "rows": [silence_row(kind, those) for kind, those in heard.items()],
    }


def silence_row(kind: str, heard: list[Heard]) -> dict[str, Any]:
    """One kind of attempt."""
    told = (STOPS | PATIENCE)[kind].__doc__ or ""
    entry: dict[str, Any] = {
        "kind": kind,
        "what": told.splitlines()[0],
        "n": len(heard),
        "falseAlarms": sum(bool(one.early) for one in heard),
    }
    if kind in STOPS:
        named = [one.late + one.attempt.limit for one in heard if one.late is not None]
        entry |= {
            "missed": sum(one.missed for one in heard),
            "limitSeconds": spread([round(one.attempt.limit) for one in heard]),
            "seconds": spread([round(value) for value in named]),
            "lateSecondsWorst": round(max(one.late for one in heard if one.late is not None), 1),
        }
    return entry


def silence_table(result: dict[str, Any]) -> list[Row]:
    """Every stop named by its limit, nobody else accused."""
    missed_said = f"{result['missed']} of {result['stops']} (95 % bound {result['missBound']:.2%})"
    cried_said = f"{result['falseAlarms']} of {result['attempts']} (95 % bound {result['falseAlarmBound']:.2%})"
    return [
        Row(f"stops named > {LATE:g} s after their limit", missed_said, "0", result["missed"] == 0),
        Row("false alarms in silence", cried_said, "0", result["falseAlarms"] == 0),
    ]


def table(result: dict[str, Any]) -> list[Row]:
    """What had to hold."""
    told = [row for row in result["rows"] if row.get("reports")]
    delays = [row["reports"]["worst"] for row in told if row["within"] == WITHIN]
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


def voices(seeds: list[int]) -> dict[str, Any]:
    """Whole runs; needs the trainer, so it is imported here."""
    import voice_runs

    record.be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        return voice_runs.measure(Path(folder), seeds)


def voice_table(result: dict[str, Any]) -> list[Row]:
    """Correct runs raise nothing, healed ones nothing but what healed; each twin is named in time."""
    rows = [checked(result["disturbed"])] if result["disturbed"] else []
    for one in result["disturbed"]:
        who = f"VITS, seed {one['seed']}: killed, suspended, evaluated: findings"
        said = "; ".join(f["rule"] for f in one["findings"]) or f"none, {one['seconds']:.0f} s"
        ended = one["exitCodes"][-1] == 0 and one["attempt"] > 1
        rows.append(Row(who, said, "none", not one["findings"] and ended))
    for one in result["healed"]:
        rules = [f["rule"] for f in one["findings"]]
        who = f"VITS, seed {one['seed']}: NaN batches rolled back: findings"
        rows.append(Row(who, ", ".join(rules), "NonFinite", rules == ["NonFinite"]))
    return rows + twin_table(result["twins"])


def checked(runs: Sequence[dict[str, Any]]) -> Row:
    """The preflight of the correct recipe, and what it costs."""
    passed = sum(one["preflight"].get("verdict") == "Passed" for one in runs)
    seconds = [float(one["preflight"].get("seconds", "nan")) for one in runs]
    said = f"{passed} of {len(runs)} passed; {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s"
    holds = passed == len(runs) and max(seconds) <= PREFLIGHT_SECONDS
    return Row("preflight of correct VITS runs", said, f"all, ≤ {PREFLIGHT_SECONDS} s", holds)


def twin_table(twins: Sequence[dict[str, Any]]) -> list[Row]:
    """Both ways in which each twin is named, and their sums."""
    import voice_runs

    before, within, rows = [], [], []
    for one in twins:
        checks = voice_runs.failed_checks(one["before"])
        stopped = one["before"]["exitCodes"] == [EXIT_PREFLIGHT] and not one["before"]["steps"]
        before.append(stopped and one["check"] in checks)
        said = f"{', '.join(checks) or 'nothing'}, {one['before']['preflight'].get('seconds', 0)} s"
        rows.append(Row(f"twin: {one['twin']}, preflight", said, "before step 1", before[-1]))
        said = ", ".join(f"{c['rule']} at step {c['step']}" for c in one["caught"]) or "no rule"
        if one["rules"]:
            within.append(one["inTime"])
            limit = "stall limit" if one["byTime"] else "≤ 20 steps"
            rows.append(Row(f"twin: {one['twin']}, rules", said, limit, within[-1]))
    return [
        Row(
            "VITS twins stopped by the preflight",
            f"{sum(before)} of {len(before)}",
            "all",
            all(before),
        ),
        Row(
            "VITS twins named by a rule, preflight off",
            f"{sum(within)} of {len(within)}",
            "all",
            all(within),
        ),
        *rows,
    ]


def main() -> int:
    """Measure, write, sum up."""
    parser = argparse.ArgumentParser(description="The health rules on fresh curves.")
    parser.add_argument("--curves", type=int, default=2190)
    parser.add_argument(
        "--silences", type=int, default=500, help="attempts, judged second by second"
    )
    parser.add_argument("--voice-seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--no-voices", action="store_true", help="curves alone: half a minute")
    parser.add_argument("--seed", type=int, default=None)
    chosen = parser.parse_args()
    if chosen.curves < FEWEST:
        parser.error(f"--curves {chosen.curves} is below {FEWEST}: the bound would say little")
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    before = record.machine()
    result = measure(chosen.curves, seed)
    result["silences"] = measure_silences(chosen.silences, seed)
    rows = table(result) + silence_table(result["silences"])
    if not chosen.no_voices:
        result["voices"] = voices(chosen.voice_seeds)
        rows += voice_table(result["voices"])
    record.show(rows)
    return 0 if record.write("health", before, result, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
