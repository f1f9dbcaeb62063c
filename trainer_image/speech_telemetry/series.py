"""The numbers of an attempt as they came, one JSON object a line: `logs/attempt-N/series.jsonl`. Kept by `judge`.

    {"opens": {"attempt": 2, "job": "voice", "recipe": "vits", …}, "time": 1764345600.1}
    {"step": 12, "time": …, "losses": {"total": 3.2, …}, "gradientNorm": 1.2, "learningRate": 0.0002, …}
    {"step": 12, "time": …, "finding": {"rule": "LossSpike", …}}
    {"ends": {"exitCode": 0, …}, "progress": {…}, "time": …}

Fields of a row are those of `speech_contract.report.Report`, as they travel; `skipped` is the sum over all ranks. The
supervisor writes, not the ranks: it hears our engine, a script's reporter and what was read off stdout alike, it
outlives them, and a step pays nothing. Steps that a roll-back left stay; a reader knows them by the step that goes
back.

Bounded: a file that reaches LIMIT_BYTES is rewritten to half of that, keeping of each piece of steps what a curve
may not lose (`extremes`). Pieces are equally wide over the whole run, so no part of it is thinned more than another. A
kill leaves at most a cut last line; who writes next begins a new one.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from speech_contract import codec
from speech_contract.codec import camel
from speech_contract.findings import Finding
from speech_contract.phases import Phase
from speech_contract.progress import Progress
from speech_health.samples import StepSample
from speech_telemetry.extremes import telling
from speech_telemetry.files import replace_text

LIMIT_BYTES: Final = 8 * 1024 * 1024  # of one attempt
QUIET_SECONDS: Final = 1.0  # reports without a loss make a row no more often
FIRST_PIECE: Final = 32  # steps
WIDEST_PIECE: Final = 2**40
VALUES: Final = ("losses", "gradient_norm", "learning_rate", "planned_rate")
COUNTERS: Final = (
    "updates", "non_finite_steps", "rollbacks", "samples_total", "audio_seconds_total", "tokens_total",
    "data_wait_seconds", "last_checkpoint_step", "last_confirmed_step", "resumed_from_step",
)  # fmt: skip
_VALUES: Final = tuple((name, camel(name)) for name in VALUES)
_COUNTERS: Final = tuple((name, camel(name)) for name in COUNTERS)
_EVENTFUL: Final = frozenset(
    ("nonFiniteSteps", "rollbacks", "lastCheckpointStep", "resumedFromStep", "evaluation")
)
_KINDS: Final = (
    "opens", "ends", "finding", "evaluation", "badStep", "message", "lastCheckpointStep", "resumedFromStep",
)  # fmt: skip
Row = dict[str, Any]


class Sampler:
    """Which reports of a rank become rows, and what of them: values as reported, counters when they change."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}
        self._steps, self._seconds, self._slowest = 0, 0.0, 0.0
        self._written = -math.inf

    def take(self, sample: StepSample, skipped: int | None = None) -> Row | None:
        """A row, or None where the report has nothing that a curve shows. `skipped`: samples so far, of all ranks."""
        if sample.step == 0 and sample.phase is not Phase.TRAINING:
            return None  # before the first step, and before an older attempt's step is taken up
        self._fold(sample)
        found = ((name, getattr(sample, field)) for field, name in _VALUES)
        row = {name: _rounded(value) for name, value in found if value is not None}
        if books := _perplexities(sample):
            row["codebooks"] = books
        changed = self._changes(sample, skipped)
        quiet = not row and _EVENTFUL.isdisjoint(changed)
        if quiet and sample.now - self._written < QUIET_SECONDS:
            return None
        self._told |= changed
        self._written = sample.now
        head: Row = {"step": sample.step, "time": round(sample.time, 3)}
        rounded = {name: _rounded(value) for name, value in changed.items()}
        return head | row | self._unfolded() | rounded | self._notes(sample, changed)

    def _fold(self, sample: StepSample) -> None:
        if sample.step_seconds is not None:
            self._steps += 1
            self._seconds += sample.step_seconds
            self._slowest = max(self._slowest, sample.step_seconds)

    def _unfolded(self) -> Row:
        """Of the steps since the last row: their mean time, and the longest."""
        if not self._steps:
            return {}
        row = {"stepSeconds": round(self._seconds / self._steps, 6)}
        if self._steps > 1:
            row["slowestSeconds"] = round(self._slowest, 6)
        self._steps, self._seconds, self._slowest = 0, 0.0, 0.0
        return row

    def _changes(self, sample: StepSample, skipped: int | None) -> Row:
        found = {name: getattr(sample, field) for field, name in _COUNTERS}
        found["skipped"] = skipped
        if sample.evaluation is not None:
            found["evaluation"] = codec.to_document(sample.evaluation)  # NaN as text equals itself
        told = self._told
        new = {n: v for n, v in found.items() if v is not None and v != told.get(n)}
        if sample.evaluated and sample.evaluation is not None:
            new["evaluation"] = found["evaluation"]
        return new

    def _notes(self, sample: StepSample, changed: Mapping[str, Any]) -> Row:
        """What belongs to a change: where a step was bad, why it was rolled back, how to read scores."""
        notes: Row = {}
        if changed.get("nonFiniteSteps"):
            bad = sample.step if sample.bad_step is None else sample.bad_step
            notes |= {"badStep": bad, "badComponent": sample.bad_component}
            notes["badModule"] = sample.bad_module
        if changed.get("rollbacks") and sample.message:
            notes["message"] = sample.message
        if "evaluation" in changed and sample.score_specs:
            notes["scoreSpecs"] = sample.score_specs
        return notes


class Series:
    """The rows of one attempt on their way to its file; `wall` in epoch seconds. `evaluations`: how many came."""

    def __init__(self, file: SeriesFile, wall: Callable[[], float]) -> None:
        self._file, self._wall = file, wall
        self._sampler = Sampler()
        self._waiting: list[Mapping[str, Any]] = []
        self.steps = self.evaluations = 0

    def opens(self, facts: Mapping[str, Any]) -> None:
        """The ranks start."""
        self._add({"opens": facts})

    def take(self, sample: StepSample, skipped: int | None) -> None:
        """One report of the rank that speaks for the job."""
        row = self._sampler.take(sample, skipped)
        if row is not None:
            self.steps += 1
            self.evaluations += "evaluation" in row
            self._waiting.append(row)

    def finding(self, finding: Finding) -> None:
        """A finding that is new, healed or acted upon."""
        step = {} if finding.step is None else {"step": finding.step}
        self._add(step | {"finding": finding})

    def ends(self, facts: Mapping[str, Any], progress: Progress) -> None:
        """How the attempt ended, and the last numbers as everybody else reads them."""
        self._add({"ends": facts, "progress": dataclasses.replace(progress, ranks=[])})

    def flush(self) -> None:
        """Write what came since."""
        waiting, self._waiting = self._waiting, []
        self._file.write(waiting)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _add(self, row: Row) -> None:
        self._waiting.append(row | {"time": round(self._wall(), 3)})


class SeriesFile:
    """Appends rows. A disk that is full costs rows, told once; never the run."""

    def __init__(self, path: Path, tell: Callable[[str], object], limit: int = LIMIT_BYTES) -> None:
        self._path, self._tell, self._limit = path, tell, limit
        self._file: BinaryIO | None = None
        # Steps, bytes a step, step.
        self._piece, self._density, self._farthest = FIRST_PIECE, 0.0, 0
        self._failed = False
        self.rows = 0

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append, in one write."""
        lines = []
        for row in rows:
            lines.append(codec.dumps(row) + "\n")
            self._farthest = max(self._farthest, row.get("step", 0))
        if not lines:
            return
        try:
            file = self._file or self._open()
            # A script's names may hold anything.
            file.write("".join(lines).encode(errors="replace"))
            self.rows += len(lines)
            if file.tell() > self._limit:
                self._thin()
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._file = open(self._path, "a+b", buffering=0)
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
        return file

    def _thin(self) -> None:
        """Rewrite to half of the limit, with pieces as wide as that takes."""
        self.close()
        half = self._limit // 2
        while self._density * self._farthest > half and self._piece < WIDEST_PIECE:
            self._piece, self._density = 2 * self._piece, self._density / 2
        text = self._thinned()
        while len(text) > half and self._piece < WIDEST_PIECE:
            self._piece *= 2
            text = self._thinned()
        self._density = len(text) / max(1, self._farthest)
        replace_text(self._path, text)
        self._open()

    def _thinned(self) -> str:
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            return "".join(kept(lines, self._piece))

    def _fail(self, error: OSError) -> None:
        if not self._failed:
            self._failed = True
            self._tell(f"{self._path}: {error.strerror or error}; the report lacks steps from here")


def kept(lines: Iterable[str], piece: int) -> Iterator[str]:
    """Lines of a file without those that no curve needs, `piece` steps at a time. A cut line is left out."""
    found = ((line, row) for line in lines if (row := read_row(line)) is not None)
    for _, group in itertools.groupby(found, key=lambda pair: pair[1].get("step", 0) // piece):
        yield from _kept_of(list(group))


def _kept_of(group: list[tuple[str, Row]]) -> Iterator[str]:
    columns: dict[str, list[tuple[int, float]]] = {}
    kinds: dict[str, list[int]] = {}
    for place, (_, row) in enumerate(group):
        for name, value in numbers(row):
            columns.setdefault(name, []).append((place, value))
        for kind in _kinds(row):
            kinds.setdefault(kind, []).append(place)
    places = {0, len(group) - 1} | {p for found in kinds.values() for p in (found[0], found[-1])}
    for column in columns.values():
        places |= telling(column)
    return (group[place][0] for place in sorted(places))


def _kinds(row: Mapping[str, Any]) -> Iterator[str]:
    """What of a row is no number; of findings each rule by itself."""
    for name in _KINDS:
        if name in row:
            finding = row[name] if name == "finding" else None
            yield f"{name} {finding.get('rule')}" if isinstance(finding, dict) else name


def read_row(line: str) -> Row | None:
    """One line; None for what a crash cut off and for anything that is no row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = row.get("step", 0) if isinstance(row, dict) else None
    return row if isinstance(step, int) else None


def numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The values of a row that are drawn: losses as `losses/NAME`, perplexities as `codebooks/NAME`."""
    losses, books = row.get("losses"), row.get("codebooks")
    pairs = [(f"losses/{n}", v) for n, v in losses.items()] if isinstance(losses, dict) else []
    if isinstance(books, dict):
        pairs += [
            (f"codebooks/{n}", b.get("perplexity")) for n, b in books.items() if isinstance(b, dict)
        ]
    pairs += [(name, row[name]) for name in DRAWN if name in row]
    for name, value in pairs:
        read = as_number(value)
        if read is not None:
            yield name, read


DRAWN: Final = (
    "gradientNorm", "learningRate", "plannedRate", "stepSeconds", "slowestSeconds", "nonFiniteSteps", "skipped",
)  # fmt: skip


def as_number(value: Any) -> float | None:
    """A number, or NaN and Inf as the strings that they travel as; None for anything else."""
    if type(value) is float:  # nearly always
        return value
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def _rounded(value: Any) -> Any:
    """Nine digits: as many as a 32-bit float has, and three more than status shows."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return value


def _perplexities(sample: StepSample) -> dict[str, Row]:
    books = sample.codebooks
    if not books:
        return {}
    return {
        n: {"perplexity": _rounded(b.perplexity)}
        for n, b in books.items()
        if b.perplexity is not None
    }
