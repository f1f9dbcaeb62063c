"""Pods on a node that does not answer: an interruption, told by name, and nothing new beside them."""

from __future__ import annotations

from typing import Any

import pytest

from speech_contract.reasons import Condition, Reason, State
from speech_operator import status as st
from speech_operator.children import POD
from speech_operator.cluster.pod_record import record
from speech_operator.plan import Draft
from speech_operator.policies.stuck import overdue_in, stuck
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import NodeRecord


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


@pytest.mark.parametrize(("overdue", "ends"), [(59, False), (60, True)])
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


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"deleting": True, "gone_by": 100.0}, 10.0),
        ({"deleting": True}, None),  # nobody says by when
        ({"gone_by": 100.0}, None),
    ],
)
def test_a_pod_is_waited_for_a_minute_beyond_its_grace(
    build: Any, fields: Any, left: float | None
) -> None:
    assert overdue_in(build.pod(0, **fields), 150.0) == left


def alone(build: Any, *pods: Any, status: Any = None, nodes: Any = None) -> Draft:
    """What the policy by itself does of an attempt that has ended, unless another status is given."""
    status = status or st.end_attempt(build.status(), Reason.ATTEMPT_INTERRUPTED, build.now)
    return stuck(build.seen(*pods, status=status, nodes=nodes or {}), Draft(status), build.now)


def node(build: Any, seconds: float | None = None, **fields: Any) -> Any:
    """Node 1, not Ready for so long."""
    since = None if seconds is None else build.now - seconds
    return {"node-1": NodeRecord("node-1", "u", not_ready_since=since, **fields)}


@pytest.mark.parametrize(
    ("overdue", "away", "again", "told"),
    [
        (59, None, 1.0, ""),
        (60, None, None, "more than a minute ago"),
        (61, None, None, "more than a minute ago"),
        (-1, 30, 1.0, ""),  # a node that is known to be down is not waited for beyond the grace
        (0, 30, None, "by now"),
        (59, 30, None, "by now"),
        (60, 30, None, "more than a minute ago"),
        (0, 29, 60.0, ""),
    ],
)
def test_when_a_pod_is_told_to_be_stuck(
    build: Any, overdue: float, away: float | None, again: float | None, told: str
) -> None:
    nodes = None if away is None else node(build, away)
    draft = alone(build, build.pod(0), lost(build, 1, overdue), nodes=nodes)
    assert draft.requeue_after == again
    assert [event.reason for event in draft.events] == (["PodStuck"] if told else [])
    assert all(f"was to be gone {told};" in event.message for event in draft.events)


@pytest.mark.parametrize(
    ("where", "seconds", "says"),
    [
        ("", None, "; node unknown does not answer. Nothing starts beside it. When the machine is off"),
        ("node-9", None, "; node node-9 does not answer. Nothing starts beside it. When the machine"),
        ("node-1", None, "; node node-1 is Ready. Nothing starts beside it. Its kubelet is at it"),
        ("node-1", 1.8e9, "; node node-1 has been NotReady since 1970-01-01T00:00:00Z. Nothing"),
    ],
)  # fmt: skip
def test_what_is_known_of_its_node_and_what_to_do(
    build: Any, where: str, seconds: float | None, says: str
) -> None:
    (event,) = alone(build, lost(build, 1, 70, node=where), nodes=node(build, seconds)).events
    assert says in event.message


def test_of_several_the_first_is_named_and_those_alone_are_deleted_whose_node_is_off(
    build: Any,
) -> None:
    pods = [lost(build, n, 70, node=f"node-{n % 2}") for n in (3, 2, 1)]
    (event,) = alone(build, *pods).events
    assert event.message.startswith("pod asr-worker-0 (and 2 more) was to be gone")
    draft = alone(build, *pods, nodes=node(build, 40, out_of_service=True))
    assert [(d.name, d.grace_seconds) for d in draft.deletes] == [
        ("asr-worker-2", 0),
        ("asr-worker-0", 0),
    ]
    (event,) = draft.events
    assert event.message.endswith("its pod asr-worker-0 (and 1 more) is deleted by force")
    assert (event.reason, event.warning) == ("PodAbandoned", True)
    running = st.condition(draft.status, Condition.RUNNING)
    assert running is not None
    assert (running.status.value, running.reason) == ("False", "PodAbandoned")


@pytest.mark.parametrize("case", ["trains", "given back"])
def test_a_job_that_trains_or_gave_its_pods_back_is_not_told_of(build: Any, case: str) -> None:
    reason = Reason.TRAINING_STARTED if case == "trains" else Reason.GANG_RELEASED
    status = st.with_condition(
        build.status(), Condition.RUNNING, case == "trains", reason, "", build.now
    )
    draft = alone(build, lost(build, 1, 100), status=status)
    assert draft == Draft(status)


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
