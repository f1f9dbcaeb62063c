"""Goodput and restart budgets at published failure rates: weeks of jobs on a virtual clock, on the operator's own core.

    python benchmarks/simulate_goodput.py [--seeds 10] [--runs 300] [--seed 1]

`make accept-goodput` runs it: some minutes on one core, no cluster, no training. Every pass is `reconcile` itself, so
that goodput is counted, and a job is ended, by the code that does it in a cluster.

What is assumed is said with the figures: failures come at random (a Poisson process, its rate in proportion to the
GPUs); each of them ends the attempt with an exit code, none as a lost node that costs no budget; and two failures of
one row of the Llama table read as the same fault. The last two make the budgets bind sooner than in a cluster.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import record
from goodput_model import DAY, HOUR, Costs, Fault, Outcome, closed_form, ended_by, live
from record import Row

# Failures an hour and GPU. Llama 3: 419 unexpected interruptions in 54 days on 16,384 H100 (arXiv:2407.21783, 3.3.4).
# OPT-175B: at least 35 manual and by estimate 70 automatic restarts for hardware in two months, here 61 days, on 992
# A100 (arXiv:2205.01068, 2.4 and 2.5).
RATES: Final = {
    "Llama 3": 419 / (54 * 24 * 16384),
    "OPT-175B": (35 + 70) / (61 * 24 * 992),
}
# Table 5 of the Llama paper: interruptions by cause. They serve as causes of both runs.
CAUSES: Final = {
    "Faulty GPU": 148, "GPU HBM3 memory": 72, "Software bug": 54, "Network switch or cable": 35,
    "Host maintenance": 32, "GPU SRAM memory": 19, "GPU system processor": 17, "NIC": 7,
    "NCCL watchdog timeout": 7, "Silent data corruption": 6, "GPU thermal interface and sensor": 6, "SSD": 3,
    "Power supply": 3, "Server chassis": 2, "IO expansion board": 2, "Dependency": 2, "CPU": 2, "System memory": 2,
}  # fmt: skip
GPUS: Final = (64, 256, 1024)
DAYS: Final = 54
STEP_SECONDS: Final = 1.0  # assumed; swept in `endings`
EVERY: Final = 500  # steps between two checkpoints: the default of `checkpoint.everySteps`
ASSUMED: Final = {"restart": (60.0, 300.0), "save": (5.0, 30.0)}  # seconds
NAN_EVERY_DAYS: Final = 2.0  # assumed: episodes of NaN that spend the skip budget
BURST: Final = 0.2  # assumed: share of failures that the same one follows within the hour, a bad host taken again
SLOW_STEP_SECONDS: Final = 5.0
DEFAULTS: Final = "the defaults"
FOR_LIFE: Final = "sameCause 2 and max 20 for life"
TIGHT: Final = "sameCause 2, 3 in 6 h, reset after 1000"
GOAL: Final = 0.97
MOST_ENDED: Final = 0.01


def measured_restart() -> float:
    """Seconds from a killed rank to the next step, the worst of twenty on a real node: results/cluster.json."""
    path = record.RESULTS / "cluster.json"
    figures = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return float(figures["rankKilledToStepSeconds"]["worst"])


def faults(rate: float, gpus: int, rng: random.Random, burst: float = 0.0) -> Iterator[Fault]:
    """Failures of one job for ever: seconds since the one before, and its cause."""
    names, weights = list(CAUSES), list(CAUSES.values())
    mean = HOUR / (rate * gpus)
    cause = ""
    while True:
        again = bool(cause) and rng.random() < burst
        cause = cause if again else rng.choices(names, weights)[0]
        yield Fault(rng.uniform(0.0, HOUR) if again else rng.expovariate(1.0 / mean), cause)


class Setting(NamedTuple):
    """One row of the goodput table."""

    gpus: int
    rate: str
    costs: Costs
    what: str = ""
    policy: Mapping[str, Any] = MappingProxyType({})
    nan_days: float = 0.0
    in_place: bool = True


def settings() -> Iterator[Setting]:
    """Sizes and rates at measured and assumed costs; then intervals and roll-backs at the largest and worst."""
    restart = measured_restart()
    for rate in RATES:
        for gpus in GPUS:
            yield Setting(gpus, rate, Costs(restart, ASSUMED["save"][0], STEP_SECONDS, EVERY))
    worst = ("OPT-175B", GPUS[-1])
    for seconds in ASSUMED["restart"]:
        for save in ASSUMED["save"]:
            yield Setting(worst[1], worst[0], Costs(seconds, save, STEP_SECONDS, EVERY))
    for every in (100, 2000, 10000):
        costs = Costs(restart, ASSUMED["save"][1], STEP_SECONDS, every)
        yield Setting(worst[1], worst[0], costs, f"a save each {every} steps")
    costs = Costs(restart, ASSUMED["save"][0], STEP_SECONDS, EVERY)
    for name in (FOR_LIFE, TIGHT):
        yield Setting(worst[1], worst[0], costs, f"budgets: {name}", policies()[name])
    costs = Costs(ASSUMED["restart"][1], ASSUMED["save"][0], STEP_SECONDS, EVERY)
    for in_place in (True, False):
        what = "NaN: roll back in place" if in_place else "NaN: end, start from the confirmed save"
        yield Setting(worst[1], worst[0], costs, what, nan_days=NAN_EVERY_DAYS, in_place=in_place)


def goodput(setting: Setting, seeds: int, seed: int) -> dict[str, Any]:
    """Some lives of one setting: mean ratio, how many were ended, and what a formula says of it."""
    found: list[Outcome] = []
    for number in range(seeds):
        rng = random.Random(f"{seed}/{number}/{setting.gpus}/{setting.rate}")
        life = faults(RATES[setting.rate], setting.gpus, rng)
        nans = nan_times(rng, setting.nan_days) if setting.nan_days else None
        found.append(live(dict(setting.policy), setting.costs, life, DAYS, nans, setting.in_place))
    mean_between = HOUR / (RATES[setting.rate] * setting.gpus)
    seconds = sum(sum(one.parts.values()) for one in found)
    return {
        "gpus": setting.gpus,
        "rate": setting.rate,
        "what": setting.what,
        **setting.costs._asdict(),
        "meanHoursBetweenFailures": round(mean_between / HOUR, 1),
        "ratio": round(statistics.fmean(one.ratio for one in found), 4),
        "lowest": round(min(one.ratio for one in found), 4),
        "formula": round(closed_form(setting.costs, mean_between), 4),
        "attempts": round(statistics.fmean(one.attempts for one in found), 1),
        "ended": sum(one.ended for one in found),
        "lives": seeds,
        "shares": {
            part: round(sum(one.parts[part] for one in found) / seconds, 5)
            for part in found[0].parts
        },
    }


def nan_times(rng: random.Random, days: float) -> Iterator[float]:
    """Seconds of training between episodes of NaN."""
    while True:
        yield rng.expovariate(1.0 / (days * DAY))


def policies() -> dict[str, dict[str, Any]]:
    """Budgets to compare: the defaults, those of an earlier build, and what lies around the defaults."""
    around = {
        f"sameCause {same}, {n} in 6 h, reset after {steps}": _budgets(same, n, steps)
        for same, n, steps in ((2, 3, 1000), (2, 6, 500), (3, 3, 500), (3, 4, 500), (3, 8, 500), (4, 6, 500))
    }  # fmt: skip
    for_life = {"sameCause": 2, "resetAfterSteps": 0, "perWindow": {"max": 100, "seconds": 1}}
    return {DEFAULTS: {}, FOR_LIFE: for_life, **around}


def _budgets(same: int, window: int, steps: int) -> dict[str, Any]:
    window_of = {"max": window, "seconds": 21600}
    return {"sameCause": same, "resetAfterSteps": steps, "perWindow": window_of}


def endings(runs: int, seed: int) -> list[dict[str, Any]]:
    """The share of sound jobs that each policy ends for failures of hardware, in 54 days."""
    rows = []
    for name, policy in policies().items():
        for rate, gpus, burst, step in cases():
            rng = random.Random(f"{seed}/{rate}/{gpus}/{burst}/{step}")
            costs = Costs(ASSUMED["restart"][1], ASSUMED["save"][1], step, EVERY)
            ends = [
                ended_by(policy, costs, faults(RATES[rate], gpus, rng, burst), DAYS)
                for _ in range(runs)
            ]
            found = {
                "policy": name,
                "rate": rate,
                "gpus": gpus,
                "burst": burst,
                "stepSeconds": step,
            }
            rows.append({**found, "ended": sum(end is not None for end in ends), "lives": runs})
    return rows


def cases() -> Iterator[tuple[str, int, float, float]]:
    """Rate, GPUs, burst and seconds of a step."""
    for rate in RATES:
        yield from ((rate, gpus, 0.0, STEP_SECONDS) for gpus in GPUS)
        yield rate, GPUS[-1], BURST, STEP_SECONDS
        yield rate, GPUS[-1], 0.0, SLOW_STEP_SECONDS


def loops() -> list[dict[str, Any]]:
    """How long each policy lets a job go on that is broken: a fault every so often, with new steps between or not."""
    broken: dict[str, tuple[float, str, bool]] = {
        "same error at start": (30.0, "KeyError", False),
        "another error at each start": (30.0, "", False),
        "same error two hours on, no new step": (2 * HOUR, "KeyError", False),
        "another error two hours on, no new step": (2 * HOUR, "", False),
        "same error each half hour, new steps between": (HOUR / 2, "Leak", True),
        "same error each 90 minutes, new steps between": (1.5 * HOUR, "Leak", True),
    }
    rows = []
    for name, policy in policies().items():
        for what, (gap, cause, moves) in broken.items():
            costs = Costs(ASSUMED["restart"][0], ASSUMED["save"][0], STEP_SECONDS, EVERY)
            life = (Fault(gap, cause or f"Error{'x' * n}") for n in range(10**6))
            end = ended_by(policy, costs, life, DAYS, moves=moves)
            rows.append({"policy": name, "fault": what, "hours": None if end is None else round(end[0] / HOUR, 2),
                         "attempts": None if end is None else end[1]})  # fmt: skip
    return rows


def table(figures: dict[str, Any]) -> list[Row]:
    """What has to hold of the measured settings, and the default that follows."""
    rows = []
    for one in figures["goodput"]:
        measured = one["restart"] == figures["restartMeasuredSeconds"]
        goal, known = measured and not one["what"], "as measured" if measured else "assumed"
        name = (
            f"simulated goodput, {one['gpus']} GPUs failing like {one['rate']}, "
            f"restart {one['restart']:.0f} s {known}, save {one['save']:.0f} s assumed"
            f"{', ' if one['what'] else ''}{one['what']}"
        )
        value = f"{one['ratio']:.4f}, lowest {one['lowest']:.4f}, formula {one['formula']:.4f}"
        rows.append(
            Row(name, value, f"≥ {GOAL}" if goal else "", one["ratio"] >= GOAL if goal else None)
        )
    off = max(
        abs(one["ratio"] - one["formula"]) for one in figures["goodput"] if ":" not in one["what"]
    )
    rows.append(
        Row("formula beside the simulation, farthest apart", f"{off:.4f}", "≤ 0.005", off <= 0.005)
    )
    mine = [one for one in figures["endings"] if one["policy"] == DEFAULTS]
    apart = [one for one in mine if not one["burst"] and one["stepSeconds"] == STEP_SECONDS]
    worst = max(apart, key=lambda one: one["ended"])
    share = worst["ended"] / worst["lives"]
    name = f"sound jobs that the default budgets end in {DAYS} days, worst size and rate"
    value = f"{worst['ended']} of {worst['lives']}"
    rows.append(Row(name, value, f"≤ {MOST_ENDED:.0%}", share <= MOST_ENDED))
    return rows


def main() -> int:
    """Run it, print the tables, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--seeds", type=int, default=10, help="lives of each setting")
    parser.add_argument("--runs", type=int, default=300, help="lives of each policy of budgets")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    record.be_quiet()
    before = record.machine()
    lives = [goodput(one, options.seeds, options.seed) for one in settings()]
    ends = endings(options.runs, options.seed)
    figures = {
        "formula": (closed_form.__doc__ or "").partition("\n")[0],
        "ratesPerGpuHour": RATES,
        "days": DAYS,
        "restartMeasuredSeconds": measured_restart(),
        "goodput": lives,
        "endings": ends,
        "loops": loops(),
    }
    rows = table(figures)
    print(f"goodput = {figures['formula']}\n")
    record.show(rows)
    return 0 if record.write("goodput", before, figures, rows) else 1


if __name__ == "__main__":
    sys.exit(main())
