"""Suspending saves first and frees the devices; resuming goes on from there, and no budget pays for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.phases import Phase
from speech_contract.reasons import Condition, Reason, State
from speech_contract.run_config import ResumeFrom
from speech_contract.status import JobStatus, Startup
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.policies.suspend import suspend, what_the_pods_said
from speech_operator.reconcile import reconcile
from speech_operator.timestamps import to_epoch, to_text


def suspending(build: Any) -> Any:
    status = build.status()
    return st.with_condition(status, Condition.SUSPENDED, False, Reason.SUSPENDING, "", build.now)


def suspended_of(made: Any) -> tuple[str, str, str]:
    found = st.condition(made.status, Condition.SUSPENDED)
    return (found.status.value, found.reason, found.message) if found else ("", "", "")


def alone(build: Any, *pods: Any, wanted: bool = True, **fields: Any) -> Draft:
    """What the policy by itself does of a job that is to be suspended, or no longer."""
    seen = build.seen(*pods, spec=build.spec(suspend=wanted), **fields)
    return suspend(seen, Draft(seen.job.status), build.now)


def test_created_suspended_starts_nothing(build: Any) -> None:
    seen = build.seen(spec=build.spec(suspend=True), status=JobStatus())
    plan = reconcile(seen, build.now)
    assert plan.creates == ()
    assert (plan.status.state, plan.status.start_time) == (State.SUSPENDED, None)


def test_running_pods_get_the_whole_grace_and_status_goes_first(build: Any) -> None:
    spec = build.spec(suspend=True, terminationGracePeriodSeconds=33)
    plan = reconcile(build.seen(build.pod(0), build.pod(1), spec=spec), build.now)
    assert plan.status.state is State.SUSPENDING
    assert plan.status_first
    assert [(d.name, d.grace_seconds) for d in plan.deletes] == [
        ("asr-master-0", 33),
        ("asr-worker-0", 33),
    ]


def test_what_the_pods_said_while_saving_is_kept(build: Any) -> None:
    told = build.outcome(75, step=42, last_checkpoint_step=42)
    pods = [build.failed(0, 75, deleting=True, outcome=told), build.pod(1, deleting=True)]
    plan = reconcile(build.seen(*pods, spec=build.spec(suspend=True)), build.now)
    assert plan.status.attempts[-1].last_step == 42
    assert plan.status.attempts[-1].end_time is None
    assert plan.status.progress.last_checkpoint_step == 42


def test_suspended_once_all_are_gone(build: Any) -> None:
    status = suspending(build)
    plan = reconcile(build.seen(spec=build.spec(suspend=True), status=status), build.now)
    assert plan.status.state is State.SUSPENDED
    assert plan.status.attempts[-1].reason == Reason.SUSPENDED.value
    assert plan.status.restarts.counted == 0
    again = reconcile(build.seen(spec=build.spec(suspend=True), status=plan.status), build.now + 9)
    assert again.status == plan.status
    assert again.requeue_after is None


def test_a_job_that_was_done_first_completes(build: Any) -> None:
    seen = build.seen(build.done(0), build.pod(1), spec=build.spec(suspend=True))
    assert reconcile(seen, build.now).status.state is State.COMPLETE


def test_resume_moves_the_start_and_opens_the_next_attempt(build: Any) -> None:
    status = suspending(build)
    suspended = reconcile(
        build.seen(spec=build.spec(suspend=True), status=status), build.now
    ).status
    plan = reconcile(build.seen(status=suspended), build.now + 1000)
    assert to_epoch(str(plan.status.start_time)) == to_epoch(status.start_time) + 1000
    assert plan.status.attempt == 2
    assert plan.status_first
    assert suspended_of(plan)[:2] == ("False", "Resumed")
    assert build.config_of(plan).resume_from is ResumeFrom.NEWEST


def test_suspended_time_does_not_count_for_the_deadline(build: Any) -> None:
    spec = build.spec(activeDeadlineSeconds=150)
    asleep = build.spec(activeDeadlineSeconds=150, suspend=True)
    status = reconcile(build.seen(spec=asleep, status=suspending(build)), build.now).status
    late = build.now + 1e6
    assert reconcile(build.seen(spec=asleep, status=status), late).status.state is State.SUSPENDED
    plan = reconcile(build.seen(spec=spec, status=status), late)
    assert plan.status.state is not State.FAILED
    assert plan.requeue_after == pytest.approx(50)


def test_taken_back_while_saving_is_a_free_restart(build: Any) -> None:
    pods = [build.failed(0, 75, deleting=True), build.failed(1, 75, deleting=True)]
    plan = reconcile(build.seen(*pods, status=suspending(build)), build.now)
    assert plan.status.state is State.RESTARTING
    assert plan.status.restarts.counted == 0


def test_a_job_that_nobody_suspends_is_left_alone(build: Any) -> None:
    draft = Draft(build.status())
    assert suspend(build.seen(build.pod(0)), draft, build.now) is draft
    resumed = st.with_condition(
        build.status(), Condition.SUSPENDED, False, Reason.RESUMED, "", build.now - 9
    )
    assert alone(build, wanted=False, status=resumed) == Draft(resumed)


def test_stopping_is_told_once_and_pods_that_stop_are_not_asked_again(build: Any) -> None:
    pods = [build.pod(0, deleting=True), build.pod(1)]
    first = alone(build, *pods)
    assert suspended_of(first) == ("False", "Suspending", "the pods save and stop")
    assert [(e.reason, e.warning) for e in first.events] == [("Suspending", False)]
    assert [delete.name for delete in first.deletes] == ["asr-worker-0"]
    assert (first.decided, first.status_first) == (True, True)
    again = alone(build, *pods, status=first.status)
    assert (again.events, again.status, again.decided) == ((), first.status, True)


@pytest.mark.parametrize(
    ("begun", "message"),
    [
        (True, "saved and freed; set runPolicy.suspend: false to go on"),
        (False, "suspended before it began; set runPolicy.suspend: false to start it"),
    ],
)
def test_once_it_is_suspended_nothing_runs_waits_or_starts(
    build: Any, begun: bool, message: str
) -> None:
    status = build.status() if begun else JobStatus()
    for kind in (Condition.RUNNING, Condition.RESTARTING, Condition.QUEUED):
        status = st.with_condition(status, kind, True, "x", "", build.now - 9)
    status = dataclasses.replace(status, startup=Startup(Phase.PULLING, to_text(build.now - 9)))
    draft = alone(build, status=status)
    assert suspended_of(draft) == ("True", "Suspended", message)
    assert {
        c.status.value for c in draft.status.conditions if c.type is not Condition.SUSPENDED
    } == {"False"}
    assert (draft.status.startup, draft.decided) == (None, True)
    assert [(e.reason, e.message) for e in draft.events] == [("Suspended", message)]
    again = alone(build, status=draft.status)
    assert (again.status, again.events, again.decided) == (draft.status, (), True)


def test_a_job_that_no_queue_admits_gets_no_word_of_queues(build: Any) -> None:
    assert st.condition(alone(build).status, Condition.QUEUED) is None


@pytest.mark.parametrize("wholly", [True, False])
def test_going_on_is_told_and_only_time_suspended_is_given_back(build: Any, wholly: bool) -> None:
    status, now = build.status(), build.now - 40
    reason = Reason.SUSPENDED if wholly else Reason.SUSPENDING
    before = st.with_condition(status, Condition.SUSPENDED, wholly, reason, "", now)
    draft = alone(build, wanted=False, status=before)
    assert suspended_of(draft)[:2] == ("False", "Resumed")
    assert [(e.reason, e.warning) for e in draft.events] == [("Resumed", False)]
    assert (draft.status_first, draft.decided) == (True, False)
    moved = to_epoch(str(draft.status.start_time)) - to_epoch(str(status.start_time))
    assert moved == (40 if wholly else 0)


@pytest.mark.parametrize(
    ("case", "code"),
    [("failed", 75), ("runs", None), ("is done", None), ("between attempts", None)],
)
def test_the_code_of_a_pod_that_failed_in_the_open_attempt_is_kept(
    build: Any, case: str, code: int | None
) -> None:
    pod = {"failed": build.failed(0, 75), "runs": build.pod(0), "is done": build.done(0)}
    status = build.status()
    if case == "between attempts":
        status = st.end_attempt(status, Reason.SUSPENDED, build.now)
    seen = build.seen(pod.get(case, build.failed(0, 75)), status=status)
    assert what_the_pods_said(seen, status).attempts[-1].exit_code == code
