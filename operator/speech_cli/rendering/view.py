"""What a person wants to know of a job, taken from its document and, when there is one, the newest progress.

Built by every command that shows a job. The document is the API's dict (metadata, spec, status as in the CRD);
a field that is missing or of a strange type reads as "not known".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from speech_contract.findings import SEVERITY_ORDER, Finding, FindingStatus, Verdict
from speech_contract.goodput import Goodput
from speech_contract.names import replica
from speech_contract.progress import Progress, Severity
from speech_contract.reasons import AT_REST, ON_ITS_WAY, Condition, State
from speech_contract.report import Reads
from speech_contract.status import ConditionStatus, JobFinding, JobRuntime, JobStatus, show_status
from speech_contract.values import Value, frozen

Document = Mapping[str, Any]


@frozen
class FindingView(Value):
    """One health finding."""

    rule: str
    severity: str = Severity.WARNING.value
    status: str = FindingStatus.ACTIVE.value
    evidence: str = ""
    action: str = ""
    remedy: str = ""
    step: int | None = None
    rank: int | None = None
    node: str = ""  # where the rank runs

    @property
    def active(self) -> bool:
        """Whether the fault is still there."""
        return self.status == FindingStatus.ACTIVE.value


@frozen
class RankView(Value):
    """One rank: where it is, and for how many seconds it has been there."""

    rank: int
    replica: str
    phase: str
    age: float
    step: int | None = None


@frozen
class JobView(Value):
    """One job at one moment. Durations in seconds; None = not known."""

    name: str
    namespace: str
    state: str = State.PENDING.value
    reason: str = ""  # why it is Failed, Restarting or refused
    message: str = ""
    verdict: str = Verdict.UNKNOWN.value
    attempt: int | None = None
    restarts: int = 0
    ready: int = 0
    nodes: int = 1
    phase: str = ""
    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    gradient_norm: float | None = None
    learning_rate: float | None = None
    audio_rate: float | None = None  # seconds of audio a second
    eta: float | None = None
    skipped: int = 0
    skipped_by_reason: Mapping[str, int] = dataclasses.field(default_factory=dict)
    non_finite: int = 0
    rollbacks: int = 0
    discarded: int = 0  # steps that roll-backs left behind
    checkpoint: int | None = None
    confirmed: int | None = None
    device: str = ""
    findings: tuple[FindingView, ...] = ()
    ranks: tuple[RankView, ...] = ()
    created: float | None = None  # epoch seconds
    started: float | None = None
    completed: float | None = None
    heard: float | None = None  # when somebody last knew: epoch seconds
    reads: Reads | None = None
    run_directory: str = ""  # as it was accepted
    runtime: str = ""  # kind, name, generation
    goodput: Goodput = dataclasses.field(default_factory=Goodput)  # as of the last written status

    @property
    def at_rest(self) -> bool:
        """Nothing happens until somebody says so: what is known of it does not age."""
        return self.state in {state.value for state in AT_REST}

    @property
    def finished(self) -> bool:
        """Nothing more will happen to this job."""
        return self.state in (State.COMPLETE.value, State.FAILED.value)


def view_of(document: Document, progress: Progress | None = None) -> JobView:
    """Join document and progress; where both say something, progress is the newer."""
    view = _from_status(document)
    return view if progress is None else _with_progress(view, progress)


def mapping(document: Any, *path: str) -> Mapping[str, Any]:
    """A nested object, or an empty one."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else {}


def uid_of(document: Document) -> str:
    """The job's uid; empty in a manifest."""
    return str(mapping(document, "metadata").get("uid", ""))


def objects(document: Any, *path: str) -> list[Mapping[str, Any]]:
    """A nested list of objects, or an empty one."""
    items = mapping(document, *path[:-1]).get(path[-1])
    if not isinstance(items, list | tuple):
        return []
    return [item for item in items if isinstance(item, Mapping)]


def real(value: Any) -> float | None:
    """A number, or a number as a string (status carries NaN so); None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def whole(value: Any) -> int | None:
    """An integer that JSON may have carried as a float or a string."""
    number = real(value)
    return int(number) if number is not None and number.is_integer() else None


def moment(value: Any) -> float | None:
    """RFC 3339 text or epoch seconds → epoch seconds."""
    number = real(value)
    if number is not None or not isinstance(value, str):
        return number
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        return None


def status_of(document: Document) -> JobStatus:
    """The status as far as it can be read."""
    return show_status(mapping(document, "status"))


def finding_view(finding: Finding | JobFinding) -> FindingView:
    """A finding of a status, an outcome or a progress answer."""
    return FindingView(
        rule=finding.rule.value,
        severity=finding.severity.value,
        status=finding.status.value,
        evidence=finding.evidence,
        action=finding.action.value,
        remedy=finding.remedy,
        step=finding.step,
        rank=finding.rank,
        node=(finding.node or "") if isinstance(finding, JobFinding) else "",
    )


def _findings(findings: Iterable[Finding | JobFinding]) -> tuple[FindingView, ...]:
    """Worst first."""
    order = {severity.value: rank for severity, rank in SEVERITY_ORDER.items()}
    views = map(finding_view, findings)
    return tuple(sorted(views, key=lambda f: (not f.active, -order.get(f.severity, 0))))


def _from_status(document: Document) -> JobView:
    metadata, status = mapping(document, "metadata"), status_of(document)
    progress, reason = status.progress, _reason(status)
    return JobView(
        name=str(metadata.get("name", "")),
        namespace=str(metadata.get("namespace", "default")),
        state=status.state.value,
        reason=reason[0],
        message=reason[1],
        verdict=status.health.verdict.value,
        attempt=status.attempt or None,
        restarts=max(status.restarts.total, status.restarts.counted),
        ready=status.replicas.ready + status.replicas.succeeded,
        nodes=status.replicas.desired or whole(mapping(document, "spec").get("numNodes")) or 1,
        phase=status.startup.phase.value if status.startup else "",
        step=progress.step,
        total_steps=progress.total_steps or _planned_steps(document),
        loss=real(progress.loss),
        gradient_norm=real(progress.gradient_norm),
        learning_rate=real(progress.learning_rate),
        audio_rate=real(progress.audio_seconds_per_second),
        eta=real(progress.eta_seconds),
        skipped=progress.samples_skipped or 0,
        non_finite=progress.non_finite_steps or 0,
        rollbacks=progress.rollbacks or 0,
        discarded=progress.discarded_steps or 0,
        checkpoint=progress.last_checkpoint_step,
        confirmed=progress.last_confirmed_checkpoint_step,
        findings=_findings(status.health.findings),
        created=moment(metadata.get("creationTimestamp")),
        started=moment(status.start_time),
        completed=moment(status.completion_time),
        heard=moment(progress.heard_at or progress.updated_at),
        reads=progress.reads,
        run_directory=status.run_directory or _directory(document),
        runtime=_runtime(status.runtime),
        goodput=status.goodput,
    )


def _runtime(given: JobRuntime | None) -> str:
    """`ClusterSpeechTrainingRuntime h200, generation 3`."""
    if given is None:
        return ""
    told = f"{given.kind} {given.name}"
    return told if given.generation is None else f"{told}, generation {given.generation}"


def _directory(document: Document) -> str:
    return str(mapping(document, "spec", "checkpoint").get("uri", ""))


def _planned_steps(document: Document) -> int | None:
    """`maxSteps`, which means nothing to a custom script."""
    if "custom" in mapping(document, "spec", "recipe"):
        return None
    return whole(mapping(document, "spec", "training").get("maxSteps"))


def _reason(status: JobStatus) -> tuple[str, str]:
    """Why the job is in the state it is in: the first condition that says something is wrong or done."""
    true, false = ConditionStatus.TRUE, ConditionStatus.FALSE
    telling = [
        (Condition.FAILED, true), (Condition.QUEUED, true), (Condition.RESTARTING, true),
        (Condition.SUSPENDED, true),
        (Condition.COMPLETE, true), (Condition.ACCEPTED, false),
    ]  # fmt: skip
    found = {(c.type, c.status): (c.reason, c.message) for c in reversed(status.conditions)}
    waiting = found.get((Condition.RUNNING, false), ("", ""))
    fallback = (status.failure.reason, status.failure.message) if status.failure else ("", "")
    if waiting[0] not in ("", *ON_ITS_WAY):
        fallback = waiting
    return next((found[key] for key in telling if key in found), fallback)


def _with_progress(view: JobView, progress: Progress) -> JobView:
    known = {
        "step": progress.step,
        "total_steps": progress.total_steps,
        "loss": progress.loss,
        "gradient_norm": progress.gradient_norm,
        "learning_rate": progress.learning_rate,
        "audio_rate": progress.audio_seconds_per_second,
        "checkpoint": progress.last_checkpoint_step,
        "confirmed": progress.last_confirmed_step,
        "losses": progress.losses or None,
        "device": progress.device or None,
        "reads": progress.reads,
    }
    skipped = progress.samples_skipped
    # Of an attempt that has ended its last words count, and status has them.
    between = view.finished or view.state == State.RESTARTING.value
    changes: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    return dataclasses.replace(
        view,
        attempt=progress.attempt,
        phase=progress.phase.value,
        eta=progress.eta_seconds,
        verdict=view.verdict if between else progress.verdict.value,
        skipped=sum(skipped.values()) if skipped else view.skipped,
        skipped_by_reason=skipped or view.skipped_by_reason,
        non_finite=progress.non_finite_steps or 0,
        rollbacks=max(view.rollbacks, progress.rollbacks),  # status sums up all attempts
        discarded=max(view.discarded, progress.discarded_steps),
        findings=(() if between else _findings(progress.findings)) or view.findings,
        ranks=_ranks(progress),
        **changes,
    )


def _ranks(progress: Progress) -> tuple[RankView, ...]:
    return tuple(
        RankView(
            r.rank, "-".join(map(str, replica(r.node_rank))), r.phase.value, r.phase_age, r.step
        )
        for r in progress.ranks
    )
