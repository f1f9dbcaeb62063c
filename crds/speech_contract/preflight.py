"""What is checked before the first step, and what it came to: `spec.health.preflight` and its result.

The trainer checks (`speech_trainer.preflight`), rank 0 reports the result to the supervisor, and it goes the
way of everything else: `/progress`, status, log, CLI. `preflight.json` in the run directory holds it whole.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Final

from speech_contract.values import Value, frozen


class Check(str, enum.Enum):
    """Names of the checks; the same words in status, log, CLI and docs. In the order they are made."""

    RUN_DIRECTORY = "RunDirectory"  # writable, with room for the checkpoints
    EFFECTIVE_CONFIG = "EffectiveConfig"  # what trains is what was asked for
    LEARNING_RATE = "LearningRate"  # the planned curve can move weights
    DATA = "Data"  # durations, silence, duplicates, overlap with the held-out set
    RANKS = "Ranks"  # all ranks agree, and reduce at one pace
    PARAMETERS = "Parameters"  # every parameter trains, in one optimizer, in float32
    INPUTS = "Inputs"  # every modality is there, and varies
    INITIAL_LOSS = "InitialLoss"  # each component lies where its formula puts it
    COMPONENTS = "Components"  # and says something else for another batch
    GRADIENTS = "Gradients"  # every trainable module gets a finite, non-zero gradient
    WEIGHTS = "Weights"  # and is moved by its optimizer
    LOSS_FALLS = "LossFalls"  # when one batch is repeated
    CODEBOOKS = "Codebooks"  # start, move, revive, agree over ranks, and are what is decoded
    MEMORY = "Memory"  # head-room after the trial steps, and nothing that grows
    TIME = "Time"  # within health.preflight.timeoutSeconds


class Mark(str, enum.Enum):
    """What a check came to. Warned never stops a run; Skipped says why in `measured`."""

    PASSED = "Passed"
    WARNED = "Warned"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class PreflightVerdict(str, enum.Enum):
    """The whole preflight in one word. `WouldHaveFailed` = mode Notify."""

    PASSED = "Passed"
    FAILED = "Failed"
    WOULD_HAVE_FAILED = "WouldHaveFailed"


class Scope(str, enum.Enum):
    """Cheap leaves the trial steps out: an attempt that resumes has trained already."""

    FULL = "Full"
    CHEAP = "Cheap"


@frozen
class CheckResult(Value):
    """One row of the table. `field`: what to look at, as the user wrote it where there is a field."""

    check: Check
    mark: Mark
    field: str
    measured: str
    expected: str
    remedy: str = ""
    rank: int | None = None

    @property
    def sentence(self) -> str:
        """Field, value, rule, remedy."""
        where = f"rank {self.rank}: " if self.rank is not None else ""
        text = f"{self.check.value}: {where}{self.field}: {self.measured}, expected {self.expected}"
        return f"{text}; {self.remedy}" if self.remedy else text


@frozen
class PreflightReport(Value):
    """The result: every row in `preflight.json`, the first failed ones in datagrams and status."""

    verdict: PreflightVerdict
    seconds: float
    scope: Scope = Scope.FULL
    checks: int = 0  # rows of the whole table
    warnings: int = 0
    results: tuple[CheckResult, ...] = ()

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Rows that stop the run, or would."""
        return tuple(row for row in self.results if row.mark is Mark.FAILED)


MAX_FAILED: Final = 4  # rows that travel; the file holds all
MAX_TEXT: Final = 160  # characters of each text that travels: four rows of four fit a datagram


def bounded(report: PreflightReport) -> PreflightReport:
    """The report with its first failed rows alone, small enough for a datagram."""
    rows = tuple(_short(row) for row in report.failed[:MAX_FAILED])
    return dataclasses.replace(report, results=rows)


def _short(row: CheckResult) -> CheckResult:
    cut = {
        name: getattr(row, name)[:MAX_TEXT] for name in ("field", "measured", "expected", "remedy")
    }
    return dataclasses.replace(row, **cut)


def summary(failed: Sequence[CheckResult]) -> str:
    """The first failed row as a sentence, and the names of the other checks."""
    others = dict.fromkeys(row.check.value for row in failed if row.check is not failed[0].check)
    more = f" (also failed: {', '.join(others)})" if others else ""
    return failed[0].sentence + more
