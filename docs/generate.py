"""Writes the pages that are tables of the contract or of figures: `python docs/generate.py [--check]`.

`manifest.md` comes from the CRD's schema, `exit-codes.md` from speech_contract.exit_codes, `metrics.md` from
speech_contract.metrics, the lists of rules in `verdict.md` and the README from speech_contract.rules, `zoo.md` from
what `make accept-health` measured, the table in `foreign-trainers.md` from `make accept-trainers`, those in `codec.md`
from `make accept-codec` and `make accept-codec-speed`, those in `goodput.md` from `make accept-goodput`, those in
`dashboards.md` from the chart's dashboards,
`figures.md` and the README's table from all that was measured, `rooms.svg` from the imports of the packages, the
interfaces on `write-a-recipe.md` and `write-a-rule.md` from the classes that ask for them.
tests/cli/test_docs.py runs the check, so a changed table cannot leave its page behind.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import codec_page
import dashboards_page
import goodput_page
import interfaces
import manifest_page
import rooms
import tables
import trainers_page
import zoo_page

from speech_contract import metrics, outcome
from speech_contract.metrics import Kind, Metric
from speech_contract.outcome import ExitMeaning, Next
from speech_contract.rules import Rule

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
README = "../README.md"
FIGURES = ("what", "measured", "bound", "by")
# Rows that end so, or begin so, are too much for a first page.
DETAILS = ("moved", "findings", "constant_frame", "other_sentence")
DETAILED = ("twin: ", "VITS, seed ", "codec, seed ", "cloning, seed ", "stage: ")
RECIPE = "trainer_image/speech_trainer/engine/recipe.py"
DETECTOR = "trainer_image/speech_health/detector.py"
RULES = ("rule", "fires on", "at worst", "what follows", "what to do")
NEXT = {
    Next.COMPLETE: "Complete",
    Next.RESTART: "restart from the newest checkpoint",
    Next.RESTART_CONFIRMED: (
        "restart from the newest confirmed checkpoint, past the bad data; Failed when there is none"
    ),
    Next.RESUME: "suspended, or restarted from what it saved",
    Next.FAIL: "Failed",
}


def exit_codes() -> str:
    """The page of exit codes."""
    rows = (_exit_row(row) for row in outcome.EXIT_CODES.values())
    return tables.page(
        "Exit codes",
        [
            "`speechtrain run` exits with the code below; so do the supervisor and the trainer in a pod.",
            "*Counted* restarts are taken from the [budgets](goodput.md#budgets) of `runPolicy.restarts`.",
            "Codes that are not listed: 3 to 127 count as 1, 128 and above as 139.",
        ],
        ("code", "cause", "meaning", "next", "counted", "what to do"),
        rows,
    )


def metric_table() -> str:
    """The page of metrics."""
    header = ("metric", "type", "labels", "meaning")
    training = tables.page(
        "Metrics",
        [
            "What the master's supervisor exports on `/metrics` (port 9464 on a cluster, a free port on one machine).",
            "Job and namespace are labels of the scrape target. Counters start at 0; a gauge appears with its "
            "first value, so nothing reads as a loss of 0 before step 1.",
            "Reasons of `samples_skipped_total`: "
            + ", ".join(f"`{reason}`" for reason in metrics.SKIP_REASONS)
            + ".",
        ],
        header,
        (_metric_row(metric) for metric in metrics.TRAINING_METRICS),
    )
    sentences = [
        "## The operator's",
        "",
        "What the operator exports on `/metrics` (the chart's port `metrics`, 8080). Series of a job go with the job,",
        "not with its pods, so an alert on a job that ended still fires. [operator.md](operator.md) tells what to",
        "watch.",
        "",
    ]
    operators = tables.table(header, (_metric_row(metric) for metric in metrics.OPERATOR_METRICS))
    return "\n".join([training, *sentences, operators, ""])


def readme() -> str:
    """The README with its list of rules and its table of figures: every measured row that had a bound to keep."""
    rows = [
        row
        for row in _all_figures()
        if not row[0].endswith(DETAILS) and not row[0].startswith(DETAILED)
    ]
    # The operator's own rule is none that a run can break.
    names = ", ".join(f"`{rule.value}`" for rule in Rule if rule.record.detector)
    rules = "\n".join(textwrap.wrap(f"Rules: {names}.", 118))
    return _between(
        _between(_read(HERE / README), "rules", rules), "figures", tables.table(FIGURES, rows)
    )


def verdict() -> str:
    """How to read the verdict, with a row for each rule."""
    rows = (_rule_row(rule) for rule in Rule)
    return _between(_read(HERE / "verdict.md"), "rules", tables.table(RULES, rows))


def _between(text: str, name: str, inner: str) -> str:
    """`text` with what stands between the marks of `name` replaced."""
    begin, end = f"<!-- {name}: docs/generate.py -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"the marks {begin!r} and {end!r} are not both there")
    return f"{before}{begin}\n\n{inner}\n\n{end}{after}"


def figures() -> str:
    """The page of all that was measured against a bound."""
    sentence = "What `make accept-…` measured, newest run of each. Bounds are those that the project set itself."
    return tables.page("Figures", [sentence], FIGURES, _all_figures(), "benchmarks/results")


def _all_figures() -> Iterable[tuple[str, ...]]:
    return (row for path in sorted(RESULTS.glob("*.json")) for row in _figures(path))


def _figures(path: Path) -> Iterable[tuple[str, ...]]:
    document = json.loads(path.read_text(encoding="utf-8"))
    source = f"`make accept-{path.stem}`, commit `{document['commit'][:7]}`"
    for row in document["table"]:
        if row["bound"]:
            missed = "" if row["holds"] else " **missed**"
            yield row["name"], row["value"], f"{row['bound']}{missed}", source


def recipe_page() -> str:
    """How to write a recipe, with the engine's protocol as it is."""
    header = ("the engine calls", "for")
    others = tables.table(("it hands over", "which is"), interfaces.classes(RECIPE, "Recipe"))
    protocol = tables.table(header, interfaces.methods(RECIPE, "Recipe"))
    return _between(_read(HERE / "write-a-recipe.md"), "interface", f"{protocol}\n\n{others}")


def rule_page() -> str:
    """How to write a rule, with what a detector may listen to."""
    calls = tables.table(("the monitor calls", "for"), interfaces.methods(DETECTOR, "Detector"))
    return _between(_read(HERE / "write-a-rule.md"), "interface", calls)


def trainers() -> str:
    """The page of trainers of others, with those that were run."""
    table = trainers_page.trainers(RESULTS / "trainers.json")
    return _between(_read(HERE / "foreign-trainers.md"), "trainers", table)


def codec() -> str:
    """The page of the codec, with what was trained beside it."""
    measured, page = RESULTS / "codec.json", _read(HERE / "codec.md")
    told = codec_page.codecs(measured) if measured.is_file() else codec_page.UNMEASURED
    page = _between(page, "codecs", told)
    timed = RESULTS / "codec-speed.json"
    said = codec_page.speed(timed) if timed.is_file() else codec_page.UNTIMED
    return _between(page, "speed", said)


def goodput() -> str:
    """The page of goodput and budgets, with what was simulated."""
    page, measured = _read(HERE / "goodput.md"), RESULTS / "goodput.json"
    for name in ("endings", "loops", "ratios"):
        page = _between(page, name, getattr(goodput_page, name)(measured))
    return page


def dashboards() -> str:
    """The page of dashboards, with what each panel shows."""
    return _between(_read(HERE / "dashboards.md"), "dashboards", dashboards_page.dashboards())


@functools.cache
def manifest() -> str:
    """The page of every field of a job."""
    parts = (
        f"## {title}\n\n{tables.table(header, rows)}\n"
        for title, header, rows in manifest_page.tables()
    )
    note = tables.note("the CRD's schema")
    return "\n".join(["# Fields of a job", "", note, "", *manifest_page.SENTENCES, "", *parts])


PAGES = {
    "manifest.md": manifest,
    "write-a-recipe.md": recipe_page,
    "write-a-rule.md": rule_page,
    "rooms.svg": rooms.drawing,
    "exit-codes.md": exit_codes,
    "metrics.md": metric_table,
    "zoo.md": functools.partial(zoo_page.zoo, RESULTS / "health.json", RESULTS / "replay.json"),
    "foreign-trainers.md": trainers,
    "codec.md": codec,
    "dashboards.md": dashboards,
    "goodput.md": goodput,
    "figures.md": figures,
    "verdict.md": verdict,
    README: readme,
}


def stale(folder: Path) -> list[str]:
    """Names of pages that differ from what the contract says."""
    return [name for name, page in PAGES.items() if _read(folder / name) != page()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or with --check only compare; 1 when one is stale."""
    parser = argparse.ArgumentParser(
        description="Generate the pages that are tables of the contract."
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if parser.parse_args(arguments).check:
        names = stale(HERE)
        if names:
            sys.stderr.write(f"stale: {', '.join(names)}; run python docs/generate.py\n")
        return 1 if names else 0
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
    return 0


def _exit_row(row: ExitMeaning) -> tuple[str, ...]:
    code, counted = str(row.code), "yes" if row.counted else "no"
    return code, f"`{row.cause.value}`", row.meaning, NEXT[row.next], counted, row.remedy


def _rule_row(rule: Rule) -> tuple[str, ...]:
    record = rule.record
    page = f"[`{rule.value}`](rules/{rule.value}.md)"
    return page, record.meaning, record.severity.value, record.follows, record.remedy


def _metric_row(metric: Metric) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    unit = " (seconds)" if metric.kind is Kind.HISTOGRAM else ""
    return f"`{metric.name}`", metric.kind.value, labels, f"{metric.help}{unit}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
