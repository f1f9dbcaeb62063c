"""All pods of an attempt or none: what is cleared away first, what is created, when a gang is whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.progress import Rule
from speech_contract.reasons import Condition, Reason, State
from speech_contract.run_config import ResumeFrom
from speech_contract.status import Attempt, JobStatus
from speech_operator import status as st
from speech_operator.child_kind import ChildRecord
from speech_operator.children import CONFIG_MAP, POD, SERVICE
from speech_operator.plan import Create, Delete, Draft
from speech_operator.policies.gang import gang
from speech_operator.reconcile import reconcile
from speech_operator.timestamps import to_text


def alone(build: Any, *pods: Any, **fields: Any) -> Draft:
    """What the policy by itself makes of such a snapshot."""
    seen = build.seen(*pods, **fields)
    return gang(seen, Draft(seen.job.status), build.now)


def running(made: Any) -> tuple[str, str]:
    found = st.condition(made.status, Condition.RUNNING)
    return (found.status.value, found.reason) if found else ("", "")


def test_the_intent_is_written_before_the_first_pod(build: Any) -> None:
    plan = reconcile(build.seen(status=JobStatus()), build.now)
    assert plan.status_first
    assert (plan.status.attempt, plan.status.state) == (1, State.STARTING)
    kinds = [create.kind for create in plan.creates]
    assert kinds == [CONFIG_MAP, POD, POD]
    assert [(e.reason, e.message) for e in plan.events] == [("AttemptStarted", "attempt 1 starts")]


def test_a_pass_that_was_cut_short_is_taken_up(build: Any) -> None:
    status = build.status(whole=False)
    begun = reconcile(build.seen(status=status), build.now)
    config = build.config_of(begun)
    plan = reconcile(build.seen(build.pod(1), status=status, run_config=config), build.now)
    assert [c.manifest["metadata"]["name"] for c in plan.creates] == ["asr-master-0"]
    assert plan.status.attempt == 1


def test_the_next_attempt_waits_for_the_old_uids(build: Any) -> None:
    status = st.end_attempt(build.status(), Reason.ATTEMPT_FAILED, build.now)
    plan = reconcile(build.seen(build.pod(1, deleting=True), status=status), build.now)
    assert (plan.creates, plan.deletes, plan.status.attempt) == ((), (), 1)
    plan = reconcile(build.seen(build.pod(1), status=status), build.now)
    assert plan.deletes == (Delete(POD, "asr-worker-0", "asr-worker-0-1", 5),)


def test_then_all_come_back(build: Any) -> None:
    status = st.end_attempt(build.status(), Reason.ATTEMPT_FAILED, build.now)
    plan = reconcile(build.seen(status=status), build.now)
    assert plan.status.attempt == 2
    (event,) = [e for e in plan.events if e.reason == "GangRestart"]
    assert event.message == "attempt 2 starts: all pods come back"
    pods = build.created(plan, POD)
    assert [p["metadata"]["labels"]["speechtrain.dev/attempt"] for p in pods] == ["2", "2"]


def test_run_configs_of_old_attempts_go(build: Any) -> None:
    status = build.status(attempt=3, whole=False)
    old = tuple(ChildRecord(f"asr-attempt-{n}", f"uid-{n}", build.uid, n) for n in (1, 2))
    opened = build.seen(status=status, stale_run_configs=old)
    plan = reconcile(opened, build.now)
    assert plan.deletes == ()  # what the job was accepted with is never in none of them
    seen = dataclasses.replace(opened, run_config=build.config_of(plan))
    assert reconcile(seen, build.now).deletes == tuple(
        Delete(CONFIG_MAP, one.name, one.uid) for one in old
    )


def test_a_name_that_is_taken_is_said_and_nothing_is_adopted(build: Any) -> None:
    foreign = build.pod(1, owner_uid="somebody")
    plan = reconcile(build.seen(foreign, status=JobStatus()), build.now)
    assert (plan.deletes, plan.creates) == ((), ())
    assert running(plan) == ("False", "NameTaken")
    assert plan.requeue_after == 10
    (event,) = [e for e in plan.events if e.reason == "NameTaken"]
    assert event.warning
    assert event.message.startswith("pods asr-worker-0 belong to somebody else")
    again = reconcile(build.seen(foreign, status=plan.status), build.now)
    assert again.events == ()
    freed = reconcile(build.seen(status=plan.status), build.now)
    assert len(freed.creates) == 3


def test_a_whole_gang_is_noted(build: Any) -> None:
    seen = build.seen(build.pod(0), build.pod(1), status=build.status(whole=False))
    assert running(reconcile(seen, build.now)) == ("False", "PodCreated")


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], ResumeFrom.NEWEST),
        ([(1, 5)], ResumeFrom.NEWEST),
        ([(40, 5)], ResumeFrom.CONFIRMED),
        ([(40, 5), (75, None)], ResumeFrom.CONFIRMED),
        ([(40, 5), (75, 9)], ResumeFrom.NEWEST),
        ([(1, None), (1, None)], ResumeFrom.NEWEST),
    ],
)
def test_where_an_attempt_resumes(build: Any, history: Any, expected: ResumeFrom) -> None:
    past = to_text(build.now - 50)
    attempts = tuple(
        Attempt(number, past, past, exit_code=code, last_step=step)
        for number, (code, step) in enumerate(history, 1)
    )
    status = build.status(attempt=len(history), attempts=attempts)
    plan = reconcile(build.seen(status=status), build.now)
    assert build.config_of(plan).resume_from is expected


def test_a_spike_that_ended_an_attempt_bounds_what_the_next_resumes_from(build: Any) -> None:
    spike = build.finding(Rule.LOSS_SPIKE, step=61)
    nan = build.finding(Rule.NON_FINITE, step=3)  # the trainer's own marks tell of this one
    cases: list[tuple[Any, int | None]] = [(spike, 61), (nan, None)]
    for finding, expected in cases:
        end = build.outcome(
            40, rule=finding.rule.value, findings=[nan, spike], last_confirmed_step=60
        )
        seen = build.solo(build.failed(0, 40, outcome=end))
        ended = reconcile(seen, build.now).status
        assert ended.attempts[-1].first_bad_step == expected
        plan = reconcile(build.solo(status=ended), build.now + 1)
        assert build.config_of(plan).resume_from is ResumeFrom.CONFIRMED
        assert build.config_of(plan).resume_before == expected


def test_only_the_newest_ten_attempts_are_kept(build: Any) -> None:
    status = JobStatus()
    for _ in range(15):
        status = st.end_attempt(
            st.begin_attempt(status, build.now), Reason.ATTEMPT_FAILED, build.now
        )
    assert [attempt.number for attempt in status.attempts] == list(range(6, 16))


@pytest.mark.parametrize(
    ("reasons", "grace"),
    [
        (("AttemptFailed", "AttemptInterrupted"), 120),
        (("AttemptInterrupted", "AttemptFailed"), 5),
        (("Evicted",), 120),
        ((None,), 5),
    ],
)
def test_pods_of_an_attempt_that_ended_get_the_time_that_its_end_gives_them(
    build: Any, reasons: Any, grace: int
) -> None:
    past = to_text(build.now - 50)
    attempts = tuple(Attempt(n, past, past, reason) for n, reason in enumerate(reasons, 1))
    status = build.status(attempt=len(attempts), attempts=attempts)
    draft = alone(build, build.pod(0, deleting=True), build.pod(1), status=status)
    assert [(d.name, d.grace_seconds) for d in draft.deletes] == [("asr-worker-0", grace)]
    assert draft.creates == ()


def test_a_gang_that_was_whole_is_never_filled_up(build: Any) -> None:
    draft = Draft(build.status())
    assert gang(build.seen(build.pod(0)), draft, build.now) is draft


@pytest.mark.parametrize("deleting", [False, True])
def test_a_gang_is_not_whole_while_a_pod_of_an_older_attempt_has_one_of_its_names(
    build: Any, deleting: bool
) -> None:
    """It came late, made by an operator that was cut off; when it is gone its place is filled."""
    status = build.status(attempt=2, whole=False)
    old = build.pod(1, attempt=1, deleting=deleting)
    draft = alone(build, build.pod(0, attempt=2), old, status=status)
    assert [(d.uid, d.grace_seconds) for d in draft.deletes] == [("asr-worker-0-1", 5)] * (
        not deleting
    )
    assert running(draft) == ("False", "AttemptStarted")
    assert POD not in [create.kind for create in draft.creates]
    filled = alone(build, build.pod(0, attempt=2), status=status)
    assert [p["metadata"]["name"] for p in build.created(filled, POD)] == ["asr-worker-0"]


@pytest.mark.parametrize("there", [True, False])
def test_the_service_is_made_where_there_is_none(build: Any, there: bool) -> None:
    draft = alone(build, status=JobStatus(), service_present=there)
    kinds = [create.kind for create in draft.creates]
    assert kinds == [CONFIG_MAP, *([] if there else [SERVICE]), POD, POD]


def test_an_attempt_has_a_run_config_of_its_own(build: Any) -> None:
    first = build.config_of(alone(build, status=JobStatus()))
    status = st.end_attempt(build.status(), Reason.ATTEMPT_FAILED, build.now)
    assert build.config_of(alone(build, status=status, run_config=first)).attempt == 2


def test_what_others_create_in_the_pass_is_created_too(build: Any) -> None:
    other = Create(SERVICE, dict)
    status = JobStatus()
    draft = gang(build.seen(status=status), Draft(status, creates=(other,)), build.now)
    assert draft.creates[0] is other
    assert len(draft.creates) == 4
