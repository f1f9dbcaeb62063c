"""When a job is complete, and when an exit code of 0 is no success."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition, Reason, State
from speech_contract.recipes import RecipeSpec, VitsRecipe
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.policies.success import critical, stopped_well, succeeded, success
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import PodPhase
from speech_operator.timestamps import to_text

ASKED = {"deleting": True, "asked_at": 100.0, "finished_at": 105.0}


def alone(build: Any, *pods: Any, **fields: Any) -> Draft:
    """What the policy by itself makes of such pods."""
    seen = build.seen(*pods, **fields)
    return success(seen, Draft(seen.job.status), build.now)


def test_the_masters_word_is_enough(build: Any) -> None:
    plan = reconcile(build.seen(build.done(0), build.pod(1)), build.now)
    assert plan.status.state is State.COMPLETE
    assert plan.status.completion_time == to_text(build.now)
    assert plan.requeue_after == 0
    (event,) = [e for e in plan.events if e.reason == "TrainingSucceeded"]
    assert (event.message, event.warning) == ("training is done", False)


def test_it_decides_the_pass_and_the_next_one_cleans_up(build: Any) -> None:
    draft = alone(build, build.done(0))
    assert (draft.decided, draft.requeue_after, draft.deletes) == (True, 0.0, ())


def test_the_step_that_it_reached_is_in_the_sentence(build: Any) -> None:
    told = build.outcome(0, step=40, resumed_from_step=15)
    (event,) = alone(build, build.done(0, outcome=told)).events
    assert event.message == "training is done at step 40"


def test_an_attempt_that_ended_well_says_from_where_to_where_it_went(build: Any) -> None:
    told = build.outcome(0, step=40, resumed_from_step=15)
    plan = reconcile(build.seen(build.done(0, outcome=told), build.pod(1)), build.now)
    assert plan.status.state is State.COMPLETE
    assert plan.status.attempts[-1].resumed_from_step == 15
    assert plan.status.attempts[-1].last_step == 40


def test_a_worker_that_fails_after_the_master_is_done_changes_nothing(build: Any) -> None:
    plan = reconcile(build.seen(build.done(0), build.failed(1)), build.now)
    assert plan.status.state is State.COMPLETE


@pytest.mark.parametrize(
    "case", ["no master", "it runs", "a worker alone is done", "between attempts"]
)
def test_without_the_masters_word_nothing_is_said(build: Any, case: str) -> None:
    status, pods = build.status(), [build.done(0), build.pod(1)]
    if case == "no master":
        pods = [build.done(1)]
    elif case == "it runs":
        pods = [build.pod(0), build.pod(1)]
    elif case == "a worker alone is done":
        pods = [build.pod(0), build.done(1)]
    else:
        status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
    assert alone(build, *pods, status=status) == Draft(status)


@pytest.mark.parametrize(
    ("mode", "finding", "state"),
    [
        ("Enforce", {}, State.FAILED),
        ("Enforce", {"status": FindingStatus.HEALED}, State.COMPLETE),
        ("Enforce", {"severity": Severity.WARNING}, State.COMPLETE),
        ("Notify", {}, State.COMPLETE),
    ],
)
def test_an_open_critical_finding_stands_against_exit_code_0(
    build: Any, mode: str, finding: Any, state: State
) -> None:
    told = build.outcome(0, findings=[build.finding(**finding)], verdict="Critical")
    spec = build.spec(health={"mode": mode})
    plan = reconcile(build.seen(build.done(0, outcome=told), spec=spec), build.now)
    assert plan.status.state is state
    if state is State.FAILED:
        assert plan.status.failure is not None
        assert plan.status.failure.reason == Reason.CRITICAL_FINDING.value
        assert "ZeroLoss" in plan.status.failure.message


@pytest.mark.parametrize(("node", "named"), [("node-0", "node-0"), ("", None)])
def test_such_a_failure_says_where_and_why(build: Any, node: str, named: str | None) -> None:
    found = build.finding(evidence="20 reports of exactly 0", remedy="look at it", rank=3)
    told = build.outcome(0, findings=[found], log_tail="bye")
    draft = alone(build, build.done(0, outcome=told, node=node))
    failure = draft.status.failure
    assert failure is not None
    assert failure.message == "exit code 0, but ZeroLoss is open: 20 reports of exactly 0"
    assert (failure.pod, failure.rank, failure.node) == ("asr-master-0", 3, named)
    assert (failure.exit_code, failure.remedy, failure.log_tail) == (0, "look at it", "bye")
    assert [(e.reason, e.warning) for e in draft.events] == [("CriticalFinding", True)]
    assert (draft.decided, draft.requeue_after) == (True, 0.0)
    assert draft.status.attempts[-1].reason == "CriticalFinding"
    assert st.is_true(draft.status, Condition.FAILED)


def test_the_first_critical_finding_that_is_open_is_named(build: Any) -> None:
    findings = [
        build.finding(Rule.LOSS_SPIKE, severity=Severity.WARNING),
        build.finding(Rule.STALLED, status=FindingStatus.HEALED),
        build.finding(Rule.NON_FINITE),
        build.finding(Rule.ZERO_LOSS),
    ]
    master = build.done(0, outcome=build.outcome(0, findings=findings))
    seen = build.seen(master)
    found = critical(seen, master)
    assert found is not None
    assert found.rule is Rule.NON_FINITE
    assert not succeeded(seen)


@pytest.mark.parametrize(
    ("fields", "well"),
    [
        ({}, True),
        ({"exit_code": None}, True),
        ({"exit_code": 1}, False),
        ({"phase": PodPhase.FAILED}, False),
        ({"phase": PodPhase.RUNNING, "exit_code": None}, False),
        (ASKED, False),
    ],
)
def test_what_a_master_says_that_is_done(build: Any, fields: Any, well: bool) -> None:
    given = {"phase": PodPhase.SUCCEEDED, "exit_code": 0, **fields}
    assert succeeded(build.seen(build.pod(0, **given))) is well
    assert not succeeded(build.seen(build.pod(1, **given)))


@pytest.mark.parametrize(
    ("fields", "stopped"),
    [
        ({}, True),
        ({"finished_at": 100.0}, True),  # a second is all that Kubernetes tells apart
        ({"finished_at": 99.0}, False),
        ({"finished_at": None}, True),
        ({"asked_at": None}, True),
        ({"deleting": False}, False),
        ({"exit_code": 1}, False),
        ({"phase": PodPhase.FAILED}, False),
        ({"phase": PodPhase.RUNNING, "exit_code": None}, False),
    ],
)
def test_a_script_that_was_asked_to_stop_and_ends_well_is_not_done(
    build: Any, fields: Any, stopped: bool
) -> None:
    pod = dataclasses.replace(build.done(0), **{**ASKED, **fields})
    seen = build.seen(pod)
    assert stopped_well(seen, pod) is stopped
    ours = seen.spec.model_copy(update={"recipe": RecipeSpec(vits=VitsRecipe())})
    assert not stopped_well(build.seen(pod, spec=ours), pod)  # a recipe of ours says 75 then
