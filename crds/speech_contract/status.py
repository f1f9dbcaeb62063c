"""`status` of a SpeechTrainingJob. Computed and written by the operator's status code, read by people and tools.

Plain frozen dataclasses: pure code replaces fields of them, `codec.to_document` writes them. A number
that can be NaN is a string here, because the API server refuses a bare NaN. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Final

from speech_contract import codec
from speech_contract.codec import READ
from speech_contract.errors import ContractError
from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.goodput import Goodput
from speech_contract.phases import Phase
from speech_contract.preflight import Check, PreflightVerdict, Scope
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition as ConditionType
from speech_contract.reasons import State
from speech_contract.report import BadStep, Reads
from speech_contract.values import Value, frozen

MAX_ATTEMPTS: Final = 10  # the newest, for people; the budgets live in `restarts`
MAX_WINDOW_TIMES: Final = 100  # counted restarts of one window that a job may allow itself
MAX_FINDINGS: Final = 64
HEARD_EVERY_SECONDS: Final = 60.0  # between two signs in `progress.heardAt` that somebody listens
MAX_EXCLUDED: Final = 2  # a fault that moves from node to node is no node's


class ConditionStatus(str, enum.Enum):
    """metav1.ConditionStatus."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@frozen
class Condition(Value):
    """metav1.Condition. `last_transition_time` changes only when `status` flips."""

    __pydantic_config__ = READ
    type: ConditionType
    """Name of the condition."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: str
    """Why, in one word for programs."""
    message: str
    """Why, in a sentence for people."""
    last_transition_time: str
    """When the status last changed, RFC 3339."""
    observed_generation: int | None = None
    """Generation of the job that it was judged by."""


@frozen
class PartialGang(Value):
    """Pods of the current attempt that were given back because not all of them found room."""

    __pydantic_config__ = READ
    releases: int = 0
    """Times that they were given back."""
    next_try: str | None = None
    """When all of them are asked for again after the last time, RFC 3339."""


@frozen
class CauseCount(Value):
    """How often one cause ended an attempt."""

    __pydantic_config__ = READ
    fingerprint: str
    """The cause: exit code, rule and first error line, hashed."""
    count: int
    """Attempts that it ended, since the counts were last reset."""
    last_time: str | None = None
    """When it was last counted, RFC 3339."""


@frozen
class Restarts(Value):
    """All that the restart budgets need."""

    __pydantic_config__ = READ
    counted: int = 0
    """Restarts that count against `runPolicy.restarts.max`: those since the counts were last reset."""
    causes: tuple[CauseCount, ...] = ()
    """How often each cause ended an attempt."""
    window_times: tuple[str, ...] = ()
    """When the restarts of the last `runPolicy.restarts.perWindow.seconds` were counted, RFC 3339."""
    last_reset_step: int | None = None
    """Step that `runPolicy.restarts.resetAfterSteps` counts from: the farthest at the last reset or counted restart."""
    farthest_step: int | None = None
    """Farthest step of any attempt: what is trained again up to there is no progress."""
    total: int = 0
    """Counted restarts of the whole life, whatever was reset since."""


@frozen
class Attempt(Value):
    """One gang of pods, from its first pod to its last."""

    __pydantic_config__ = READ
    number: int
    """Counts from 1."""
    start_time: str | None = None
    """When its first pod was created, RFC 3339."""
    end_time: str | None = None
    """When its last pod had ended; unset while it runs."""
    reason: str | None = None
    """Why it ended, in one word."""
    cause: str | None = None
    """What ended it: the word of the exit code or of the pod's end."""
    pod: str | None = None
    """Pod that ended it."""
    rank: int | None = None
    """Global rank that ended it."""
    node: str | None = None
    """Node of that pod."""
    exit_code: int | None = None
    """Exit code of that rank."""
    last_step: int | None = None
    """Last step that was reported."""
    resumed_from_step: int | None = None
    """Step of the checkpoint it started from; unset means from scratch."""
    rollbacks: int | None = None
    """Roll-backs within it."""
    discarded_steps: int | None = None
    """Steps that roll-backs threw away."""
    first_bad_step: int | None = None
    """First step that the rule which ended it blames."""
    resume_note: str | None = None
    """From whose step it went on, and which settings have changed since; what a script of others was given."""


@frozen
class Replicas(Value):
    """Pods of the current attempt."""

    __pydantic_config__ = READ
    desired: int = 0
    """Pods that the job asks for."""
    ready: int = 0
    """Pods that run and are ready."""
    succeeded: int = 0
    """Pods that ended well."""
    failed: int = 0
    """Pods that ended badly."""


@frozen
class Startup(Value):
    """Where an attempt is before its first step."""

    __pydantic_config__ = READ
    phase: Phase
    """What the attempt is doing."""
    since: str
    """Since when, RFC 3339."""


@frozen
class JobProgress(Value):
    """The newest numbers of the run. `rollbacks` and `discarded_steps` are sums over all attempts."""

    __pydantic_config__ = READ
    step: int | None = None
    """Last step that every rank finished."""
    total_steps: int | None = None
    """Steps of the whole run."""
    percent: int | None = None
    """Share of the steps that is done, 0 to 100."""
    loss: str | None = None
    """Headline loss as last reported; may be nan."""
    gradient_norm: str | None = None
    """Gradient norm of the last report, before clipping; may be nan."""
    learning_rate: str | None = None
    """Learning rate of the main optimizer."""
    audio_seconds_per_second: str | None = None
    """Seconds of audio trained on in a second, over all ranks."""
    eta_seconds: int | None = None
    """Seconds until the last step at today's pace."""
    samples_skipped: int | None = None
    """Bad samples that were replaced in this attempt."""
    non_finite_steps: int | None = None
    """Steps of this attempt whose update was gated off."""
    last_checkpoint_step: int | None = None
    """Step of the newest checkpoint."""
    last_confirmed_checkpoint_step: int | None = None
    """Step of the newest checkpoint that has proved itself."""
    updated_at: str | None = None
    """When these numbers were true, RFC 3339."""
    heard_at: str | None = None
    """When the attempt's supervisor was last heard, RFC 3339; renewed each minute while somebody listens."""
    reads: Reads | None = None
    """How the numbers come, and what of them no rule can judge."""
    rollbacks: int | None = None
    """Roll-backs over all attempts."""
    discarded_steps: int | None = None
    """Steps that roll-backs threw away, over all attempts."""
    first_bad: BadStep | None = None
    """The first non-finite step of the newest episode."""


@frozen
class JobFinding(Value):
    """One named fault with its evidence, what was done, and what a person can do."""

    __pydantic_config__ = READ
    rule: Rule
    """Which rule; docs/rules has a page for each."""
    status: FindingStatus
    """Active, or Healed when the fault is gone."""
    severity: Severity
    """info, warning or critical."""
    evidence: str = ""
    """The numbers that convinced the rule, in a sentence."""
    action: Action = Action.NONE
    """What was done; Would… in mode Notify."""
    remedy: str = ""
    """What a person can do."""
    step: int | None = None
    """Step of the fault."""
    rank: int | None = None
    """Global rank of the fault; unset means all."""
    since: str | None = None
    """Since when, RFC 3339."""
    node: str | None = None
    """Node of that rank."""


@frozen
class JobHealth(Value):
    """The verdict, and the findings behind it."""

    __pydantic_config__ = READ
    verdict: Verdict = Verdict.UNKNOWN
    """Unknown, Healthy, Warning or Critical."""
    findings: tuple[JobFinding, ...] = ()
    """What the verdict rests on."""


@frozen
class ExcludedNode(Value):
    """A node that the next attempts keep away from: the suspect of an attempt that ended with 16 or 46."""

    __pydantic_config__ = READ
    name: str
    """Name of the node."""
    attempt: int
    """Attempt whose end it was."""
    cause: str
    """What ended that attempt."""
    until: str
    """Until when it is kept away from, RFC 3339."""


@frozen
class JobRuntime(Value):
    """The runtime that the job runs by: the newest until its first attempt begins, and that one ever after."""

    __pydantic_config__ = READ
    kind: str
    """ClusterSpeechTrainingRuntime or SpeechTrainingRuntime."""
    name: str
    """Name of the runtime."""
    generation: int | None = None
    """Its generation; what it said then lies in the ConfigMap of the attempt, as runtime.json."""


@frozen
class FailedCheck(Value):
    """One check of the preflight that failed, or would have."""

    __pydantic_config__ = READ
    check: Check
    """Name of the check."""
    field: str = ""
    """What to look at, as the user wrote it."""
    measured: str = ""
    """What was found."""
    expected: str = ""
    """What it should have been."""
    remedy: str = ""
    """What a person can do."""
    rank: int | None = None
    """Global rank that measured it."""


@frozen
class JobPreflight(Value):
    """What the current attempt's preflight came to. The whole table is in `preflight.json` of the run directory."""

    __pydantic_config__ = READ
    verdict: PreflightVerdict
    """Passed, Failed, or WouldHaveFailed in mode Notify."""
    scope: Scope = Scope.FULL
    """Cheap leaves the trial steps out, as a resumed attempt does."""
    seconds: str = "0"
    """How long it took, in seconds."""
    failed: tuple[FailedCheck, ...] = ()
    """The first checks that failed."""


@frozen
class Failure(Value):
    """Why the job failed, read before its pods were deleted."""

    __pydantic_config__ = READ
    reason: str
    """Why, in one word for programs."""
    message: str
    """Why, in a sentence for people."""
    remedy: str = ""
    """What a person can do."""
    pod: str | None = None
    """Pod that ended it."""
    rank: int | None = None
    """Global rank that ended it."""
    node: str | None = None
    """Node of that pod."""
    exit_code: int | None = None
    """Exit code of that rank."""
    log_tail: str | None = None
    """Last lines of that rank's log."""


@frozen
class JobStatus(Value):
    """The whole status. `nodes` is `there/desired` for the printer column, which cannot join fields."""

    __pydantic_config__ = READ
    observed_generation: int | None = None
    """Generation of the job that this status was computed from."""
    state: State = State.PENDING
    """The whole job in one word."""
    reason: str | None = None
    """Why it is in this state, in one word: of the condition that tells it."""
    message: str | None = None
    """The same in a sentence; of pods that do not start, in the words of API server, scheduler or kubelet."""
    nodes: str | None = None
    """Pods that are ready or ended well, and desired pods, as in 2/2."""
    conditions: tuple[Condition, ...] = ()
    """Created, Running, Suspended and the others, as Kubernetes writes them."""
    attempt: int = 0
    """Number of the current attempt; 0 before the first."""
    restarts: Restarts = dataclasses.field(default_factory=Restarts)
    """What the restart budgets have been charged."""
    attempts: tuple[Attempt, ...] = ()
    """The newest attempts, oldest first."""
    replicas: Replicas = dataclasses.field(default_factory=Replicas)
    """Pods of the current attempt."""
    startup: Startup | None = None
    """Where the attempt is before its first step."""
    partial_gang: PartialGang | None = None
    """Pods of the attempt that were given back because not all of them found room; unset: it never happened."""
    preflight: JobPreflight | None = None
    """What the current attempt's preflight came to."""
    progress: JobProgress = dataclasses.field(default_factory=JobProgress)
    """The newest numbers of the run."""
    health: JobHealth = dataclasses.field(default_factory=JobHealth)
    """The verdict, and the findings behind it."""
    goodput: Goodput = dataclasses.field(default_factory=Goodput)
    """What the job's time went into."""
    failure: Failure | None = None
    """Why the job failed; unset as long as it has not."""
    start_time: str | None = None
    """When the job was first started, later by the time suspended, queued or without room for all pods, RFC 3339."""
    completion_time: str | None = None
    """When the job ended, RFC 3339."""
    run_directory: str | None = None
    """`checkpoint.uri` as it was accepted: where the attempts write, whatever the spec says since."""
    runtime: JobRuntime | None = None
    """The runtime that the job runs by; unset without `spec.runtimeRef`."""
    excluded_nodes: tuple[ExcludedNode, ...] = ()
    """Nodes that the next attempts keep away from."""


def read_status(document: Mapping[str, Any] | None) -> JobStatus:
    """Read what an operator wrote, to go on from it; absent means a new job.

    Fields that a newer operator wrote are passed over and its words kept: an old one must be able to take over.
    Raises ContractError when it is unreadable.
    """
    try:
        return codec.from_document(JobStatus, document or {}, "status", codec.Reading.NEWER)
    except ContractError as error:
        rule = f"is unreadable ({error.rule})"
        raise ContractError(error.field, error.value, rule, "remove it") from error


def show_status(document: Any) -> JobStatus:
    """Read whatever of a status is readable, for people. Never raises: a half-written status must still show."""
    known = document if isinstance(document, Mapping) else {}
    return codec.from_document(JobStatus, known, "status", codec.Reading.SALVAGE)
