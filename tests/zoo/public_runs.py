"""Real public training runs: their numbers, rendered in the formats they came in, and judged by `replay`.

public/runs.jsonl.gz holds a run a line: `source` (repository:path on GitHub), what was trained, the format, a label
that was fixed before anything was judged, and number series `name → [[step, value], …]`. No text of the logs: a log as
printed is drawn again as `name: value` lines. A convenience sample; NaN and policy gradients were sought on purpose.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import gzip
import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech_cli.errors import BadData
from speech_cli.recordings import Recording
from speech_contract.progress import Rule, Severity
from speech_health.replay import Replayed, replay

RUNS = Path(__file__).parent / "public" / "runs.jsonl.gz"
PRINTED = {"104": {"loss": "grpo_loss"}}  # what a log called its series, where that matters
HEALTHY, FAULT = "healthy", "fault"
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
        return "overfit" in self.run.note

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
    """All of them, in the order of the file."""
    with gzip.open(RUNS, "rt", encoding="utf-8") as lines:
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
            )


def judge(run: Public, folder: Path) -> Told:
    """Render, read and judge."""
    render = RENDERERS[run.format]
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


RENDERERS: dict[str, Any] = {
    "hf": _state,
    "json-list": _list,
    "jsonl": functools.partial(_json_lines, "jsonl"),
    "mm-json": functools.partial(_json_lines, "json"),
    "csv": _table,
    "lightning-csv": _table,
    "tb": _events,
    "stdout": _printed,
}
