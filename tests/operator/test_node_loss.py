"""Nodes that no longer answer: who is lost with them and when, what is told once, and what is deleted by force."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speech_contract.api import parse
from speech_contract.outcome import Next
from speech_contract.phases import Phase
from speech_contract.reasons import Condition, Reason, State
from speech_operator import status as st
from speech_operator.children import NODE, POD
from speech_operator.cluster.node_record import node
from speech_operator.ending import Ending
from speech_operator.plan import Draft
from speech_operator.policies.node_loss import down_for, lost_in, node_watch, state_of, with_node
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import NodeRecord, PodPhase


def document(name: str = "node-1", ready: str = "True", **spec: Any) -> dict[str, Any]:
    told = {"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:01:00Z"}
    return {
        "metadata": {"name": name, "uid": f"uid-{name}"},
        "spec": spec,
        "status": {"conditions": [{"type": "MemoryPressure", "status": "False"}, told]},
    }


OUT = {"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("made", "since", "out", "cordoned", "off"),
    [
        (document(), None, False, False, False),
        (document(ready="False"), 60.0, False, False, False),
        (document(ready="Unknown"), 60.0, False, False, False),
        (document(ready="Unknown", taints=[OUT]), 60.0, True, False, True),
        (document(taints=[OUT]), None, True, False, False),  # it lives: the taint is of before
        (document(unschedulable=True), None, False, True, False),
        ({"metadata": {"name": "node-1", "uid": "u"}}, None, False, False, False),
    ],
)
def test_what_is_kept_of_a_node(
    made: Any, since: float | None, out: bool, cordoned: bool, off: bool
) -> None:
    found = node(made, "")
    assert (found.not_ready_since, found.out_of_service, found.cordoned) == (since, out, cordoned)
    assert found.off is off


def test_a_heartbeat_is_no_news() -> None:
    later = document()
    later["status"]["conditions"][1]["lastHeartbeatTime"] = "1970-01-01T00:05:00Z"
    assert node(later, "") == node(document(), "")


def test_a_node_concerns_the_jobs_with_pods_on_it(build: Any) -> None:
    assert NODE.concerns is not None
    one = NodeRecord("node-1", "u")
    assert [NODE.concerns(one, build.pod(rank)) for rank in (0, 1)] == [False, True]


def down(build: Any, seconds: float, name: str = "node-1", **fields: Any) -> dict[str, NodeRecord]:
    return {name: NodeRecord(name, "u", not_ready_since=build.now - seconds, **fields)}


HEARD: dict[str, float] = {}

TABLE: list[Any] = [
    # node down for, master silent for, unheard workers → seconds until worker 1 is lost
    pytest.param(95, 0.5, {"1": 40.0}, 0.0, id="both witnesses"),
    pytest.param(95, 20.5, {"1": 10.0}, 0.0, id="it was silent before the last answer, and since"),
    pytest.param(95, 2.0, {"1": 10.0}, 18.0, id="silent for too short a time"),
    pytest.param(10, 0.5, {"1": 40.0}, 20.0, id="NotReady for too short a time"),
    pytest.param(95, 0.5, HEARD, None, id="its supervisor speaks: only the kubelet is away"),
    pytest.param(30, 0.5, {"1": 40.0}, 0.0, id="NotReady for just long enough"),
    pytest.param(95, 30.0, HEARD, 0.0, id="nobody answers at all"),
    pytest.param(95, 29.0, HEARD, None, id="somebody answered a moment ago, and its supervisor spoke"),
    pytest.param(95, None, HEARD, 30.0, id="an operator that has just started only begins to listen"),
    pytest.param(None, 31.0, {"1": 40.0}, None, id="the node is Ready: a stall is health's matter"),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "silent", "unheard", "left"), TABLE)
def test_a_pod_is_lost_when_node_and_progress_agree(
    build: Any, seconds: float | None, silent: float | None, unheard: Any, left: float | None
) -> None:
    nodes = {} if seconds is None else down(build, seconds)
    told = build.progress(phase=Phase.TRAINING, running=True, unheard=unheard)
    pods = [build.pod(0), build.pod(1)]
    seen = build.seen(*pods, nodes=nodes, progress=told, silent_seconds=silent)
    assert lost_in(seen, pods[1], build.now) == left
    plan = reconcile(seen, build.now)
    assert (plan.status.state is State.RESTARTING) is (left == 0)
    if left:
        assert plan.requeue_after is not None
        assert plan.requeue_after <= left


def test_the_masters_own_silence_counts_for_its_own_node_alone(build: Any) -> None:
    told = build.progress(running=True)
    pods = [build.pod(0), build.pod(1)]
    given: Any = {"progress": told, "silent_seconds": 12.0}
    seen = build.seen(*pods, nodes=down(build, 95, "node-0"), **given)
    assert lost_in(seen, pods[0], build.now) == 18.0
    assert lost_in(seen, pods[1], build.now) is None


@pytest.mark.parametrize(
    ("worker", "phase", "lost"),
    [
        ({"phase": PodPhase.PENDING}, Phase.RENDEZVOUS, True),
        ({}, Phase.RENDEZVOUS, True),
        ({}, Phase.TRAINING, False),
        ({"phase": PodPhase.FAILED, "exit_code": 1, "finished_at": 0.0}, Phase.TRAINING, False),
    ],
)
def test_a_pod_that_never_came_is_lost_by_its_node_alone(
    build: Any, worker: Any, phase: Phase, lost: bool
) -> None:
    pods = [build.pod(0), build.pod(1, **worker)]
    told = build.progress(phase=phase)
    seen = build.seen(*pods, nodes=down(build, 40), progress=told, silent_seconds=1.0)
    assert (lost_in(seen, pods[1], build.now) == 0) is lost


@pytest.mark.parametrize(
    ("master", "progress", "left"),
    [
        (None, True, 0.0),
        ({"phase": PodPhase.PENDING}, True, 0.0),  # and so nobody trains
        ({}, True, None),
        ({}, False, 18.0),  # the silence of the master is all there is to go by
    ],
)
def test_who_should_have_heard_of_a_worker(
    build: Any, master: Any, progress: bool, left: float | None
) -> None:
    pods = [build.pod(1)] if master is None else [build.pod(0, **master), build.pod(1)]
    told = build.progress(running=True) if progress else None
    seen = build.seen(*pods, nodes=down(build, 95), progress=told, silent_seconds=12.0)
    assert lost_in(seen, pods[-1], build.now) == left


@pytest.mark.parametrize(
    ("said", "cause"), [("", "NodeLost"), ("DeletionByTaintManager", "DeletionByTaintManager")]
)
def test_a_lost_pod_keeps_the_reason_that_the_cluster_gave(
    build: Any, said: str, cause: str
) -> None:
    pods = [build.pod(0), build.pod(1, reason=said)]
    told = build.progress(running=True, unheard={"1": 60.0})
    seen = build.seen(*pods, nodes=down(build, 95), progress=told, silent_seconds=1.0)
    assert reconcile(seen, build.now).status.attempts[-1].cause == cause


SINCE = "node node-1 has been NotReady since 1970-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("ending", "fields", "message"),
    [
        ({}, None, "taken"),
        ({}, {}, "taken"),
        ({}, {"cordoned": True}, "taken; node node-1 is cordoned"),
        ({}, {"not_ready_since": 0.0}, f"taken; {SINCE}"),
        ({}, {"gone": True}, "taken; node node-1 is gone from the cluster"),
        ({"next": Next.RESTART}, {"cordoned": True}, "taken"),  # nobody took it: it failed
        ({"cause": "NodeLost"}, {"not_ready_since": 0.0}, f"{SINCE}; its pod p tells nothing"),
    ],
)  # fmt: skip
def test_an_interruption_says_what_is_known_of_its_node(
    build: Any, ending: Any, fields: Any, message: str
) -> None:
    given: dict[str, Any] = {"cause": "Evicted", "next": Next.RESUME, **ending}
    made = Ending(message="taken", counted=False, pod="p", node="node-1", **given)
    nodes = {} if fields is None else {"node-1": NodeRecord("node-1", "u", **fields)}
    assert with_node(made, build.seen(nodes=nodes)).message == message


def test_the_attempt_ends_by_name_and_costs_no_restart(build: Any) -> None:
    nodes = {"node-1": NodeRecord("node-1", "u", not_ready_since=build.now - 95)}
    told = build.progress(running=True, unheard={"1": 60.0})
    seen = build.seen(build.pod(0), build.pod(1), nodes=nodes, progress=told, silent_seconds=1.0)
    plan = reconcile(seen, build.now)
    last = plan.status.attempts[-1]
    assert (last.cause, last.node, plan.status.restarts.counted) == ("NodeLost", "node-1", 0)
    assert {d.name for d in plan.deletes} == {"asr-master-0", "asr-worker-0"}
    assert 0 not in {d.grace_seconds for d in plan.deletes}
    (event,) = [e for e in plan.events if e.reason == "AttemptInterrupted"]
    assert "node node-1 has been NotReady since 2027-01-15T07:58:25Z" in event.message
    assert "its pod asr-worker-0 tells nothing" in event.message


@pytest.mark.parametrize("nodes", [{}, {"node-1": NodeRecord("node-1", "u")}])
def test_without_a_word_of_the_node_all_is_as_before(build: Any, nodes: Any) -> None:
    """Whoever may not watch nodes waits for what Kubernetes does to the pod, minutes later."""
    told = build.progress(running=True, unheard={"1": 60.0})
    seen = build.seen(build.pod(0), build.pod(1), nodes=nodes, progress=told, silent_seconds=1.0)
    plan = reconcile(seen, build.now)
    assert (plan.status.state, plan.deletes) == (State.RUNNING, ())


def test_a_node_that_is_away_beside_a_job_that_trains_is_told_once_and_taken_back(
    build: Any,
) -> None:
    pods = [build.pod(0), build.pod(1)]
    given: Any = {"progress": build.progress(running=True), "silent_seconds": 1.0}
    trains = reconcile(build.seen(*pods, **given), build.now).status
    early = reconcile(build.seen(*pods, nodes=down(build, 20), status=trains, **given), build.now)
    assert (early.requeue_after, [e.reason for e in early.events]) == (10.0, [])
    plan = reconcile(build.seen(*pods, nodes=down(build, 40), status=trains, **given), build.now)
    running = st.condition(plan.status, Condition.RUNNING)
    assert running is not None
    assert (plan.status.state, running.reason) == (State.RUNNING, "NodeNotReady")
    assert "goes on" in running.message
    assert [e.reason for e in plan.events] == ["NodeNotReady"]
    same = build.seen(*pods, nodes=down(build, 40), status=plan.status, **given)
    assert reconcile(same, build.now + 5).events == ()
    assert reconcile(same, build.now + 5).status == plan.status  # no write a pass
    back = build.seen(*pods, nodes={}, status=plan.status, **given)
    running = st.condition(reconcile(back, build.now + 9).status, Condition.RUNNING)
    assert running is not None
    assert (running.status.value, running.reason) == ("True", "TrainingStarted")


def watched(build: Any, status: Any, worker: Any = None, **fields: Any) -> tuple[Any, Draft]:
    """Condition Running, and the whole draft, as the policy alone leaves them; the worker's node may be down."""
    pods = [build.pod(0), worker or build.pod(1)]
    fields.setdefault("nodes", down(build, 40))
    draft = node_watch(build.seen(*pods, status=status, **fields), Draft(status), build.now)
    running = st.condition(draft.status, Condition.RUNNING)
    assert running is not None
    return (running.status.value, running.reason), draft


@pytest.mark.parametrize(
    ("reason", "trains", "told"),
    [
        ("PodCreated", False, True),
        ("TrainingStarted", True, True),
        ("FailedMount", False, False),  # it says more
        ("AttemptStarted", False, False),  # pods are missing yet
    ],
)
def test_a_node_that_is_away_is_told_of_a_whole_gang_that_nothing_else_hinders(
    build: Any, reason: str, trains: bool, told: bool
) -> None:
    status = st.with_condition(build.status(), Condition.RUNNING, trains, reason, "", build.now)
    progress = build.progress(phase=Phase.RENDEZVOUS)
    running, draft = watched(build, status, progress=progress)
    assert running == (str(trains), "NodeNotReady" if told else reason)
    assert [event.warning for event in draft.events] == [True] * told
    assert watched(build, draft.status, progress=progress)[1].events == ()


@pytest.mark.parametrize("case", ["over", "ended", "about to train"])
def test_a_node_that_is_away_is_no_matter(build: Any, case: str) -> None:
    status, fields = build.status(), {}
    if case == "over":
        status = st.end_attempt(status, Reason.ATTEMPT_INTERRUPTED, build.now)
    elif case == "ended":
        fields = {"worker": build.done(1)}
    else:  # this very pass says that it trains
        fields = {"progress": build.progress(running=True)}
    running, draft = watched(build, status, **fields)
    assert (running, draft.events, draft.requeue_after) == (("False", "PodCreated"), (), None)


@pytest.mark.parametrize(("seconds", "again"), [(29, 1.0), (30, None), (-5, 30.0)])
def test_a_node_is_away_after_half_a_minute(
    build: Any, seconds: float, again: float | None
) -> None:
    """One that is said to be away from a moment to come is by a clock that is ahead: it is so from now."""
    running, draft = watched(build, build.status(), nodes=down(build, seconds))
    assert (running[1], draft.requeue_after) == ("PodCreated" if again else "NodeNotReady", again)


@pytest.mark.parametrize(("reason", "trains"), [("PodCreated", False), ("TrainingStarted", True)])
def test_when_the_node_is_back_the_pods_train_or_are_there_as_before(
    build: Any, reason: str, trains: bool
) -> None:
    """Also where nobody answers at this moment."""
    status = st.with_condition(build.status(), Condition.RUNNING, trains, reason, "", build.now)
    status = watched(build, status)[1].status
    running, draft = watched(build, status, nodes={})
    assert (running, draft.events) == ((str(trains), reason), ())


def test_of_a_pod_without_a_supervisor_nobody_knows(build: Any) -> None:
    written = build.document()
    written["spec"]["recipe"] = {"custom": {"launcher": "None"}}
    spec = parse(written, local=True).spec
    seen = build.seen(
        build.pod(0), build.pod(1), spec=spec, nodes=down(build, 95), silent_seconds=95.0
    )
    plan = reconcile(seen, build.now)
    assert plan.deletes == ()
    assert "custom.launcher: None" in str(plan.status.message)


OFF = [
    pytest.param({"gone": True}, True, id="gone"),
    pytest.param({"out_of_service": True, "not_ready_since": 1.0}, True, id="out of service"),
    pytest.param({"out_of_service": True}, False, id="tainted, and alive"),
    pytest.param({"not_ready_since": 1.0}, False, id="silent: it may live"),
    pytest.param({}, False, id="alive"),
]


@pytest.mark.parametrize("overdue", [-1.0, 70.0])
@pytest.mark.parametrize(("fields", "forced"), OFF)
def test_a_pod_is_deleted_by_force_only_when_its_node_is_off(
    build: Any, fields: Any, forced: bool, overdue: float
) -> None:
    ended = st.end_attempt(build.status(), Reason.ATTEMPT_INTERRUPTED, build.now)
    pod = build.pod(1, deleting=True, gone_by=build.now - overdue)
    nodes = {"node-1": NodeRecord("node-1", "u", **fields)}
    plan = reconcile(build.seen(pod, status=ended, nodes=nodes), build.now)
    grace_is_over = overdue > 0
    assert [(d.name, d.grace_seconds) for d in plan.deletes] == (
        [("asr-worker-0", 0)] if forced and grace_is_over else []
    )
    assert build.created(plan, POD) == []  # the old one is there yet
    told = [e.reason for e in plan.events]
    assert told == ([] if not grace_is_over else ["PodAbandoned"] if forced else ["PodStuck"])
    if told:
        again = build.seen(pod, status=plan.status, nodes=nodes)
        assert reconcile(again, build.now + 1).events == ()


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (NodeRecord("n", "u"), "node n is Ready"),
        (NodeRecord("n", "u", cordoned=True), "node n is cordoned"),
        (NodeRecord("n", "", gone=True), "node n is gone from the cluster"),
        (NodeRecord("n", "u", not_ready_since=0.0), "NotReady since 1970-01-01T00:00:00Z"),
        (
            NodeRecord("n", "u", not_ready_since=0.0, out_of_service=True),
            "NotReady since 1970-01-01T00:00:00Z and is tainted out-of-service",
        ),
    ],
)
def test_a_node_in_words(record: NodeRecord, words: str) -> None:
    assert state_of(record).endswith(words)
    away = math.inf if record.gone else 5.0
    assert down_for(record, 5.0) == (None if words.endswith(("Ready", "cordoned")) else away)


def test_a_pod_of_a_live_node_that_stays_is_no_reason_to_delete_the_node(build: Any) -> None:
    ended = st.end_attempt(build.status(), Reason.ATTEMPT_INTERRUPTED, build.now)
    pod = build.pod(1, deleting=True, gone_by=build.now - 70)
    nodes = {"node-1": NodeRecord("node-1", "u")}
    plan = reconcile(build.seen(pod, status=ended, nodes=nodes), build.now)
    assert "kubectl describe pod asr-worker-0" in str(plan.status.message)
    assert "delete node" not in str(plan.status.message)
