"""What the rules say of a run, and the row of a rank that they look at: findings, and the one word of them all.

Made by speech_health; part of `progress`, and of a replayed log's answer.
"""

from __future__ import annotations

import enum

from speech_contract.phases import Phase
from speech_contract.rules import Rule, Severity
from speech_contract.values import Value, frozen


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


@frozen
class Finding(Value):
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


@frozen
class RankRow(Value):
    """One rank as its supervisor sees it. `phase_age` in seconds."""

    rank: int
    node_rank: int
    step: int | None = None
    phase: Phase = Phase.STARTING
    phase_age: float = 0.0
    registered: bool = False  # it called the reporter at least once
    exit_code: int | None = None


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
