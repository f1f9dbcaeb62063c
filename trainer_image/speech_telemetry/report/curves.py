"""The rows of a run joined: columns over steps, attempts, what happened, and the newest numbers. Pure.

Fed row by row (`speech_telemetry.series`) by `folder`, and by `speechtrain report` with those of a foreign log.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final

from speech_telemetry.series import Row, as_number, numbers

RATES: Final = {
    "audioSecondsTotal": "rate/audio", "samplesTotal": "rate/samples", "tokensTotal": "rate/tokens",
}  # fmt: skip
WAIT: Final = "dataWaitSeconds"
_OF_ROWS: Final = (
    "step", "losses", "gradientNorm", "learningRate", "updates", "nonFiniteSteps", "rollbacks", "lastCheckpointStep",
    "lastConfirmedStep", "resumedFromStep", "evaluation",
)  # fmt: skip
_OF_PROGRESS: Final = (
    "step", "totalSteps", "loss", "losses", "gradientNorm", "learningRate", "updates", "nonFiniteSteps", "firstBad",
    "rollbacks", "discardedSteps", "resumedFromStep", "lastCheckpointStep", "lastConfirmedStep", "samplesSkipped",
    "evaluation", "device", "verdict", "reads",
)  # fmt: skip


_SHOWN: Final = frozenset((*_OF_ROWS, *_OF_PROGRESS))


@dataclasses.dataclass
class Column:
    """One number over the rows that have it."""

    rows: list[int] = dataclasses.field(default_factory=list)
    values: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Attempt:
    """One start of the ranks. `numbers`: fields of a progress document as it was at the end, or of the last rows."""

    number: int
    opened: float | None = None  # epoch seconds
    ended: float | None = None
    first_step: int | None = None
    last_step: int | None = None
    exit_code: int | None = None
    rule: str = ""
    message: str = ""
    opening: Row = dataclasses.field(default_factory=dict)
    numbers: Row = dataclasses.field(default_factory=dict)
    saving: float = 0.0  # seconds that went into checkpoints, as far as the attempt said
    # The last state of each, worst last.
    findings: list[Row] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Mark:
    """Something that happened at a step. `level`: a severity, or "" where nothing is wrong."""

    kind: str
    step: int
    attempt: int
    text: str
    level: str = ""
    time: float | None = None


@dataclasses.dataclass(frozen=True)
class Scores:
    """One evaluation."""

    step: int
    scores: dict[str, float]


class Curves:
    """Everything that the rows said. After the last one call `settle`."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.columns: dict[str, Column] = {}
        self.attempts: list[Attempt] = []
        self.marks: list[Mark] = []
        self.evaluations: list[Scores] = []
        self.specs: Row = {}  # how to read scores, by name
        self.left: list[
            bool
        ] = []  # of each row: a roll-back or a later attempt went back before it
        self._before: Row = {}  # the newest counters, and when they came
        self.of_attempt: list[int] = []  # of each row

    def take(self, row: Mapping[str, Any], attempt: int) -> None:
        """One row of the file of `attempt`."""
        if not self.attempts or self.attempts[-1].number != attempt:
            self.attempts.append(Attempt(attempt))
            self._before = {}
        current = self.attempts[-1]
        if "opens" in row:
            self._open(current, row)
        elif "ends" in row:
            self._end(current, row)
        elif "finding" in row:
            self._find(current, row)
        elif "step" in row:
            self._sample(current, row)

    def settle(self) -> None:
        """Know which rows were left: those behind the step at which a later one began again."""
        lowest, of_attempt = math.inf, 0
        left = []
        for step, attempt in zip(reversed(self.steps), reversed(self.of_attempt), strict=True):
            left.append(step > lowest or (step == lowest and attempt != of_attempt))
            if step < lowest:
                lowest, of_attempt = step, attempt
        self.left = left[::-1]
        self.evaluations = _surviving(self.evaluations)
        for one in self.attempts:
            one.numbers = {name: value for name, value in one.numbers.items() if name in _SHOWN}

    @property
    def newest(self) -> Row:
        """The numbers of the last attempt; empty before a row came."""
        return self.attempts[-1].numbers if self.attempts else {}

    def _open(self, attempt: Attempt, row: Mapping[str, Any]) -> None:
        opening = row["opens"]
        attempt.opening = dict(opening) if isinstance(opening, Mapping) else {}
        attempt.opened = as_number(row.get("time"))
        attempt.ended = attempt.exit_code = None  # a run by hand may repeat its number
        attempt.rule = attempt.message = ""
        attempt.findings, attempt.numbers = [], {}

    def _end(self, attempt: Attempt, row: Mapping[str, Any]) -> None:
        facts, progress = row["ends"], row.get("progress")
        attempt.ended = as_number(row.get("time"))
        if isinstance(facts, Mapping):
            code = facts.get("exitCode")
            attempt.exit_code = code if isinstance(code, int) else None
            attempt.rule, attempt.message = (
                str(facts.get("rule") or ""),
                str(facts.get("message") or ""),
            )
        if isinstance(progress, Mapping):
            attempt.numbers = {n: progress[n] for n in _OF_PROGRESS if n in progress}
            attempt.saving = as_number(progress.get("checkpointSeconds")) or 0.0
            found = progress.get("findings")
            attempt.findings = [dict(f) for f in found or () if isinstance(f, Mapping)]

    def _find(self, attempt: Attempt, row: Mapping[str, Any]) -> None:
        finding = row["finding"]
        if not isinstance(finding, Mapping):
            return
        others = [f for f in attempt.findings if f.get("rule") != finding.get("rule")]
        attempt.findings = [*others, dict(finding)]
        healed = finding.get("status") == "Healed"
        step = attempt.last_step if healed or not isinstance(row.get("step"), int) else row["step"]
        said = f"{finding.get('rule')}{' healed' if healed else ''}: {finding.get('evidence', '')}"
        level = "Healed" if healed else str(finding.get("severity") or "").capitalize()
        self._mark("finding", step or 0, attempt, said, row, level)

    def _sample(self, attempt: Attempt, row: Mapping[str, Any]) -> None:
        step, time = int(row["step"]), as_number(row.get("time")) or 0.0
        place = len(self.steps)
        self.steps.append(step)
        self.times.append(time)
        self.of_attempt.append(attempt.number)
        for name, value in numbers(row):
            column = self.columns.setdefault(name, Column())
            column.rows.append(place)
            column.values.append(value)
        self._speeds(row, time, place)
        if attempt.first_step is None:
            attempt.first_step = step
        attempt.last_step = step
        self._happenings(attempt, row, step)
        attempt.numbers.update(row)  # `settle` leaves what is shown

    def _speeds(self, row: Mapping[str, Any], time: float, place: int) -> None:
        """What a second brought, and what share of it was waiting, since the row before."""
        for name in (*RATES, WAIT):
            value = as_number(row.get(name))
            if value is None:
                continue
            then = self._before.get(name)
            self._before[name] = (value, time)
            if then is None or time <= then[1] or value < then[0]:
                continue
            speed = (value - then[0]) / (time - then[1])
            column = self.columns.setdefault(RATES.get(name, "wait"), Column())
            column.rows.append(place)
            column.values.append(min(1.0, speed) if name == WAIT else speed)

    def _happenings(self, attempt: Attempt, row: Mapping[str, Any], step: int) -> None:
        if "badStep" in row and isinstance(row["badStep"], int):
            parts = [row.get("badComponent") and f"loss {row['badComponent']}",
                     row.get("badModule") and f"module {row['badModule']}"]  # fmt: skip
            said = ", ".join(str(part) for part in parts if part)
            text = f"step not finite{f': {said}' if said else ''}"
            self._mark("non-finite", row["badStep"], attempt, text, row, "Bad")
        if row.get("rollbacks"):
            text = str(row.get("message") or f"roll-back {row['rollbacks']} of this attempt")
            self._mark("roll-back", step, attempt, text, row, "Warning")
        saved = row.get("lastCheckpointStep")
        if isinstance(saved, int) and saved > _before(attempt, row):
            self._mark("checkpoint", saved, attempt, "checkpoint", row)
        if isinstance(row.get("evaluation"), Mapping):
            self._evaluate(attempt, row, step)

    def _evaluate(self, attempt: Attempt, row: Mapping[str, Any], step: int) -> None:
        read = ((str(name), as_number(value)) for name, value in row["evaluation"].items())
        scores = {name: value for name, value in read if value is not None}
        self.evaluations.append(Scores(step, scores))
        if isinstance(row.get("scoreSpecs"), Mapping):
            self.specs |= dict(row["scoreSpecs"])
        self._mark("evaluation", step, attempt, "evaluation", row)

    def _mark(
        self,
        kind: str,
        step: int,
        attempt: Attempt,
        text: str,
        row: Mapping[str, Any],
        level: str = "",
    ) -> None:
        time = as_number(row.get("time")) or None
        self.marks.append(Mark(kind, step, attempt.number, text, level, time))


def _before(attempt: Attempt, row: Mapping[str, Any]) -> int:
    """The checkpoint that was there: a roll-back to it, or a resume from it, saves none."""
    told = attempt.numbers | {name: row[name] for name in ("resumedFromStep",) if name in row}
    known = (told.get("lastCheckpointStep"), told.get("resumedFromStep"))
    return next((step for step in known if isinstance(step, int)), -1)


def _surviving(found: list[Scores]) -> list[Scores]:
    """Evaluations that no roll-back took back: one of an earlier step, or of the same, undoes those before it."""
    kept: list[Scores] = []
    for one in reversed(found):
        if not kept or one.step < kept[-1].step:
            kept.append(one)
    return kept[::-1]
