"""Pods on a node that does not answer: an interruption, told by name, and nothing new beside them."""

from __future__ import annotations

from typing import Any

import pytest

from speech_contract.reasons import Condition, State
from speech_operator import status as st
from speech_operator.children import POD
from speech_operator.cluster.pod_record import record
from speech_operator.policies.stuck import OVERDUE_SECONDS
from speech_operator.reconcile import reconcile


def lost(build: Any, rank: int, overdue: float, **fields: Any) -> Any:
    """A pod that should have been gone so many seconds ago."""
    return build.pod(rank, deleting=True, gone_by=build.now - overdue, **fields)


def test_a_deletion_says_by_when() -> None:
    metadata: Any = {
        "name": "asr-master-0",
        "uid": "u",
        "deletionTimestamp": "1970-01-01T00:01:00Z",
    }
    made = record({"metadata": metadata, "status": {"phase": "Running"}}, "asr")
    assert (made.deleting, made.asked_at, made.gone_by) == (True, None, 60.0)
    metadata |= {"deletionGracePeriodSeconds": 20}
    made = record({"metadata": metadata, "status": {"phase": "Running"}}, "asr")
    assert (made.asked_at, made.gone_by) == (40.0, 60.0)


@pytest.mark.parametrize(
    ("overdue", "ends"), [(OVERDUE_SECONDS - 1, False), (OVERDUE_SECONDS, True)]
)
def test_a_pod_that_never_ends_ends_its_attempt(build: Any, overdue: float, ends: bool) -> None:
    """A dead kubelet sends no last word: its peers would wait for the pod, and the job for its peers."""
    pods = [build.pod(0), lost(build, 1, overdue, reason="DeletionByTaintManager")]
    plan = reconcile(build.seen(*pods), build.now)
    assert (plan.status.state is State.RESTARTING) is ends
    if not ends:
        assert plan.requeue_after == 1.0
        return
    assert plan.status.attempts[-1].cause == "DeletionByTaintManager"
    assert plan.status.restarts.counted == 0
    assert [delete.name for delete in plan.deletes] == ["asr-master-0"]


def test_what_peers_of_a_lost_pod_die_of_is_no_failure(build: Any) -> None:
    stalled = build.outcome(45, rule="Stalled")
    pods = [build.failed(0, 45, outcome=stalled), lost(build, 1, 0, reason="NodeLost")]
    plan = reconcile(build.seen(*pods), build.now)
    assert (plan.status.attempts[-1].cause, plan.status.restarts.counted) == ("NodeLost", 0)


def test_it_is_named_once_and_nothing_starts_beside_it(build: Any) -> None:
    pods = [build.pod(0), lost(build, 1, 100)]
    ended = reconcile(build.seen(*pods), build.now)
    left = lost(build, 1, 100)
    plan = reconcile(build.seen(left, status=ended.status), build.now)
    assert build.created(plan, POD) == []
    assert (plan.status.state, plan.status.reason) == (State.RESTARTING, "PodStuck")
    message = str(plan.status.message)
    assert message.startswith("pod asr-worker-0 was to be gone more than a minute ago; node node-1")
    assert "kubectl delete node node-1" in message
    told = [e for e in (*ended.events, *plan.events) if e.reason == "PodStuck"]
    assert [event.warning for event in told] == [True]
    again = reconcile(build.seen(left, status=plan.status), build.now + 30)
    assert again.events == ()


def test_once_it_is_gone_the_next_attempt_opens(build: Any) -> None:
    ended = reconcile(build.seen(build.pod(0), lost(build, 1, 100)), build.now).status
    plan = reconcile(build.seen(status=ended), build.now)
    assert (plan.status.attempt, len(build.created(plan, POD))) == (2, 2)
    found = st.condition(plan.status, Condition.RUNNING)
    assert found is not None
    assert found.reason == "AttemptStarted"


def test_a_job_that_stops_tells_what_it_waits_for(build: Any) -> None:
    pods = [lost(build, n, 100) for n in (0, 1)]
    plan = reconcile(build.seen(*pods, spec=build.spec(suspend=True)), build.now)
    assert (plan.status.state, plan.status.reason) == (State.SUSPENDING, "PodStuck")
    assert "(and 1 more)" in str(plan.status.message)


def test_a_finished_job_waits_for_nobody(build: Any) -> None:
    status = st.with_success(build.status(), "training is done", build.now)
    plan = reconcile(build.seen(build.done(0), lost(build, 1, 100), status=status), build.now)
    assert plan.status.reason == "TrainingSucceeded"
    assert "PodStuck" not in [event.reason for event in plan.events]
