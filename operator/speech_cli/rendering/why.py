"""What happened to a job, in about ten lines: attempts, first bad step, rule, module, samples, log, next step.

Called by `commands.why`, which gathers the evidence; here it is only put in order and into words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speech_cli.rendering import words
from speech_cli.rendering.cause import Cause, cause_of
from speech_cli.rendering.evaluations import Evaluated
from speech_cli.rendering.events import WARNING, EventRow
from speech_cli.rendering.live import as_of, finding_line
from speech_cli.rendering.time_spent import goodput_text
from speech_cli.rendering.view import Document, FindingView, JobView, status_of, view_of
from speech_contract import outcome
from speech_contract.outcome import Outcome
from speech_contract.progress import Rule
from speech_contract.reasons import State
from speech_contract.status import Attempt, JobStatus
from speech_contract.values import Value, frozen

ATTEMPTS_SHOWN = 4
LOG_LINES_SHOWN = 2
EVENTS_SHOWN = 5
LINE_WIDTH = 200  # a log line longer than this is cut


@frozen
class Evidence(Value):
    """What run directory or cluster hold beside the status, and how a person reaches the job again."""

    quarantine: str = ""  # path, when there are bad samples
    bad_samples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    first_bad_sample: str = ""
    log: str = ""
    log_tail: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    course: tuple[str, ...] = ()  # of the scores over the evaluations, as lines
    evaluations: tuple[Evaluated, ...] = ()
    events: tuple[EventRow, ...] = ()
    faults: tuple[str, ...] = ()
    flags: str = ""  # options of a further command
    again: str = "`speechtrain run FILE --new`"


@frozen
class Explanation(Value):
    """The answer of `why`, as `-o json` prints it."""

    job: str
    namespace: str
    state: str
    verdict: str
    reason: str
    message: str
    exit_code: int | None
    rule: str
    evidence: str
    action: str
    step: int | None
    rank: int | None
    component: str
    module: str
    samples: list[str]  # some of the first bad step's batch
    attempts: list[Attempt]
    rollbacks: int
    discarded_steps: int
    confirmed_step: int | None
    excluded_nodes: list[str]
    findings: list[FindingView]
    skipped_samples: dict[str, int]
    first_bad_sample: str
    quarantine: str
    log: str
    log_tail: list[str]
    scores: list[str]
    events: list[EventRow]
    faults: list[str]
    next_step: str
    preflight: list[str] = dataclasses.field(default_factory=list)  # checks that failed
    course: list[str] = dataclasses.field(default_factory=list)
    evaluations: list[Evaluated] = dataclasses.field(default_factory=list)
    heard: str = ""  # `, as of 35s ago`; "" while that is news
    unseen: str = ""  # why nothing newer is known
    reads: str = ""  # how its numbers came, and what of them is not judged
    runtime: str = ""  # that it runs by
    goodput: str = ""  # what its time went into

    @property
    def cause(self) -> Cause:
        """Where it happened, in the words the verdict uses."""
        return Cause(
            self.exit_code,
            rank=self.rank,
            step=self.step,
            component=self.component,
            module=self.module,
            samples=tuple(self.samples),
        )


def explain(
    document: Document, outcomes: Sequence[Outcome], found: Evidence, now: float
) -> Explanation:
    """Put what status, outcomes and run directory know into one answer. `now` in epoch seconds."""
    view, status = view_of(document), status_of(document)
    done = view.state == State.COMPLETE.value
    cause = Cause(outcome.EXIT_DONE) if done else cause_of(document, outcomes)
    return Explanation(
        job=view.name,
        namespace=view.namespace,
        state=view.state,
        verdict=view.verdict,
        reason=cause.reason,
        message=cause.message,
        exit_code=cause.exit_code,
        rule=cause.rule,
        evidence=cause.evidence,
        action=cause.action,
        step=cause.step,
        rank=cause.rank,
        component=cause.component,
        module=cause.module,
        samples=list(cause.samples),
        attempts=sorted(status.attempts, key=lambda attempt: attempt.number),
        rollbacks=view.rollbacks,
        discarded_steps=view.discarded,
        confirmed_step=view.confirmed,
        excluded_nodes=excluded_nodes(status),
        findings=list(view.findings),
        skipped_samples=dict(found.bad_samples or view.skipped_by_reason),
        first_bad_sample=found.first_bad_sample,
        quarantine=found.quarantine,
        log=found.log,
        log_tail=_tail(cause, found),
        scores=list(found.scores),
        events=list(found.events),
        faults=list(found.faults),
        next_step=_next_step(view, cause, found),
        preflight=failed_checks(status),
        course=list(found.course),
        evaluations=list(found.evaluations),
        heard=as_of(view, now),
        unseen=_unseen(view),
        reads="" if view.reads is None else str(view.reads),
        runtime=view.runtime,
        goodput=goodput_text(view),
    )  # fmt: skip


def failed_checks(status: JobStatus) -> list[str]:
    """`status.preflight.failed` as sentences."""
    rows = status.preflight.failed if status.preflight else ()
    return [f"{r.check.value}: {r.field}: {r.measured}, expected {r.expected}" for r in rows]


def excluded_nodes(status: JobStatus) -> list[str]:
    """`node gpu-7 until 2026-11-22T05:00:00Z, for RankDisagrees of attempt 1`."""
    return [
        f"node {node.name} until {node.until}, for {node.cause} of attempt {node.attempt}"
        for node in status.excluded_nodes
    ]


def lines(answer: Explanation) -> Iterator[tuple[str, str]]:
    """(name, text) pairs in reading order; an empty name continues the line above."""
    yield "job", _summary(answer)
    if answer.unseen and answer.rule != Rule.TELEMETRY_UNREACHABLE.value:
        yield "unseen", answer.unseen
    open_word = "not known" if answer.state == State.UNKNOWN.value else "running"
    yield from _attempts(answer.attempts, open_word)
    if answer.rollbacks or answer.discarded_steps:
        yield "back", _back(answer)
    if answer.goodput:
        yield "goodput", answer.goodput
    if answer.state != State.COMPLETE.value:
        yield from _what(answer)
    else:
        yield from (("finding", finding_line(f)) for f in answer.findings if f.active)
    yield from _block("preflight", [_cut(row) for row in answer.preflight])
    yield from (("healed", finding_line(f)) for f in answer.findings if not f.active)
    yield from (("left out", text) for text in answer.excluded_nodes)
    if answer.skipped_samples:
        yield "skipped", _skipped(answer)
    yield from _block("scores", answer.scores)
    yield from _block("course", answer.course)
    if answer.reads:
        yield "reads", answer.reads
    if answer.runtime:
        yield "runtime", answer.runtime
    yield from _log(answer)
    yield from _events(answer.events)
    yield from (("note", fault) for fault in answer.faults[:1])
    yield "next", answer.next_step


def _block(name: str, rows: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The name beside the first of them alone."""
    yield from zip((name, *[""] * len(rows)), rows, strict=False)


def _summary(answer: Explanation) -> str:
    text = f"{answer.job}: {answer.state}, health {answer.verdict}{answer.heard}"
    if answer.state in (State.SUSPENDED.value, State.SUSPENDING.value):
        return text  # that its ranks ended by a signal is no fault
    if answer.reason:
        text += f", {answer.reason}"
    if answer.exit_code:
        meaning = outcome.meaning_of(answer.exit_code).meaning
        text += f" (exit code {answer.exit_code}: {meaning})"
    return text


def _attempts(rows: list[Attempt], open_word: str) -> Iterator[tuple[str, str]]:
    hidden = len(rows) - ATTEMPTS_SHOWN
    for index, row in enumerate(rows[-ATTEMPTS_SHOWN:]):
        name = "attempts" if index == 0 else ""
        more = (
            f" ({words.plural(hidden, 'older attempt')} not shown)"
            if not index and hidden > 0
            else ""
        )
        yield name, attempt_text(row, open_word) + more
        if row.resume_note:
            yield "", f"   {row.resume_note}"


def attempt_text(row: Attempt, open_word: str = "running") -> str:
    """`2: Failed NonFinite, exit code 40, rank 0, last step 37, resumed from step 20`."""
    parts = [" ".join(dict.fromkeys(part for part in (row.reason, row.cause) if part)) or open_word]
    if row.exit_code is not None:
        parts.append(f"exit code {row.exit_code}")
    if row.rank is not None:
        parts.append(f"rank {row.rank}" + (f" on node {row.node}" if row.node else ""))
    if row.last_step is not None:
        parts.append(f"last step {row.last_step}")
    from_step = row.resumed_from_step
    parts.append("from scratch" if from_step is None else f"resumed from step {from_step}")
    return f"{row.number}: {', '.join(parts)}"


def _back(answer: Explanation) -> str:
    """`2 roll-backs, 24 steps discarded; newest confirmed checkpoint: step 5`."""
    step = "none" if answer.confirmed_step is None else f"step {answer.confirmed_step}"
    return (
        f"{words.plural(answer.rollbacks, 'roll-back')}, "
        f"{words.plural(answer.discarded_steps, 'step')} discarded; newest confirmed checkpoint: {step}"
    )


def _what(answer: Explanation) -> Iterator[tuple[str, str]]:
    if answer.cause.where:
        yield ("first bad" if answer.rule == Rule.NON_FINITE.value else "where"), answer.cause.where
    if answer.rule:
        action = f" → {answer.action}" if answer.action not in ("", "None") else ""
        yield "rule", f"{answer.rule}: {answer.evidence or answer.message}{action}"
    if (
        answer.message
        and (not answer.rule or answer.evidence)
        and answer.message != answer.evidence
    ):
        yield "message", _cut(answer.message)


def _skipped(answer: Explanation) -> str:
    text = words.tally(answer.skipped_samples)
    if answer.first_bad_sample:
        text += f"; first: {answer.first_bad_sample}"
    return f"{text}; listed in {answer.quarantine}" if answer.quarantine else text


def _log(answer: Explanation) -> Iterator[tuple[str, str]]:
    if answer.state == State.COMPLETE.value:
        return
    said = [line for line in answer.log_tail if not _known_already(line, answer)]
    for index, line in enumerate(said[-LOG_LINES_SHOWN:]):
        yield ("log" if index == 0 else ""), _cut(line)
    if answer.log:
        yield ("" if said else "log"), f"all of it: {answer.log}"


def _known_already(line: str, answer: Explanation) -> bool:
    """A log event (they are for machines), or the message over again."""
    return line.startswith('{"ts"') or (bool(answer.message) and answer.message in line)


def _tail(cause: Cause, found: Evidence) -> list[str]:
    return list(found.log_tail) or [x for x in cause.log_tail.splitlines() if x.strip()]


def _events(rows: list[EventRow]) -> Iterator[tuple[str, str]]:
    for index, row in enumerate(rows[-EVENTS_SHOWN:]):
        yield ("events" if index == 0 else ""), _cut(row.text)


def _next_step(view: JobView, cause: Cause, found: Evidence) -> str:
    if view.state == State.COMPLETE.value:
        open_remedies = [f.remedy for f in view.findings if f.active and f.remedy]
        return open_remedies[0] if open_remedies else "nothing to do"
    if view.state == State.FAILED.value and cause.goes_on:
        return cause.remedy  # from the checkpoints, which --new would leave behind
    if view.state == State.FAILED.value:
        return f"{cause.remedy or 'read the log'}; then {found.again}"
    if view.state in (State.SUSPENDED.value, State.SUSPENDING.value):
        return f"`speechtrain resume {view.name}{found.flags}` continues it"
    if view.state == State.UNKNOWN.value:
        return next((f.remedy for f in view.findings if _is_unseen(f)), "")
    if cause.rule or cause.remedy:
        return cause.remedy
    if view.state != State.RUNNING.value and any(row.kind == WARNING for row in found.events):
        return "mend what the last warning names"
    return f"nothing to explain yet: `speechtrain status {view.name}{found.flags}`"


def _is_unseen(finding: FindingView) -> bool:
    return finding.active and finding.rule == Rule.TELEMETRY_UNREACHABLE.value


def _unseen(view: JobView) -> str:
    return next((f.evidence for f in view.findings if _is_unseen(f)), "")


def _cut(text: str) -> str:
    first: Any = text.strip().splitlines()[0] if text.strip() else ""
    return first if len(first) <= LINE_WIDTH else f"{first[: LINE_WIDTH - 1]}…"
