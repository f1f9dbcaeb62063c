"""Real public training runs: their numbers, rendered in the formats they came in, and judged by `replay`.

A file of public/ holds a run a line: `source` (repository:path on GitHub), what was trained, the format, a label that
was fixed before anything was judged, and number series `name → [[step, value], …]`. No text of the logs: a log as
printed is drawn again, in runs.jsonl.gz as `name: value` lines, in the others in the forms that its `lines` give (the
first whose names a row has). Rules and readers were made with the first set, `tuned`, at hand. `fresh` was gathered
later, and `sought` after that: runs that went wrong, most of them as pasted into issues. public/first.json keeps what
was said of both before anything was mended. Convenience samples; NaN and policy gradients were sought on purpose.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import gzip
import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech_cli.errors import BadData
from speech_cli.recordings import Recording
from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_health.replay import Fired, Replayed, replay

PUBLIC = Path(__file__).parent / "public"
SETS = {"tuned": "runs.jsonl.gz", "fresh": "fresh.jsonl.gz", "sought": "sought.jsonl.gz"}
# Set → of its raw files: commit, and run → report of the day it was first judged.
FIRST = PUBLIC / "first.json"
PRINTED = {"104": {"loss": "grpo_loss"}}  # what a log called its series, where that matters
HEALTHY, FAULT = "healthy", "fault"
BEYOND = {  # faults that were missed at first judgement and still are, and why
    "251": "two runs write into one file in turn: of one the part is 0.0000, which a sound run switches off too, of "
    "the other it stands at its clamp for 58 reports; of a printed value 60 are asked",
    "252": "the part is 0.000 from report 48 on, while the whole loss falls: a sound run switches one off just so",
    "411": "a rate printed as 0.00000000 in seven reports, where twenty are asked, and ten decimals",
    "458": "a held-out loss printed as 0.2000 eight times: who repeats a line is taken to repeat a score",
    "463": "a dead GAN in 17 reports, where 20 are asked, and it had moved in seven before",
    "472": "held-out scores between 4 and 58 in 16 evaluations: too noisy for a best one",
    "482": "every number stands to its four decimals for ninety epochs: what has converged looks just so",
}
OVERFIT = {  # beyond what the labels' notes say: seen once held-out losses were read off stdout
    "222": "run 14 of the file: held-out 0.42 → 0.64 while the training loss falls from 0.11 to 0.08",
}
NO_RULE = "(none promised)"  # labelled as a fault that no rule claims to see


@dataclasses.dataclass(frozen=True)
class Public:
    """One run and its label."""

    name: str
    source: str
    format: str
    label: str
    expect: tuple[str, ...]
    note: str
    series: dict[str, list[tuple[float, float]]]
    set: str
    head: str = ""
    lines: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Told:
    """What `replay` said of it. `result` None: not read, for `why`."""

    run: Public
    result: Replayed | None
    why: str = ""

    @property
    def rules(self) -> dict[Rule, Severity]:
        """Rules that spoke louder than an info."""
        found = self.result.findings if self.result is not None else []
        loud = [f for f in found if f.severity is not Severity.INFO]
        critical = {f.rule: f.severity for f in loud if f.severity is Severity.CRITICAL}
        return {**{f.rule: f.severity for f in loud}, **critical}

    @property
    def overfits(self) -> bool:
        """A held-out score did get worse, as the label notes: to warn of it is right."""
        return "overfit" in self.run.note or self.run.name in OVERFIT

    @property
    def critical(self) -> bool:
        """A false stop."""
        return self.run.label == HEALTHY and Severity.CRITICAL in self.rules.values()

    @property
    def warned(self) -> bool:
        """A false warning."""
        false = [
            rule for rule in self.rules if rule is not Rule.GOAL_UNREACHABLE or not self.overfits
        ]
        return self.run.label == HEALTHY and bool(false)

    @property
    def promised(self) -> bool:
        """A fault that some rule claims to see."""
        return self.run.label == FAULT and NO_RULE not in self.run.expect

    @property
    def missed(self) -> bool:
        """A promised fault of which no rule of its label spoke."""
        named = {rule.value for rule in self.rules}
        return self.promised and named.isdisjoint(self.run.expect)


def public_runs() -> Iterator[Public]:
    """All of them, in the order of the files."""
    for name in SETS:
        yield from _read(name)


def _read(name: str) -> Iterator[Public]:
    with gzip.open(PUBLIC / SETS[name], "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            series = {
                name: [(float(step), float(value)) for step, value in points]
                for name, points in entry["series"].items()
            }
            yield Public(
                name=entry["name"],
                source=entry["source"],
                format=entry["format"],
                label=entry["label"],
                expect=tuple(entry["expect"]),
                note=entry["note"],
                series=series,
                set=name,
                head=entry.get("head", ""),
                lines=tuple(entry.get("lines", ())),
            )


def first_judged(name: str) -> Iterator[Told]:
    """A later set on the day it was first judged, before anything was mended: raw files, another build."""
    found = json.loads(FIRST.read_text(encoding="utf-8"))[name]["runs"]
    for run in _read(name):
        yield Told(run, _as_then(found[run.name]), "" if found[run.name]["read"] else "not read")


def _as_then(kept: dict[str, Any]) -> Replayed | None:
    """What is known of it: which rules spoke, and how loud."""
    fired = [
        Fired(Rule(rule), None, FindingStatus.ACTIVE, Severity(severity), "", Action.NONE)
        for rule, severity in kept["rules"].items()
    ]
    return Replayed(0, None, fired, 1) if kept["read"] else None


def judge(run: Public, folder: Path) -> Told:
    """Render, read and judge."""
    render = _as_printed if run.lines else RENDERERS[run.format]
    name, content = render(run)
    path = folder / f"{run.name}-{name}"
    path.write_bytes(content)
    try:
        return Told(run, replay(Recording(path).samples()))
    except BadData as error:
        return Told(run, None, error.message)
    finally:
        path.unlink()


def judge_all(folder: Path) -> list[Told]:
    """Every run of the set."""
    return [judge(run, folder) for run in public_runs()]


# -- formats -------------------------------------------------------------------------------------------------------


def _rows(run: Public) -> list[dict[str, float]]:
    """One row a step, in the order of steps; held-out rows apart, as loggers write them."""
    rows: dict[tuple[float, bool], dict[str, float]] = {}
    for name, points in run.series.items():
        held = name.lower().startswith(("eval", "val", "test", "ptl"))
        for step, value in points:
            rows.setdefault((step, held), {"step": step})[name] = value
    return [row for _, row in sorted(rows.items(), key=lambda item: item[0])]


def _state(run: Public) -> tuple[str, bytes]:
    return "trainer_state.json", json.dumps({"log_history": _rows(run)}).encode()


def _list(run: Public) -> tuple[str, bytes]:
    return "history.json", json.dumps(_rows(run)).encode()


def _json_lines(suffix: str, run: Public) -> tuple[str, bytes]:
    return f"metrics.{suffix}", "".join(f"{json.dumps(row)}\n" for row in _rows(run)).encode()


def _table(run: Public) -> tuple[str, bytes]:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *run.series], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(run))
    return "metrics.csv", text.getvalue().encode()


def _printed(run: Public) -> tuple[str, bytes]:
    """A report a line, a step apart: `step 3 | loss: 0.5 | grad_norm: 1.2`."""
    called = {"norm": "grad_norm", **PRINTED.get(run.name, {})}
    lines = (
        f"step {int(row.pop('step'))} | "
        + " | ".join(f"{called.get(n, n)}: {v}" for n, v in row.items())
        for row in _rows(run)
    )
    return "train.log", "\n".join(lines).encode()


_SLOT = re.compile(r"\{([^{}\":,]+)(?::([^{}\"]+))?\}")
SUFFIXES = {"csv": "csv", "lightning-csv": "csv", "mm-json": "json"}


def _as_printed(run: Public) -> tuple[str, bytes]:
    """In the trainer's own form: of each row the first of its forms whose names are there."""
    rows: dict[float, dict[str, float]] = {}
    for name, points in run.series.items():
        for step, value in points:
            rows.setdefault(step, {})[name] = value
    text = [_line(run, rows[at]) for at in sorted(rows)]
    body = "\n".join([run.head, *text] if run.head else text)
    return f"train.{SUFFIXES.get(run.format, 'log')}", body.encode()


def _line(run: Public, row: dict[str, float]) -> str:
    """A table has empty cells; any other line says all that its form has a place for."""
    forms = run.lines[:1] if run.head else run.lines
    form = next(f for f in forms if run.head or {n for n, _ in _SLOT.findall(f)} <= set(row))
    return _SLOT.sub(lambda slot: _cell(row.get(slot[1]), slot[2] or ""), form)


def _cell(value: float | None, spec: str) -> str:
    if value is None:
        return ""
    return format(value, spec) if spec else f"{value:.12g}"


def _events(run: Public) -> tuple[str, bytes]:
    records = (
        _event(int(step), name, value)
        for name, points in run.series.items()
        for step, value in points
    )
    return "events.out.tfevents.1.host", b"".join(records)


def _varint(value: int) -> bytes:
    head, value = value & 0x7F, value >> 7
    return bytes([head | 0x80]) + _varint(value) if value else bytes([head])


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _event(step: int, tag: str, value: float) -> bytes:
    scalar = _field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
    body = b"\x09" + struct.pack("<d", 1.0) + b"\x10" + _varint(step) + _field(5, _field(1, scalar))
    return struct.pack("<Q", len(body)) + bytes(4) + body + bytes(4)


def _history(run: Public) -> tuple[str, bytes]:
    lists = {name: [value for _, value in points] for name, points in run.series.items()}
    return "history.json", json.dumps(lists).encode()


RENDERERS: dict[str, Any] = {
    "keras": _history,
    "hf": _state,
    "json-list": _list,
    "jsonl": functools.partial(_json_lines, "jsonl"),
    "mm-json": functools.partial(_json_lines, "json"),
    "csv": _table,
    "lightning-csv": _table,
    "tb": _events,
    "stdout": _printed,
}
