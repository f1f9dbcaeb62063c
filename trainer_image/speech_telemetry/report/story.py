"""What one page tells, gathered: by `folder` of a run directory, by `speechtrain report` of a job or a foreign log."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speech_contract.codec import Reading, from_document
from speech_contract.errors import ContractError
from speech_contract.goodput import Goodput
from speech_contract.pictures import Pictures
from speech_contract.result import Result
from speech_contract.scores import ScoreSpec
from speech_telemetry.report.curves import Attempt, Curves
from speech_telemetry.series import Row, as_number

# Name and text, in reading order; an empty name continues the line above.
Lines = Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Medium:
    """A file that the page carries along."""

    name: str
    mime: str
    data: bytes


@dataclasses.dataclass
class Story:
    """`why`: what to say first; empty: the numbers tell it. `sounds`: recordings of one sentence side by side."""

    title: str
    curves: Curves
    why: Lines = ()
    result: Result | None = None
    sounds: list[list[Medium]] = dataclasses.field(default_factory=list)
    pictures: list[Medium] = dataclasses.field(default_factory=list)
    drawn: Pictures = dataclasses.field(default_factory=Pictures)
    # Of the strategic log.
    sections: list[tuple[str, Row]] = dataclasses.field(default_factory=list)
    config: Any = None
    environment: Lines = ()
    goodput: Goodput = dataclasses.field(default_factory=Goodput)
    share: str = "no productive step"  # what is said in the place of a ratio
    counted_by: str = "counted by the run's own rows, without the time between attempts"
    notes: list[str] = dataclasses.field(default_factory=list)


def numbers_of(curves: Curves) -> Row:
    """The newest numbers as status, progress and `why` have them; roll-backs are those of all attempts."""
    found = dict(curves.newest)
    for name in ("rollbacks", "discardedSteps"):
        if any(name in attempt.numbers for attempt in curves.attempts):  # else nobody knows
            found[name] = sum(_count(attempt, name) for attempt in curves.attempts)
    skipped = found.get("samplesSkipped")
    if isinstance(skipped, Mapping):
        found["samplesSkipped"] = sum(n for n in skipped.values() if isinstance(n, int))
    return found


def _count(attempt: Attempt, name: str) -> int:
    value = attempt.numbers.get(name)
    return value if isinstance(value, int) else 0


def prose(curves: Curves) -> Iterator[tuple[str, str]]:
    """What the numbers themselves say, newest attempt last."""
    for attempt in curves.attempts:
        yield f"attempt {attempt.number}", _attempt(attempt)
    if not curves.attempts:
        return
    found = curves.attempts[-1].findings
    active = [f for f in found if f.get("status") != "Healed"]
    for finding in found:
        healed = "healed: " if finding not in active else ""
        yield str(finding.get("rule", "")), f"{healed}{finding.get('evidence', '')}"
    if not found:
        yield (
            "rules",
            "none fired" if len(curves.attempts) == 1 else "none fired in the last attempt",
        )
    remedy = next((str(f["remedy"]) for f in active if f.get("remedy")), "")
    if remedy:
        yield "next", remedy


def _attempt(attempt: Attempt) -> str:
    where = "no step was reported"
    if attempt.last_step is not None:
        where = f"steps {attempt.first_step} to {attempt.last_step}"
    resumed = attempt.numbers.get("resumedFromStep")
    begun = "" if resumed is None else f", resumed from step {resumed}"
    if attempt.exit_code is None and attempt.ended is None:
        return f"{where}{begun}; no end was written: it runs, or it was killed"
    if attempt.exit_code == 0:
        return f"{where}{begun}; ended well"
    why = ": ".join(part for part in (attempt.rule, attempt.message) if part)
    return f"{where}{begun}; ended with exit code {attempt.exit_code}{f', {why}' if why else ''}"


def result_of(story: Story) -> Result | None:
    """The last evaluation: of `result.json`, else as it was reported."""
    if story.result is not None and story.result.scores:
        return story.result
    if not story.curves.evaluations:
        return None
    last = story.curves.evaluations[-1]
    return Result(step=last.step, scores=dict(last.scores), specs=_specs(story.curves.specs))


def _specs(found: Row) -> dict[str, ScoreSpec]:
    specs = {}
    for name, spec in found.items():
        try:
            specs[str(name)] = from_document(ScoreSpec, spec, reading=Reading.SALVAGE)
        except ContractError:
            continue
    return specs


def shown(value: Any) -> str:
    """A number for people: six digits as in status, NaN and Inf by name; anything else as it is."""
    read = as_number(value)
    if read is None or isinstance(value, int):
        return str(value)
    return f"{read:.6g}"
