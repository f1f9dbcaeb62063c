"""Why an attempt ended: the pod's own outcome first, then the status, then the worst finding.

The one place that joins the three; `run` says it in its last words, `why` explains it at length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from speech_cli.rendering.view import (
    Document,
    FindingView,
    JobView,
    finding_view,
    status_of,
    view_of,
)
from speech_contract import outcome
from speech_contract.outcome import Outcome
from speech_contract.progress import Rule
from speech_contract.reasons import NO_SPEC, Reason
from speech_contract.report import BadStep
from speech_contract.status import Failure, JobStatus
from speech_contract.values import Value, frozen

# Budgets whose remedy says how the checkpoints are gone on from.
SPENT: Final = frozenset((Reason.RESTART_BUDGET_SPENT.value, Reason.SAME_CAUSE.value))

# Why a *job* ends whatever its last attempt says of itself.
JOB_REASONS: Final = SPENT | {
    Reason.DEADLINE_EXCEEDED.value,
    Reason.NO_CONFIRMED_CHECKPOINT.value,
}


@frozen
class Cause(Value):
    """Why an attempt ended. `step` is the first bad step when one is known, else the newest step.

    `samples`: some of the first bad step's batch. `goes_on`: the remedy itself says how the job's
    checkpoints are gone on from.
    """

    exit_code: int | None
    reason: str = ""
    message: str = ""
    rule: str = ""
    evidence: str = ""
    action: str = ""
    remedy: str = ""
    goes_on: bool = False
    rank: int | None = None
    step: int | None = None
    component: str = ""
    module: str = ""
    samples: tuple[str, ...] = ()
    log_tail: str = ""

    @property
    def where(self) -> str:
        """`step 12, rank 0, loss component mel, module decoder, sample a.wav`, as far as known."""
        parts: Sequence[tuple[str, object]] = (
            ("step", self.step),
            ("rank", self.rank),
            ("loss component", self.component or None),
            ("module", self.module or None),
            ("samples" if len(self.samples) > 1 else "sample", ", ".join(self.samples) or None),
        )
        return ", ".join(f"{name} {value}" for name, value in parts if value is not None)


def cause_of(document: Document, outcomes: Sequence[Outcome]) -> Cause:
    """The cause of the newest attempt. `outcomes`: what the pods left behind, any attempt, any order."""
    view, status = view_of(document), status_of(document)
    failure = status.failure or Failure("", "")
    told = master_outcome(outcomes)
    finding = _finding(view, told)
    code = _exit_code(status, told, view)
    rule = _first(told and told.rule, finding and finding.rule)
    bad = _first_bad(rule, status, told)
    newest = _known(finding.step if finding else None, told.step if told else None, view.step)
    return Cause(
        exit_code=code,
        reason=view.reason or failure.reason,
        message=_message(failure, told, view),
        rule=rule,
        evidence=finding.evidence if finding else "",
        action=finding.action if finding else "",
        remedy=_remedy(failure, finding, told, code),
        goes_on=failure.reason in SPENT and bool(failure.remedy),
        rank=_known(
            bad.rank if bad else None,
            told.rank if told else None,
            failure.rank,
            finding.rank if finding else None,
        ),
        step=bad.step if bad else newest,
        component=bad.component if bad else "",
        module=bad.module if bad else "",
        samples=bad.samples if bad else (),
        log_tail=_first(told and told.log_tail, failure.log_tail),
    )


def _first_bad(rule: str, status: JobStatus, told: Outcome | None) -> BadStep | None:
    """Where non-finite steps began; the numbers of another fault have nothing to do with them."""
    if rule != Rule.NON_FINITE.value:
        return None
    return (told.first_bad if told else None) or status.progress.first_bad


def master_outcome(outcomes: Sequence[Outcome]) -> Outcome | None:
    """What the newest attempt's master said, or the lowest node when the master said nothing."""
    ordered = sorted(outcomes, key=lambda o: (-o.attempt, o.node_rank))
    return ordered[0] if ordered else None


def _finding(view: JobView, told: Outcome | None) -> FindingView | None:
    """The finding that ended the attempt, else the worst active one."""
    known = [*view.findings, *map(finding_view, told.findings if told else ())]
    if told and told.rule:
        return next((f for f in known if f.rule == told.rule), None)
    return next((f for f in known if f.active), None)


def _message(failure: Failure, told: Outcome | None, view: JobView) -> str:
    """The pod's own words, unless the controller ended the job for a reason of its own: it quotes them."""
    last_attempt, job = told and told.message, failure.message
    if failure.reason in JOB_REASONS:
        return _first(job, last_attempt, view.message)
    return _first(last_attempt, job, view.message)


def _exit_code(status: JobStatus, told: Outcome | None, view: JobView) -> int | None:
    if view.reason in (*NO_SPEC, Reason.IMMUTABLE_FIELD):
        return outcome.EXIT_BAD_CONFIG
    newest = max(status.attempts, key=lambda attempt: attempt.number, default=None)
    return _known(
        told.exit_code if told else None,
        status.failure.exit_code if status.failure else None,
        newest.exit_code if newest else None,
    )


def _remedy(
    failure: Failure, finding: FindingView | None, told: Outcome | None, code: int | None
) -> str:
    """The rule that ended the attempt knows best, unless the job has a reason of its own; else the table."""
    if failure.reason in JOB_REASONS and failure.remedy:
        return failure.remedy
    table = outcome.meaning_of(code).remedy if code is not None else ""
    by_rule = finding.remedy if finding and told and told.rule == finding.rule else ""
    return _first(by_rule, failure.remedy, finding and finding.remedy, table)


def _first(*texts: Any) -> str:
    return next((str(text) for text in texts if text), "")


def _known(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
