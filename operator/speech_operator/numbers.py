"""Numbers of status: replicas, start-up phase, progress. Called by `reconcile` at the end of a pass. Pure.

A number that can be NaN becomes a string, because the API server refuses a bare NaN.
"""

from __future__ import annotations

import dataclasses
import math

from speech_contract.outcome import Outcome
from speech_contract.phases import STARTUP, Phase
from speech_contract.preflight import MAX_FAILED, MAX_TEXT, CheckResult, PreflightReport
from speech_contract.progress import Progress
from speech_contract.reasons import Condition, Reason
from speech_contract.report import (
    MAX_BAD_SAMPLES,
    MAX_FORM,
    MAX_PARTS,
    MAX_SAMPLE_NAME,
    BadStep,
    Reads,
)
from speech_contract.status import (
    HEARD_EVERY_SECONDS,
    FailedCheck,
    JobPreflight,
    JobProgress,
    JobStatus,
    Replicas,
    Startup,
)
from speech_operator import status as st
from speech_operator.accounts import accounts
from speech_operator.snapshot import Observed, PodPhase
from speech_operator.timestamps import to_epoch, to_text

EVERY_SECONDS = 10.0  # between two writes of numbers alone; a changed verdict goes at once
_LARGEST = 2**53 - 1


def with_replicas(status: JobStatus, seen: Observed) -> JobStatus:
    """Count the pods of the attempt. Readiness: the pod's own, or every rank of it reported a step."""
    pods = [pod for pod in seen.own_pods if pod.attempt == status.attempt]
    desired = seen.spec.num_nodes
    stepped = nodes_with_steps(seen.current_progress)
    ready = [p for p in pods if p.phase is PodPhase.RUNNING and (p.ready or p.node_rank in stepped)]
    replicas = Replicas(
        desired=desired,
        ready=len(ready),
        succeeded=sum(pod.phase is PodPhase.SUCCEEDED for pod in pods),
        failed=sum(pod.phase is PodPhase.FAILED for pod in pods),
    )
    there = replicas.ready + replicas.succeeded  # a pod that has done its part is not missing
    return dataclasses.replace(status, replicas=replicas, nodes=f"{there}/{desired}")


def nodes_with_steps(progress: Progress | None) -> set[int]:
    """Node ranks whose every rank reported a step."""
    if progress is None:
        return set()
    nodes = {row.node_rank for row in progress.ranks}
    return nodes - {row.node_rank for row in progress.ranks if row.step is None}


def with_running(status: JobStatus, seen: Observed, now: float) -> JobStatus:
    """Running once every rank has stepped; before that the start-up phase."""
    if st.open_attempt(status) is None or st.finished(status):
        return dataclasses.replace(status, startup=None)
    if not st.gang_was_whole(status) or not _running(status, seen):
        return _with_startup(status, seen, now)
    if not st.is_true(status, Condition.RUNNING):
        message = f"attempt {status.attempt} trains"
        status = st.with_condition(
            status, Condition.RUNNING, True, Reason.TRAINING_STARTED, message, now
        )
    if st.is_true(status, Condition.RESTARTING):
        message = f"attempt {status.attempt} runs again"
        status = st.with_condition(
            status, Condition.RESTARTING, False, Reason.TRAINING_STARTED, message, now
        )
    return dataclasses.replace(status, startup=None)


def _running(status: JobStatus, seen: Observed) -> bool:
    progress = seen.current_progress
    return st.is_true(status, Condition.RUNNING) or bool(progress and progress.running)


def _with_startup(status: JobStatus, seen: Observed, now: float) -> JobStatus:
    phase = _startup_phase(status, seen)
    old = status.startup
    since = old.since if old and old.phase is phase else to_text(now)
    return dataclasses.replace(status, startup=Startup(phase, since))


def _startup_phase(status: JobStatus, seen: Observed) -> Phase:
    pods = [pod for pod in seen.own_pods if pod.attempt == status.attempt]
    pending = [pod for pod in pods if pod.phase is PodPhase.PENDING]
    if len(pods) < seen.spec.num_nodes or not all(pod.placed for pod in pods):
        return Phase.SCHEDULING
    if st.gang_is_released(status):
        return Phase.SCHEDULING
    if pending:
        return Phase.PULLING
    progress = seen.current_progress
    told = progress.phase if progress else Phase.RENDEZVOUS
    return told if told in STARTUP - {Phase.STARTING} else Phase.RENDEZVOUS


def with_clock(status: JobStatus, seen: Observed, now: float) -> JobStatus:
    """Time without room for all pods does not count: `startTime` moves on by it once it is over."""
    waited = st.unplaced_since(seen.job.status)
    if waited is None or waited == st.unplaced_since(status):
        return status
    return st.moved_on(status, waited, now)


def with_progress(status: JobStatus, seen: Observed, now: float) -> JobStatus:
    """Take over the numbers: at most every EVERY_SECONDS, at once when the attempt or verdict changed."""
    if not st.open_attempt(seen.job.status):
        return status
    for account in reversed(accounts(seen)):
        if isinstance(account, Outcome):
            status = dataclasses.replace(status, progress=_last_words(status.progress, account))
        elif _due(status, seen, account, now):
            status = dataclasses.replace(status, progress=_numbers(account, status.progress))
        else:
            continue
        status = st.note_rollbacks(status, account.rollbacks, account.discarded_steps)
    progress = seen.current_progress
    if progress is not None and status.attempt == progress.attempt:
        status = st.note_resumed(status, progress.resumed_from_step)
    return _with_heard(status, seen, now)


def _with_heard(status: JobStatus, seen: Observed, now: float) -> JobStatus:
    """Renewed with the numbers, and by itself when it is due: who reads an old one knows that nobody listens."""
    old = seen.job.status.progress
    if seen.current_progress is None or seen.silent_seconds is None:
        return status
    heard = now - seen.silent_seconds
    if status.progress is old and old.heard_at is not None:
        if heard < to_epoch(old.heard_at) + HEARD_EVERY_SECONDS:
            return status
    return dataclasses.replace(
        status, progress=dataclasses.replace(status.progress, heard_at=_moment(heard))
    )


def with_preflight(status: JobStatus, seen: Observed) -> JobStatus:
    """What the open attempt's preflight came to; a new attempt starts without."""
    if st.open_attempt(seen.job.status) is None:
        return status
    if status.attempt != seen.job.status.attempt:
        return dataclasses.replace(status, preflight=None)
    report = next((told.preflight for told in accounts(seen) if told.preflight is not None), None)
    return status if report is None else dataclasses.replace(status, preflight=_preflight(report))


def _preflight(report: PreflightReport) -> JobPreflight:
    """Bounded again: an answer can hold anything."""
    return JobPreflight(
        verdict=report.verdict,
        scope=report.scope,
        seconds=text(report.seconds) or "0",
        failed=tuple(map(_failed_check, report.failed[:MAX_FAILED])),
    )


def _failed_check(row: CheckResult) -> FailedCheck:
    return FailedCheck(
        check=row.check,
        field=row.field[:MAX_TEXT],
        measured=row.measured[:MAX_TEXT],
        expected=row.expected[:MAX_TEXT],
        remedy=row.remedy[:MAX_TEXT],
        rank=row.rank,
    )


def seconds_until_due(seen: Observed, now: float) -> float | None:
    """When to look again for the sake of the numbers alone; None: not at all."""
    waits = (_numbers_wait(seen, now), _heard_waits(seen, now))
    return min((wait for wait in waits if wait is not None), default=None)


def _heard_waits(seen: Observed, now: float) -> float | None:
    """Until the next sign that somebody listens; a master that is silent is looked at less often."""
    heard_at = seen.job.status.progress.heard_at
    if seen.current_progress is None or seen.silent_seconds is None or heard_at is None:
        return None
    left = to_epoch(heard_at) + HEARD_EVERY_SECONDS - now
    return left if left > 0 else HEARD_EVERY_SECONDS / 2


def _numbers_wait(seen: Observed, now: float) -> float | None:
    """How long numbers that are known already have to wait; None when status holds them all.

    Without another look then, the last ones before a silence would never be written.
    """
    written, progress = seen.job.status.progress, seen.current_progress
    if progress is None or written.updated_at is None:
        return None
    if (progress.step, _moment(progress.updated_at)) == (written.step, written.updated_at):
        return None
    newest = max(now, progress.updated_at)  # a pod's clock may be ahead of ours
    return max(0.0, to_epoch(written.updated_at) + EVERY_SECONDS - newest)


def _due(status: JobStatus, seen: Observed, progress: Progress, now: float) -> bool:
    old = seen.job.status
    if progress.done or old.health != status.health or old.conditions != status.conditions:
        return True
    return old.progress.updated_at is None or _numbers_wait(seen, now) == 0.0


def _numbers(progress: Progress, old: JobProgress) -> JobProgress:
    step, total = progress.step, progress.total_steps
    return JobProgress(
        step=old.step if step is None else step,
        total_steps=total,
        percent=_percent(step, total),
        loss=text(progress.loss),
        gradient_norm=text(progress.gradient_norm),
        learning_rate=text(progress.learning_rate),
        audio_seconds_per_second=text(progress.audio_seconds_per_second),
        eta_seconds=whole(progress.eta_seconds),
        samples_skipped=sum(progress.samples_skipped.values()),
        non_finite_steps=progress.non_finite_steps,
        last_checkpoint_step=st.either(progress.last_checkpoint_step, old.last_checkpoint_step),
        last_confirmed_checkpoint_step=st.either(
            progress.last_confirmed_step, old.last_confirmed_checkpoint_step
        ),
        updated_at=_moment(progress.updated_at),
        rollbacks=old.rollbacks,
        discarded_steps=old.discarded_steps,
        first_bad=_bad_step(progress.first_bad),
        heard_at=old.heard_at,
        reads=_reads(progress.reads),
    )


def _last_words(numbers: JobProgress, outcome: Outcome) -> JobProgress:
    """What the master's outcome says at the end."""
    step = st.either(outcome.step, numbers.step)
    total = st.either(outcome.total_steps, numbers.total_steps)
    speed = text(outcome.audio_seconds_per_second)
    return dataclasses.replace(
        numbers,
        step=step,
        total_steps=total,
        percent=_percent(step, total),
        loss=text(outcome.loss) or numbers.loss,
        gradient_norm=text(outcome.gradient_norm) or numbers.gradient_norm,
        learning_rate=text(outcome.learning_rate) or numbers.learning_rate,
        audio_seconds_per_second=speed or numbers.audio_seconds_per_second,
        samples_skipped=st.either(outcome.samples_skipped, numbers.samples_skipped),
        non_finite_steps=st.either(outcome.non_finite_steps, numbers.non_finite_steps),
        last_checkpoint_step=st.either(outcome.last_checkpoint_step, numbers.last_checkpoint_step),
        last_confirmed_checkpoint_step=st.either(
            outcome.last_confirmed_step, numbers.last_confirmed_checkpoint_step
        ),
        first_bad=_bad_step(outcome.first_bad),
        reads=_reads(outcome.reads) or numbers.reads,
    )


def _reads(reads: Reads | None) -> Reads | None:
    """Bounded, as below."""
    if reads is None:
        return None
    parts = tuple(part[:MAX_TEXT] for part in reads.parts[:MAX_PARTS])
    return Reads(reads.form[:MAX_FORM], reads.reports, parts)


def _bad_step(bad: BadStep | None) -> BadStep | None:
    """Bounded: an answer can hold anything."""
    if bad is None:
        return None
    samples = tuple(name[-MAX_SAMPLE_NAME:] for name in bad.samples[:MAX_BAD_SAMPLES])
    component, module = bad.component[:MAX_TEXT], bad.module[:MAX_TEXT]
    return dataclasses.replace(bad, component=component, module=module, samples=samples)


def _percent(step: int | None, total: int | None) -> int | None:
    if step is None or not total or total < 0:
        return None
    return max(0, min(100, step * 100 // total))


def text(value: float | None) -> str | None:
    """A float as status holds it: six digits, `nan` and `inf` included."""
    return None if value is None else f"{value:.6g}"


def whole(value: float | None) -> int | None:
    """A float as a whole number that JSON readers agree on; None for NaN and the like."""
    if value is None or not math.isfinite(value) or not 0 <= value <= _LARGEST:
        return None
    return int(value)


def _moment(epoch: float) -> str | None:
    return to_text(epoch) if math.isfinite(epoch) and 0 < epoch < 2**33 else None
