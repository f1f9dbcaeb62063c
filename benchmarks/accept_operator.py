"""The operator under load, and under every crash and every fault: `make accept-operator`. Needs no root.

    python benchmarks/accept_operator.py [--only SECTION ...] [--rounds 3] [--base 61e9c39]

Sections: `load`, `pace`, `rival`, `weight`, `crash`, and one a fault (`409`, `410`, `429`, `500`, `lost`, `refused`).
Those left out are taken over from results/operator.json when they were measured at the same commit; so a run may be
made in pieces. `load`: jobs and pods a second beside the same pods posted bare, on nodes of KWOK. `pace`: jobs of one
pod and gangs a second, how soon a job has its pods and a gang is back, requests over a life, beside an earlier build in
turns.
`rival`: the same jobs beside Kubeflow's Training Operator v1, by default and with its limits raised.
`weight`: memory, idle CPU, requests of a hundred jobs with a thousand pods. The rest: the job of tests/api ends the
same, whole, when the operator dies after any one of its writes, and when any one of its requests fails in this way.
Writes results/operator.json.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import record
from record import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "api"))

import operator_load
import operator_pace
import operator_rival
from apibed.admin import Admin
from apibed.life import short_backoff
from apibed.scene import install
from apibed.sweep import Sweep, crash_sweep, fault_sweep
from apibed.transports import FAULTS, STREAM_FAULTS
from bed import system
from bed.cluster import Bed, log_to_stderr
from bed.system import Tier
from operator_load import GANGS, ONE_BY_ONE, SINGLE, WIDE

Figures = dict[str, Any]
POD_SHARE, JOBS_PER_SECOND, RSS_MIB = 0.85, 30.0, 200.0
PACE, ASKED = 2.0, 0.5  # of the earlier build's
BESIDE_DEFAULT = 10.0  # times the pods a second of Training Operator as it starts by default
BACK_SECONDS = 2.0


def main() -> int:
    """Measure, print, write."""
    sections = all_sections()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections))
    parser.add_argument("--rounds", type=int, default=3, help="of the load")
    parser.add_argument("--base", default="61e9c39", help="commit of the earlier build")
    options = parser.parse_args()
    if reason := system.obstacle(Tier.CONTROL_PLANE):
        log_to_stderr(reason)
        return 1
    record.be_quiet()
    before = record.machine()
    figures = kept("operator")
    for name in options.only:
        since = time.monotonic()
        figures[name] = sections[name](options)
        figures[name]["tookSeconds"] = round(time.monotonic() - since)
        log_to_stderr(f"{name}: {figures[name]['tookSeconds']} s")
        figures = {section: figures[section] for section in sections if section in figures}
        rows = table(figures)
        holds = record.write("operator", before, figures, rows)
    record.show(rows)
    for name in set(figures) & set(options.only):
        for problem in figures[name].get("problems", ()):
            log_to_stderr(problem)
    return 0 if holds else 1


def all_sections() -> dict[str, Callable[[argparse.Namespace], Figures]]:
    """Name → what measures it."""
    faults = {name: functools.partial(swept, functools.partial(fault_sweep, way=way))
              for way, name in enumerate(FAULTS)}  # fmt: skip
    return {
        "load": loaded,
        "pace": paced,
        "rival": functools.partial(on_kwok, operator_rival.rival),
        "weight": functools.partial(on_kwok, operator_load.weight),
        "crash": functools.partial(swept, crash_sweep),
        **faults,
    }


def kept(name: str) -> Figures:
    """Figures of an earlier piece, if it was of this very commit."""
    path = record.RESULTS / f"{name}.json"
    if not path.exists():
        return {}
    document, commit = json.loads(path.read_text("utf-8")), record.commit()
    same = document["commit"] == commit and not commit.endswith(("-dirty", "unknown"))
    figures: Figures = document["figures"] if same else {}
    return figures


def on_kwok(
    measure: Callable[[Bed, Path, argparse.Namespace], Coroutine[Any, Any, Figures]],
    options: argparse.Namespace,
) -> Any:
    """What a measurement gives on a cluster of its own."""
    with tempfile.TemporaryDirectory() as folder, Bed("load", kwok=True) as bed:
        return asyncio.run(measure(bed, Path(folder), options))


def paced(options: argparse.Namespace) -> Figures:
    """This build beside the earlier one, each on a cluster of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Bed("pace", kwok=True) as bed,
        Bed("pace-before", kwok=True) as other,
    ):
        return asyncio.run(operator_pace.pace(bed, other, Path(folder), options))


def loaded(options: argparse.Namespace) -> Figures:
    """Seconds of the load, and what follows from them."""
    took = on_kwok(operator_load.rates, options)
    created = {name: [one.created for one in all_] for name, all_ in took.items()}
    return {
        "seconds": {name: [dataclasses.asdict(one) for one in all_] for name, all_ in took.items()},
        "podsPerSecond": {
            "bare": rate(WIDE.total, created["bare"]),
            "oneByOne": rate(ONE_BY_ONE, created["oneByOne"]),
            "jobsOf10": rate(WIDE.total, created["wide"]),
            "jobsOf64": rate(GANGS.total, created["gangs"]),
        },
        "jobsPerSecond": {
            "jobsOf1": rate(SINGLE.jobs, created["single"]),
            "jobsOf10": rate(WIDE.jobs, created["wide"]),
        },
    }


def rate(count: int, seconds: Sequence[float]) -> float:
    """Of the median round."""
    return round(count / statistics.median(seconds), 1)


def swept(sweep: Callable[[Admin], Any], _options: argparse.Namespace) -> Figures:
    """One sweep on an API server of its own."""

    async def on(bed: Bed) -> Sweep:
        admin = await Admin.login(bed.kubeconfig)
        try:
            result: Sweep = await sweep(admin)
            return result
        finally:
            await admin.close()

    with Bed("sweep") as bed, short_backoff():
        install(bed)
        result = asyncio.run(on(bed))
    return {
        "cases": result.cases,
        "struck": len(result.struck),
        "failures": len(result.problems),
        "problems": result.problems,
    }


def table(figures: Mapping[str, Any]) -> list[Row]:
    """The figures beside what they must be."""
    rows = load_rows(figures["load"]) if "load" in figures else []
    rows += pace_rows(figures["pace"]) if "pace" in figures else []
    rows += rival_rows(figures["rival"]) if "rival" in figures else []
    rows += weight_rows(figures["weight"]) if "weight" in figures else []
    faults = {name: found for name, found in figures.items() if name in FAULTS}
    if "crash" in figures:
        rows.append(sweep_row("operator dies after each write", [figures["crash"]], "0"))
    if faults:
        title = f"each request fails once, in {len(faults)} ways"
        rows.append(sweep_row(title, list(faults.values()), "0"))
    return rows + [sweep_row(f"… {words(name)}", [found]) for name, found in faults.items()]


def sweep_row(title: str, found: Sequence[Mapping[str, Any]], bound: str = "") -> Row:
    """Cases and how many of them did not end as an undisturbed run does."""
    struck, failures = (sum(one[key] for one in found) for key in ("struck", "failures"))
    holds = failures == 0 if bound else None
    return Row(title, f"{failures} of {struck} cases end otherwise", bound, holds)


def words(fault: str) -> str:
    """What a fault is, on a request and on a watch."""
    way = FAULTS.index(fault)
    plain = {"lost": "carried out, time-out", "refused": "connection refused"}.get(fault, fault)
    stream = STREAM_FAULTS[way] if way < len(STREAM_FAULTS) else ""
    return f"{plain} (a watch: {stream})" if stream else plain


def load_rows(load: Mapping[str, Any]) -> list[Row]:
    """Of the section `load`."""
    pods, jobs = load["podsPerSecond"], load["jobsPerSecond"]
    share = pods["jobsOf64"] / pods["bare"]
    wide = pods["jobsOf10"] / pods["bare"]
    running = statistics.median(took["running"] for took in load["seconds"]["wide"])
    return [
        Row("pods posted bare, 32 under way", f"{pods['bare']:g} pods/s"),
        Row("… one after the other", f"{pods['oneByOne']:g} pods/s"),
        Row("operator, 16 jobs of 64 pods", f"{pods['jobsOf64']:g} pods/s, {share:.0%} of bare",
            f"≥ {POD_SHARE:.0%}", share >= POD_SHARE),
        Row("operator, 100 jobs of 10 pods", f"{pods['jobsOf10']:g} pods/s, {wide:.0%} of bare"),
        Row("… until every pod runs (KWOK)", f"{running:.1f} s"),
        Row("operator, 200 jobs of 1 pod", f"{jobs['jobsOf1']:g} jobs/s",
            f"≥ {JOBS_PER_SECOND:g}", jobs["jobsOf1"] >= JOBS_PER_SECOND),
    ]  # fmt: skip


def pace_rows(pace: Mapping[str, Any]) -> list[Row]:
    """Of the section `pace`: medians, and their ratio."""
    base = pace["base"]
    ours, theirs = (
        SINGLE.jobs / _median(pace, name, "single", "created") for name in ("this", base)
    )
    cpu, cpu_before = (_median(pace, name, "single", "cpu") for name in ("this", base))
    alone = {name: _machine_ms(pace, name, "single", SINGLE.jobs) for name in ("this", base)}
    asked, before = (sum(pace["requests"][name].values()) for name in ("this", base))
    back, back_before = (
        statistics.median(pace["secondsUntilAGangIsBack"][name]) for name in ("this", base)
    )
    gangs = {
        name: GANGS.total / _median(pace, name, "gangs", "created")
        for name in ("this", base, "bare")
    }
    run = {name: _median(pace, name, "gangs", "running") for name in gangs}
    running = {name: run["bare"] / run[name] for name in ("this", base)}
    share, share_before = gangs["this"] / gangs["bare"], gangs[base] / gangs["bare"]
    together = {name: _machine_ms(pace, name, "gangs", GANGS.total) for name in gangs}
    return [
        Row(f"jobs of one pod, beside {base} in turns",
            f"{ours:.1f} and {theirs:.1f} jobs/s: {ours / theirs:.2f} ×", f"≥ {PACE:g} ×", ours >= PACE * theirs),
        *(Row(f"… {words} from its POST to its pod",
              f"{_median(pace, 'this', 'single', field):.1f} and {_median(pace, base, 'single', field):.1f} s")
          for words, field in (("p50", "median"), ("p99", "slowest"))),
        Row(f"CPU of the operator for 200 of them, beside {base}",
            f"{cpu:.1f} and {cpu_before:.1f} s: {cpu / cpu_before:.2f} ×"),
        Row(f"CPU of the whole machine for one of them, beside {base}",
            f"{alone['this']:.0f} and {alone[base]:.0f} ms: {alone['this'] / alone[base]:.2f} ×"),
        Row(f"requests over the life of a job of one pod, beside {base}",
            f"{asked:.1f} and {before:.1f}: {asked / before:.2f} ×", f"≤ {ASKED:g} ×", asked <= ASKED * before),
        Row(f"pods of gangs of 64 against the same posted bare, beside {base}",
            f"{share:.0%} and {share_before:.0%}", f"≥ {POD_SHARE:.0%}", share >= POD_SHARE),
        Row("… until they run: scheduler and kubelets share the cores with who posts",
            f"{running['this']:.0%} and {running[base]:.0%}"),
        Row("… CPU of the whole machine for one of them, and for one posted bare",
            f"{together['this']:.1f} and {together['bare']:.1f} ms, {base}: {together[base]:.1f} ms"),
        *(Row(f"… {words} from its POST to its last pod",
              f"{_median(pace, 'this', 'gangs', field):.1f} and {_median(pace, base, 'gangs', field):.1f} s")
          for words, field in (("p50", "median"), ("p99", "slowest"))),
        Row(f"a gang of 64 that restarts, from its last old pod gone to its last new one, beside {base}",
            f"{back:.1f} and {back_before:.1f} s", f"≤ {BACK_SECONDS:g} s", back <= BACK_SECONDS),
    ]  # fmt: skip


def _machine_ms(pace: Mapping[str, Any], name: str, what: str, count: int) -> float:
    """CPU time of everything on the machine, for one of so many."""
    return 1000 * _median(pace, name, what, "machine") / count


def _median(section: Mapping[str, Any], name: str, what: str, field: str) -> float:
    return statistics.median(one[field] for one in section["took"][name][what])


def rival_rows(rival: Mapping[str, Any]) -> list[Row]:
    """Of the section `rival`: medians, and their ratio."""
    rows = []
    for way, words in (("default", "as it starts by default"), ("raised", "its limits raised")):
        ours, theirs = (_median(rival, name, "gangs", "podsPerSecond") for name in ("this", way))
        bound = way == "default"
        rows.append(Row(
            f"pods of gangs of 64, beside Training Operator v1, {words}",
            f"{ours:.1f} and {theirs:.1f} pods/s: {ours / theirs:.1f} ×",
            f"≥ {BESIDE_DEFAULT:g} ×" if bound else "",
            ours >= BESIDE_DEFAULT * theirs if bound else None,
        ))  # fmt: skip
        ours, theirs = (_median(rival, name, "single", "jobsPerSecond") for name in ("this", way))
        rows.append(
            Row("… jobs of one pod", f"{ours:.1f} and {theirs:.1f} jobs/s: {ours / theirs:.1f} ×")
        )
    return rows


def weight_rows(weight: Mapping[str, Any]) -> list[Row]:
    """Of the section `weight`."""
    rss = weight["rssMiB"]
    return [
        Row("memory with no job", f"{rss['empty']:g} MiB"),
        Row("memory, 100 jobs and 1,000 pods", f"{rss['full']:g} MiB, peak {rss['peak']:g} MiB",
            f"≤ {RSS_MIB:g} MiB", rss["peak"] <= RSS_MIB),
        Row("CPU then, nothing happening", f"{weight['idleCpuPercent']:g} % of a core"),
        Row("requests a job of 10 pods", f"{weight['requestsPerJob']['total']:g}"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
