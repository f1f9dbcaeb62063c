"""`status` of a SpeechTrainingJob. Computed and written by the operator's status code, read by people and tools.

Plain frozen dataclasses: pure code replaces fields of them, `codec.to_document` writes them. A number
that can be NaN is a string here, because the API server refuses a bare NaN. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from speech_contract.codec import camel
from speech_contract.errors import ContractError
from speech_contract.phases import Phase
from speech_contract.preflight import Check, PreflightVerdict, Scope
from speech_contract.progress import Action, FindingStatus, Rule, Severity, Verdict
from speech_contract.reasons import Condition as ConditionType
from speech_contract.reasons import State

# Fields that a newer operator wrote are ignored: an old one must be able to take over.
READ: dict[str, Any] = {"alias_generator": camel, "extra": "ignore", "populate_by_name": True}
MAX_ATTEMPTS: Final = 10  # the newest, for people; the budgets live in `restarts`
MAX_FINDINGS: Final = 64
MAX_EXCLUDED: Final = 2  # a fault that moves from node to node is no node's


class ConditionStatus(str, enum.Enum):
    """metav1.ConditionStatus."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclasses.dataclass(frozen=True)
class Condition:
    """metav1.Condition. `last_transition_time` changes only when `status` flips."""

    __pydantic_config__ = READ
    type: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    last_transition_time: str
    observed_generation: int | None = None


@dataclasses.dataclass(frozen=True)
class CauseCount:
    """How often one cause ended an attempt."""

    __pydantic_config__ = READ
    fingerprint: str
    count: int


@dataclasses.dataclass(frozen=True)
class Restarts:
    """All that the restart budgets need."""

    __pydantic_config__ = READ
    counted: int = 0
    causes: tuple[CauseCount, ...] = ()


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One gang of pods, from its first pod to its last."""

    __pydantic_config__ = READ
    number: int
    start_time: str | None = None
    end_time: str | None = None
    reason: str | None = None
    cause: str | None = None
    pod: str | None = None
    rank: int | None = None
    node: str | None = None
    exit_code: int | None = None
    last_step: int | None = None
    resumed_from_step: int | None = None
    rollbacks: int | None = None
    discarded_steps: int | None = None
    first_bad_step: int | None = None
    resume_note: str | None = None


@dataclasses.dataclass(frozen=True)
class Replicas:
    """Pods of the current attempt."""

    __pydantic_config__ = READ
    desired: int = 0
    ready: int = 0
    succeeded: int = 0
    failed: int = 0


@dataclasses.dataclass(frozen=True)
class Startup:
    """Where an attempt is before its first step."""

    __pydantic_config__ = READ
    phase: Phase
    since: str


@dataclasses.dataclass(frozen=True)
class JobProgress:
    """The newest numbers of the run. `rollbacks` and `discarded_steps` are sums over all attempts."""

    __pydantic_config__ = READ
    step: int | None = None
    total_steps: int | None = None
    percent: int | None = None
    loss: str | None = None
    gradient_norm: str | None = None
    learning_rate: str | None = None
    audio_seconds_per_second: str | None = None
    eta_seconds: int | None = None
    samples_skipped: int | None = None
    non_finite_steps: int | None = None
    last_checkpoint_step: int | None = None
    last_confirmed_checkpoint_step: int | None = None
    updated_at: str | None = None
    rollbacks: int | None = None
    discarded_steps: int | None = None


@dataclasses.dataclass(frozen=True)
class JobFinding:
    """One named fault with its evidence, what was done, and what a person can do."""

    __pydantic_config__ = READ
    rule: Rule
    status: FindingStatus
    severity: Severity
    evidence: str = ""
    action: Action = Action.NONE
    remedy: str = ""
    step: int | None = None
    rank: int | None = None
    since: str | None = None
    node: str | None = None


@dataclasses.dataclass(frozen=True)
class JobHealth:
    """The verdict, and the findings behind it."""

    __pydantic_config__ = READ
    verdict: Verdict = Verdict.UNKNOWN
    findings: tuple[JobFinding, ...] = ()


@dataclasses.dataclass(frozen=True)
class ExcludedNode:
    """A node that the next attempts keep away from: the suspect of an attempt that ended with 16 or 46."""

    __pydantic_config__ = READ
    name: str
    attempt: int  # whose end it was
    cause: str
    until: str


@dataclasses.dataclass(frozen=True)
class FailedCheck:
    """One check of the preflight that failed, or would have."""

    __pydantic_config__ = READ
    check: Check
    field: str = ""
    measured: str = ""
    expected: str = ""
    remedy: str = ""
    rank: int | None = None


@dataclasses.dataclass(frozen=True)
class JobPreflight:
    """What the current attempt's preflight came to. The whole table is in `preflight.json` of the run directory."""

    __pydantic_config__ = READ
    verdict: PreflightVerdict
    scope: Scope = Scope.FULL
    seconds: str = "0"
    failed: tuple[FailedCheck, ...] = ()


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why the job failed, read before its pods were deleted."""

    __pydantic_config__ = READ
    reason: str
    message: str
    remedy: str = ""
    pod: str | None = None
    rank: int | None = None
    node: str | None = None
    exit_code: int | None = None
    log_tail: str | None = None


@dataclasses.dataclass(frozen=True)
class JobStatus:
    """The whole status. `nodes` is `ready/desired` for the printer column, which cannot join fields."""

    __pydantic_config__ = READ
    observed_generation: int | None = None
    state: State = State.PENDING
    nodes: str | None = None
    conditions: tuple[Condition, ...] = ()
    attempt: int = 0
    restarts: Restarts = dataclasses.field(default_factory=Restarts)
    attempts: tuple[Attempt, ...] = ()
    replicas: Replicas = dataclasses.field(default_factory=Replicas)
    startup: Startup | None = None
    preflight: JobPreflight | None = None
    progress: JobProgress = dataclasses.field(default_factory=JobProgress)
    health: JobHealth = dataclasses.field(default_factory=JobHealth)
    failure: Failure | None = None
    start_time: str | None = None
    completion_time: str | None = None
    excluded_nodes: tuple[ExcludedNode, ...] = ()


STATUS: Final = TypeAdapter(JobStatus)


def read_status(document: Mapping[str, Any] | None) -> JobStatus:
    """Read what an operator wrote; absent means a new job. Raises ContractError when it is unreadable."""
    try:
        return STATUS.validate_json(json.dumps(document or {}), by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(["status", *map(str, first["loc"])])
        raise ContractError(
            field, first["input"], f"is unreadable ({first['msg']})", "remove it"
        ) from error
