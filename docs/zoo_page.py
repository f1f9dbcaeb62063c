"""The page `zoo.md`: curves, silences and whole runs that the rules are measured on. Called by `generate.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tables import page, table


def zoo(measured: Path, replayed: Path) -> str:
    """The page of the curves that the rules are measured on."""
    document = json.loads(measured.read_text(encoding="utf-8"))
    figures, machine = document["figures"], document["machine"]
    cost = figures["microsecondsPerSample"]
    curves = page(
        "Zoo of curves",
        [
            "Runs drawn at random by `tests/zoo`, half of them with `total` and components as a GAN has,",
            "with a fault planted at a random place, or healthy and ugly. Every rule judges each of them under default",
            "thresholds. *Missed*: its rule did not warn within its bound, mostly",
            f"{figures['withinReports']} reports. *False alarm*:",
            "any rule warned on a healthy curve, or before the fault.",
            "",
            f"{figures['curves']} curves, seed {figures['seed']}, commit `{document['commit']}`: "
            f"{figures['missed']} of {figures['faults']} faults missed",
            f"(95 % bound {figures['missBound']:.2%}), {figures['falseAlarms']} false alarms "
            f"(95 % bound {figures['falseAlarmBound']:.2%}). All rules together cost {cost['median']} µs of",
            f"CPU a sample, {cost['worstCurve']} µs on the dearest curve ({machine['cpu']}).",
            "",
            "These are drawn curves: they show what the rules do on faults of these kinds, not how often your runs",
            "have them. The first hand wrote the rules as well; the kinds of the second (tests/zoo/second_*) were",
            "drawn before it had read a rule, and changed rules since. Bounds of single rows are wide, for n is small.",
            "Three of its kinds were narrowed afterwards: tasks drawn at random, norms that grow by decades, bad files",
            "in a row do warn, as the pages of LossSpike, GradientSpike and SkippedSamples say.",
            "A fault that grows, or comes with every second batch, has a bound of its own.",
            "`make accept-health` draws anew.",
            "",
            *_trivial_lines(figures.get("trivial", [])),
        ],
        (
            "curve",
            "what",
            "rule",
            "missed",
            "false alarms",
            "n",
            "95 % bound",
            "reports to the alarm",
            "bound",
            "steps, if each is reported",
            "action",
        ),
        (_zoo_row(row) for row in figures["rows"]),
        "benchmarks/results/health.json",
    )
    rest = _silence_part(figures.get("silences")) + _whole_part(figures)
    return curves + rest + _public_part(json.loads(replayed.read_text(encoding="utf-8")))


_SETS = {
    "tuned": "first set: at hand while rules and readers were made",
    "first": "second set, on the day it was first judged (raw files)",
    "fresh": "second set, after what it showed was mended",
    "soughtFirst": "third set, of runs that went wrong, on the day it was first judged (raw files)",
    "sought": "third set, after what it showed was mended",
}


def _public_part(document: Mapping[str, Any]) -> str:
    """Real runs of others; empty where a measurement of old knows one set alone."""
    public = document["figures"]["public"]
    if "soughtFirst" not in public:
        return ""
    names = list(public["first"])
    rows = [(what, *(_share(public[key][name]) for name in names)) for key, what in _SETS.items()]
    return "\n".join(
        [
            "## Public runs",
            "",
            "Numbers of real runs that public repositories hold, labelled by hand before they were judged, drawn in",
            "the forms they came in and judged by `replay` (`tests/zoo/public_runs.py`; commit"
            f" `{document['commit']}`, by `make accept-replay`).",
            "The rows to believe are those of the day. In brackets the 95 % bound; convenience samples, in which",
            "faults were sought: no rate of faults in the world.",
            "",
            table(("set", *names), rows),
            "Missed, and known to be:",
            "",
            *(f"- {_source(public, run)}: {why}" for run, why in public["beyond"].items()),
            "",
        ]
    )


def _share(figure: Mapping[str, Any]) -> str:
    return f"{len(figure['bad'])} of {figure['n']} ({figure['bound']:.1%})"


def _source(public: Mapping[str, Any], run: str) -> str:
    missed = [one for name in ("fresh", "sought") for one in public[name]["faults missed"]["bad"]]
    return next((f"`{one['source']}`" for one in missed if one["run"] == run), run)


def _trivial_lines(trivial: Sequence[Mapping[str, Any]]) -> list[str]:
    """Beside the rules: what needs none."""
    if not trivial:
        return []
    told = [
        f"- {row['what'].rstrip('.')}: {row['missed']} missed, {row['falseAlarms']} false alarms"
        for row in trivial
    ]
    return ["The same curves before alarms that need no rules:", "", *told]


def _silence_part(silences: Mapping[str, Any] | None) -> str:
    """Attempts judged second by second: stops, and patience."""
    if silences is None:
        return ""
    header = ("attempt", "what", "missed", "false alarms", "n", "limit (s)", "named after (s)")
    rows = [_silence_row(row) for row in silences["rows"]]
    timers = (
        f"- a watchdog of {row['seconds']:g} s: {row['missed']} stops named late, {row['falseAlarms']} false alarms"
        for row in silences["trivial"]
    )
    return "\n".join(
        [
            "## Silences",
            "",
            f"{silences['attempts']} attempts of `tests/zoo/silences.py`, judged second by second; in",
            f"{silences['stops']} of them a rank stops. *Missed*: Stalled named it more than",
            f"{silences['lateSecondsAllowed']:g} s after the limit of [Stalled](rules/Stalled.md), or never:",
            f"{silences['missed']} (95 % bound {silences['missBound']:.2%}). False alarms of any rule: "
            f"{silences['falseAlarms']} (95 % bound {silences['falseAlarmBound']:.2%}).",
            "The same attempts before a watchdog with one limit for all:",
            "",
            *timers,
            "",
            table(header, rows),
            "",
            "",
        ]
    )


def _silence_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["kind"],
        row["what"],
        str(row.get("missed", "")),
        str(row["falseAlarms"]),
        str(row["n"]),
        _spread(row.get("limitSeconds")),
        _spread(row.get("seconds")),
    )


def _whole_part(figures: Mapping[str, Any]) -> str:
    """Whole runs of all recipes."""
    voices, codecs, clonings = (figures.get(name) for name in ("voices", "codecs", "clonings"))
    if voices is None:
        return ""
    of = figures.get("wholeRunsOf")
    when = [f"Run on commit `{of}`, before the curves above.", ""] if of else []
    parts = ["## Whole runs", "", *when, *_disturbed(voices), "", *_twins("VITS", voices["twins"])]
    if codecs is not None:
        parts += _recipe("The codec", "codec runs", "through k-means and revivals", codecs)
    if clonings is not None:
        parts += _recipe("Voice cloning", "voice-cloning runs", "evaluated on the way", clonings)
    return "\n".join([*parts, ""])


def _recipe(title: str, runs: str, how: str, figures: Mapping[str, Any]) -> list[str]:
    loud = sum(bool(one["findings"]) for one in figures["sound"])
    steps = max((one["steps"] for one in figures["sound"]), default=0)
    said = (
        f"{len(figures['sound'])} correct {runs} of {steps} steps, {how}: {loud} raised anything."
    )
    return ["", said, "", *_twins(title, figures["twins"])]


def _disturbed(voices: Mapping[str, Any]) -> list[str]:
    disturbed, healed = voices["disturbed"], voices["healed"]
    loud = sum(bool(one["findings"]) for one in disturbed)
    more = sum([f["rule"] for f in one["findings"]] != ["NonFinite"] for one in healed)
    return [
        f"{len(disturbed)} correct VITS runs with warm-up, evaluations and saves, killed and suspended on the way: "
        f"{loud} raised anything.",
        f"{len(healed)} runs with NaN batches that were rolled back: {more} told more or less than NonFinite.",
        "The broken twins ran whole, twice: as people run them, where the preflight stops them, and with it off,",
        "24 steps long, from the first step at which the fault does anything; where no rule is named, no report of",
        "so short a run shows the fault.",
    ]


def _twins(recipe: str, twins: Sequence[Mapping[str, Any]]) -> list[str]:
    header = (
        f"{recipe}: twin",
        "what it breaks",
        "preflight, before step 1",
        "preflight (s)",
        "rules, preflight off",
        "named at step",
        "action",
    )
    return [table(header, (_twin_row(row) for row in twins))]


def _twin_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    caught = row["caught"]
    label = f"{row['breaks']} (emulated: {row['emulated']})" if row["emulated"] else row["breaks"]
    before = row["before"]["preflight"]
    failed = dict.fromkeys(failed["check"] for failed in before.get("failed", []))
    checks = f"{row['check']} warns" if row.get("warned") else ", ".join(failed)
    late = f"not at a step; later: {row['later']}" if row.get("later") else "not at a step"
    acts = row.get("actsFrom", 1)
    since = f" (acts from {acts} on)" if caught and acts > 1 else ""
    return (
        row["twin"],
        label,
        checks or "none",
        f"{float(before['seconds']):.1f}",
        ", ".join(f"`{rule}`" for rule in row["rules"]) or "none",
        (", ".join(f"{one['rule']} {one['step']}" for one in caught) or late) + since,
        ", ".join(sorted({one["action"] for one in caught})),
    )


def _zoo_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    rule = f"`{row['rule']}`" if "rule" in row else "none"
    bound = max(row["falseAlarmBound"], row.get("missBound", 0.0))
    return (
        row["kind"],
        row["what"],
        rule,
        str(row.get("missed", "")),
        str(row["falseAlarms"]),
        str(row["n"]),
        f"{bound:.1%}",
        _spread(row.get("reports")),
        str(row.get("within", "")),
        _spread(row.get("stepsWhenEachIsReported")),
        row.get("action", ""),
    )


def _spread(value: Mapping[str, float] | None) -> str:
    return f"{value['median']:g}, worst {value['worst']:g}" if value else ""
