"""The health rules on fresh curves and silences, and on whole runs of all recipes: misses, false alarms, delay, cost.

    python benchmarks/accept_health.py [--curves 2190] [--silences 500] [--seed N]
                                       [--voice-seeds 0 1 2 3 4 | --no-voices] [--keep FOLDER]

`make accept-health` runs it and generates docs/zoo.md from the result. Exits with 1 when a fault was missed or
anything healthy raised a warning. The seed is drawn anew each time and written down, so that a run can be repeated.
The runs (correct ones that are disturbed, broken twins) take about an hour on two cores; a line each. With `--keep`
a recipe whose runs are all done is not run again by a later call on the same commit. With `--no-voices` the record
keeps the whole runs of its last call, and says of which commit they are.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import secrets
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import record  # noqa: E402
import silence_runs  # noqa: E402
from curves import FAULTS, HEALTHY, WITHIN, draw  # noqa: E402
from judging import Judged, judge  # noqa: E402
from record import Row  # noqa: E402
from shares import bound, score, score_rows, spread  # noqa: E402
from trivial import TRIVIAL, false, missed  # noqa: E402

FEWEST = 500
AGAIN = 50  # the dearest curves, measured three times
WHOLE_RUNS_OF = "wholeRunsOf"  # the commit of whole runs that were not run now


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


def cost(judged: Judged) -> float:
    """Microseconds of CPU time a sample."""
    return judged.seconds / len(judged.curve.samples) * 1e6


def least_cost(judged: Judged) -> float:
    """The least of three: of two thousand curves one is always disturbed by what else the machine does."""
    return min(cost(judged), *(cost(judge(judged.curve)) for _ in range(2)))


def measure(number: int, seed: int) -> dict[str, Any]:
    """Judge `number` fresh curves."""
    kinds: dict[str, list[Judged]] = collections.defaultdict(list)
    for curve in draw(number, seed):
        kinds[curve.kind].append(judge(curve))
    everything = [one for judged in kinds.values() for one in judged]
    faults = [one for one in everything if one.curve.rule]
    lost, cried = sum(one.missed for one in faults), sum(bool(one.early) for one in everything)
    dearest = sorted(everything, key=cost)[-AGAIN:]
    return {
        "seed": seed,
        "curves": len(everything),
        "faults": len(faults),
        **score(lost, len(faults), cried, len(everything)),
        "trivial": [trivial(name, everything) for name in TRIVIAL],
        "withinReports": WITHIN,
        "microsecondsPerSample": {
            "median": round(statistics.median(map(cost, everything)), 1),
            "worstCurve": round(max(map(least_cost, dearest)), 1),
        },
        "rows": [row(kind, judged) for kind, judged in kinds.items()],
    }


def table(result: dict[str, Any]) -> list[Row]:
    """What had to hold."""
    told = [row for row in result["rows"] if row.get("reports")]
    delays = [row["reports"]["worst"] for row in told if row["within"] == WITHIN]
    cost = result["microsecondsPerSample"]
    return [
        Row("curves", str(result["curves"]), f"≥ {FEWEST}", result["curves"] >= FEWEST),
        *score_rows(("faults missed", "false alarms"), result, result["faults"], result["curves"]),
        Row("reports to the alarm, worst", str(max(delays)), f"≤ {WITHIN}", max(delays) <= WITHIN),
        Row(
            "CPU time a sample, median and worst curve (least of three)",
            f"{cost['median']} and {cost['worstCurve']} µs",
            "≤ 200 µs",
            cost["worstCurve"] <= 200.0,
        ),
    ]


def kinds() -> dict[str, Any]:
    """What runs each recipe whole, by its name in the record; they need the trainer, so it is imported here."""
    import cloning_runs
    import codec_runs
    import voice_runs

    return {"voices": voice_runs, "codecs": codec_runs, "clonings": cloning_runs}


def voices(seeds: list[int], keep: Path | None) -> tuple[dict[str, Any], list[Row]]:
    """Whole runs of all recipes."""
    record.be_quiet()
    found = {name: _kept(keep, name, kind.measure, seeds) for name, kind in kinds().items()}
    return found, [row for name, kind in kinds().items() for row in kind.table(found[name])]


def earlier_voices() -> tuple[dict[str, Any], list[Row]]:
    """Those of the record as it is, each row with the commit that they were run on."""
    path = record.RESULTS / "health.json"
    if not path.is_file():
        return {}, []
    document = json.loads(path.read_text(encoding="utf-8"))
    figures = document["figures"]
    found = {name: figures[name] for name in kinds() if name in figures}
    of = figures.get(WHOLE_RUNS_OF, document["commit"])
    rows = [
        row for name, kind in kinds().items() if name in found for row in kind.table(found[name])
    ]
    named = [dataclasses.replace(row, name=f"{row.name} (on {of[:7]})") for row in rows]
    return found | {WHOLE_RUNS_OF: of}, named


def _kept(
    keep: Path | None,
    name: str,
    measure: Callable[[Path, list[int]], dict[str, Any]],
    seeds: list[int],
) -> dict[str, Any]:
    """What an earlier call found on this very commit, or what is measured now."""
    commit = record.commit()
    file = keep and keep / f"{name}-{commit}-{'-'.join(map(str, seeds))}.json"
    if file and file.is_file() and not commit.endswith(record.DIRTY):
        return dict(json.loads(file.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), seeds)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found), encoding="utf-8")
    return found


def main() -> int:
    """Measure, write, sum up."""
    parser = argparse.ArgumentParser(description="The health rules on fresh curves.")
    parser.add_argument("--curves", type=int, default=2190)
    parser.add_argument(
        "--silences", type=int, default=500, help="attempts, judged second by second"
    )
    parser.add_argument("--voice-seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--no-voices", action="store_true", help="curves alone: some minutes")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", type=Path, help="a folder for what each recipe's runs gave")
    chosen = parser.parse_args()
    if chosen.curves < FEWEST:
        parser.error(f"--curves {chosen.curves} is below {FEWEST}: the bound would say little")
    before = record.machine()
    if not chosen.no_voices and before["cores"] < 2:
        parser.error("some twins are two ranks: this process needs two cores, or --no-voices")
    seed = secrets.randbelow(2**31) if chosen.seed is None else chosen.seed
    result = measure(chosen.curves, seed)
    result["silences"] = silence_runs.measure(chosen.silences, seed)
    rows = table(result) + silence_runs.table(result["silences"])
    whole, told = earlier_voices() if chosen.no_voices else voices(chosen.voice_seeds, chosen.keep)
    result |= whole
    rows += told
    record.show(rows)
    return 0 if record.write("health", before, result, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
