"""The progress document: what the master's supervisor answers on `/progress`, and its findings.

Written by speech_telemetry, read by the operator (into status) and by the CLI.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from speech_contract.phases import Phase
from speech_contract.preflight import PreflightReport
from speech_contract.rules import Rule as Rule  # passed on: part of every finding
from speech_contract.rules import Severity as Severity
from speech_contract.wire import BadStep, Codebook, Memory, Reads, Weights


class Verdict(str, enum.Enum):
    """The health of a run in one word."""

    UNKNOWN = "Unknown"
    HEALTHY = "Healthy"
    WARNING = "Warning"
    CRITICAL = "Critical"


class FindingStatus(str, enum.Enum):
    """Whether the fault is still there."""

    ACTIVE = "Active"
    HEALED = "Healed"


class Action(str, enum.Enum):
    """What was done about a finding. `Would…` = health.mode Notify."""

    NONE = "None"
    WARNED = "Warned"
    GATED = "Gated"
    ROLLED_BACK = "RolledBack"
    RESTARTED = "Restarted"
    STOPPED = "Stopped"
    WOULD_ROLL_BACK = "WouldHaveRolledBack"
    WOULD_RESTART = "WouldHaveRestarted"
    WOULD_STOP = "WouldHaveStopped"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One named fault with its evidence. `since` is seconds since the epoch."""

    rule: Rule
    status: FindingStatus
    severity: Severity
    evidence: str  # a sentence with the numbers that convinced us
    action: Action = Action.NONE
    remedy: str = ""
    step: int | None = None
    rank: int | None = None
    since: float = 0.0


@dataclasses.dataclass(frozen=True)
class RankRow:
    """One rank as its supervisor sees it. `phase_age` in seconds."""

    rank: int
    node_rank: int
    step: int | None = None
    phase: Phase = Phase.STARTING
    phase_age: float = 0.0
    registered: bool = False  # it called the reporter at least once
    exit_code: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Account:
    """What is known of an attempt: the running master answers it, and its last record keeps it."""

    step: int | None = None  # newest
    loss: float | None = None  # the headline
    gradient_norm: float | None = None
    non_finite_steps: int | None = None
    first_bad: BadStep | None = None
    rollbacks: int = 0  # of this attempt
    discarded_steps: int = 0  # trained and then left behind by roll-backs or by exit code 40
    resumed_from_step: int | None = None
    resume_note: str = ""  # from whose step it goes on, and which settings changed since
    last_checkpoint_step: int | None = None
    last_confirmed_step: int | None = None
    findings: list[Finding] = dataclasses.field(default_factory=list)
    preflight: PreflightReport | None = None
    reads: Reads | None = None  # None: no number came yet

    @property
    def account(self) -> dict[str, Any]:
        """These fields alone, for another record of the same attempt."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(Account)}


@dataclasses.dataclass(frozen=True)
class Progress(Account):
    """The answer of `/progress`. `version` = `<attempt>.<n>`; n grows with every change worth a look.

    `losses` holds last reported values per component and may hold NaN (a string in JSON).
    """

    version: str
    attempt: int
    phase: Phase = Phase.STARTING
    phase_since: float = 0.0  # epoch seconds
    done: bool = False
    running: bool = False  # every rank reported a step, or stdout showed one
    source: str = ""  # Reporter | Stdout | "" (nothing yet)
    total_steps: int | None = None
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    learning_rate: float | None = None
    audio_seconds_per_second: float | None = None
    step_seconds: float | None = None
    data_wait_ratio: float | None = None
    eta_seconds: float | None = None
    samples_skipped: dict[str, int] = dataclasses.field(default_factory=dict)
    updates: int = 0
    evaluation: dict[str, float] = dataclasses.field(default_factory=dict)
    device: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    ranks: list[RankRow] = dataclasses.field(default_factory=list)
    updated_at: float = 0.0  # epoch seconds of the newest sample
    weights: Weights | None = None  # the newest two checkpoints, compared
    codebooks: dict[str, Codebook] = dataclasses.field(default_factory=dict)
    memory: dict[str, Memory] = dataclasses.field(default_factory=dict)  # by node rank


SEVERITY_ORDER = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def verdict_of(findings: list[Finding], *, sampled: bool) -> Verdict:
    """Join findings into one word. Without a sample there is no Healthy; telemetry rules read Unknown."""
    active = [f for f in findings if f.status is FindingStatus.ACTIVE]
    if any(f.severity is Severity.CRITICAL for f in active):
        return Verdict.CRITICAL
    if not sampled or any(f.rule.record.blind for f in active):
        return Verdict.UNKNOWN
    if any(f.severity is Severity.WARNING for f in active):
        return Verdict.WARNING
    return Verdict.HEALTHY
