"""The suspect's node: left out at the next attempts, at most two of them for a day, never to starve a job."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.outcome import EXIT_CODES
from speech_contract.progress import Rule
from speech_contract.reasons import Reason, State
from speech_contract.status import MAX_EXCLUDED, ExcludedNode
from speech_operator import status as operator_status
from speech_operator.children import POD
from speech_operator.cluster.pod_record import record
from speech_operator.ending import Ending
from speech_operator.plan import Draft
from speech_operator.policies.exclusion import exclude, exclusion
from speech_operator.reconcile import reconcile
from speech_operator.resources.affinity import keep_away
from speech_operator.resources.config_map import build_run_config
from speech_operator.snapshot import Platform
from speech_operator.timestamps import to_text

CLUSTER = Platform(default_image="trainer:1", launcher_image="operator:1")
HERE = "requiredDuringSchedulingIgnoredDuringExecution"
DAY = 24 * 3600


def seen_with(build: Any, *pods: Any, **fields: Any) -> Any:
    """On a cluster, with the attempt's run config: two ranks a node."""
    fields.setdefault("platform", CLUSTER)
    snapshot = build.seen(*pods, **fields)
    config = build_run_config(snapshot, snapshot.job.status)
    return dataclasses.replace(
        snapshot, run_config=dataclasses.replace(config, ranks_per_node=2), accepted=snapshot.spec
    )


def ended(build: Any, rank: int | None, code: int = 46, **fields: Any) -> Any:
    """A master whose outcome names the rank, beside a worker."""
    told = build.outcome(code, rule=Rule.RANK_DIVERGENCE.value, message="weights differ")
    told = dataclasses.replace(told, rank=rank)
    return seen_with(build, build.failed(0, code, outcome=told), build.pod(1), **fields)


def excluded(name: str, build: Any, seconds: float = DAY, attempt: int = 1) -> ExcludedNode:
    return ExcludedNode(name, attempt, "RankDisagrees", to_text(build.now + seconds))


def names_of(plan: Any) -> list[str]:
    return [node.name for node in plan.status.excluded_nodes]


@pytest.mark.parametrize(("rank", "node", "pod"), [
    (0, "node-0", "asr-master-0"), (1, "node-0", "asr-master-0"), (3, "node-1", "asr-worker-0"),
])  # fmt: skip
def test_the_suspects_node_is_its_pods_not_the_masters(
    build: Any, rank: int, node: str, pod: str
) -> None:
    plan = reconcile(ended(build, rank), build.now)
    attempt = plan.status.attempts[-1]
    assert (attempt.rank, attempt.node, attempt.pod) == (rank, node, pod)
    assert plan.status.excluded_nodes == (excluded(node, build),)
    (told,) = [e for e in plan.events if e.reason == Reason.NODE_EXCLUDED.value]
    assert f"node {node} of rank {rank} is left out" in told.message
    assert told.warning
    assert plan.status_first


def test_without_a_suspect_no_node_is_accused(build: Any) -> None:
    plan = reconcile(ended(build, None), build.now)
    assert plan.status.state is State.RESTARTING
    assert plan.status.excluded_nodes == ()
    assert plan.status.attempts[-1].node is None


@pytest.mark.parametrize("code", sorted(EXIT_CODES.keys() - {0, 40}))
def test_only_hardware_and_rank_codes_leave_a_node_out(build: Any, code: int) -> None:
    plan = reconcile(ended(build, 3, code), build.now)
    assert names_of(plan) == (["node-1"] if code in (16, 46) else [])


def test_one_machine_has_no_other_node(build: Any) -> None:
    plan = reconcile(ended(build, 3, platform=Platform(local=True, cores=4)), build.now)
    assert names_of(plan) == []


def test_a_job_that_fails_leaves_nothing_out(build: Any) -> None:
    spec = build.spec(restarts={"max": 0})
    plan = reconcile(ended(build, 3, spec=spec), build.now)
    assert plan.status.state is State.FAILED
    assert names_of(plan) == []
    assert plan.status.failure.node == "node-1"


def test_a_finding_names_its_node_by_what_the_cluster_says(build: Any) -> None:
    finding = build.finding(Rule.RANK_DIVERGENCE, rank=3)
    progress = build.progress(findings=[finding])
    snapshot = seen_with(build, build.pod(0), build.pod(1), progress=progress)
    plan = reconcile(snapshot, build.now)
    assert plan.status.health.findings[0].node == "node-1"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 2 * DAY), st.sampled_from([16, 46, 45])),
        max_size=12,
    )
)
def test_never_more_than_two_the_newest_each_for_a_day(build: Any, story: Any) -> None:
    draft, now = Draft(status=build.status()), build.now
    blamed: dict[str, float] = {}
    for name, later, code in story:
        now += later
        ending = Ending("RankDisagrees", "", EXIT_CODES[46].next, True, node=name, exit_code=code)
        draft = exclude(seen_with(build), draft, ending, now)
        if code != 45:
            blamed.pop(name, None)
            blamed[name] = now
        nodes = draft.status.excluded_nodes
        assert len(nodes) <= MAX_EXCLUDED
        assert len({node.name for node in nodes}) == len(nodes)
        if code != 45:
            fresh = [n for n, at in blamed.items() if at + DAY > now]
            assert [node.name for node in nodes] == fresh[-MAX_EXCLUDED:]


def opened(build: Any, *nodes: ExcludedNode) -> Any:
    """The pass that opens attempt 2."""
    status = build.status(excluded_nodes=nodes)
    closed = dataclasses.replace(status.attempts[-1], end_time=to_text(build.now - 1))
    status = dataclasses.replace(status, attempts=(closed,))
    return reconcile(build.seen(status=status, platform=CLUSTER), build.now)


def test_the_next_attempts_pods_keep_away_and_what_is_over_is_forgotten(build: Any) -> None:
    plan = opened(build, excluded("old", build, 0), excluded("bad", build, 1))
    assert names_of(plan) == ["bad"]
    pods = build.created(plan, POD)
    assert len(pods) == 2
    for pod in pods:
        (term,) = pod["spec"]["affinity"]["nodeAffinity"][HERE]["nodeSelectorTerms"]
        assert term == {
            "matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["bad"]}]
        }


def test_pods_of_a_job_without_suspects_have_no_affinity(build: Any) -> None:
    plan = opened(build, excluded("old", build, -1))
    pods = build.created(plan, POD)
    assert [("affinity" in pod["spec"]) for pod in pods] == [False, False]


REQUIREMENT = {"key": "zone", "operator": "In", "values": ["a"]}
OWN = {"matchExpressions": [REQUIREMENT]}
FIELDS = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in ("x", "y")]


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([], [{"matchFields": FIELDS}]),
        ([OWN], [{**OWN, "matchFields": FIELDS}]),
        ([OWN, {}], [{**OWN, "matchFields": FIELDS}, {}]),  # an empty term matches nothing
        (
            [{"matchFields": [REQUIREMENT]}, OWN],
            [{"matchFields": [REQUIREMENT, *FIELDS]}, {**OWN, "matchFields": FIELDS}],
        ),
    ],
)
def test_the_exclusion_enters_every_alternative_of_the_jobs_own_affinity(
    terms: list[Any], expected: list[Any]
) -> None:
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}
    own = {
        "nodeAffinity": {HERE: {"nodeSelectorTerms": terms}, **preferred},
        "podAffinity": {"a": 1},
    }
    before = repr(own)
    made = keep_away(own, ["x", "y"])
    assert made["nodeAffinity"][HERE]["nodeSelectorTerms"] == expected
    assert made["nodeAffinity"].items() >= preferred.items()
    assert made["podAffinity"] == {"a": 1}
    assert repr(own) == before
    assert keep_away(own, []) == own


def waiting(build: Any, seconds: float, *nodes: ExcludedNode, whole: bool = True) -> Any:
    status = build.status(excluded_nodes=nodes, whole=whole)
    pending = build.pod(1, phase="Pending", node="", unschedulable_since=build.now - seconds)
    return reconcile(seen_with(build, build.pod(0), pending, status=status), build.now)


def test_a_job_that_finds_no_room_gets_its_nodes_back_at_no_cost(build: Any) -> None:
    plan = waiting(build, 60, excluded("bad", build))
    assert names_of(plan) == []
    attempt = plan.status.attempts[-1]
    assert (attempt.reason, attempt.cause) == ("AttemptInterrupted", "Unschedulable")
    assert plan.status.restarts.counted == 0
    assert {delete.name for delete in plan.deletes} == {"asr-master-0", "asr-worker-0"}
    (told,) = [e for e in plan.events if e.reason == Reason.EXCLUSION_DROPPED.value]
    assert "asr-worker-0 found no node for 60 s without bad" in told.message
    assert told.warning


def test_a_pod_that_waits_a_moment_keeps_the_exclusion(build: Any) -> None:
    plan = waiting(build, 59, excluded("bad", build))
    assert names_of(plan) == ["bad"]
    assert plan.status.attempts[-1].end_time is None
    assert plan.requeue_after == 1


@pytest.mark.parametrize("case", ["has its ending", "is over", "is going", "has ended"])
def test_an_attempt_that_waits_for_no_node_keeps_the_exclusion(build: Any, case: str) -> None:
    status = build.status(excluded_nodes=(excluded("bad", build),))
    fields: dict[str, Any] = {"phase": "Pending", "unschedulable_since": build.now - 99}
    ending = None
    if case == "has its ending":
        ending = Ending("Error", "", EXIT_CODES[1].next, True)
    elif case == "is over":
        status = operator_status.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
    elif case == "is going":
        fields["deleting"] = True
    else:
        fields["phase"] = "Failed"
    draft = Draft(status, ending=ending)
    pod = build.pod(1, **fields)
    assert exclusion(seen_with(build, build.pod(0), pod, status=status), draft, build.now) is draft


def test_the_pod_that_waits_longest_decides(build: Any) -> None:
    status = build.status(excluded_nodes=(excluded("bad", build),))
    pods = [
        build.pod(n, phase="Pending", unschedulable_since=build.now - age)
        for n, age in ((0, 1), (1, 60))
    ]
    draft = exclusion(seen_with(build, *pods, status=status), Draft(status), build.now)
    assert draft.ending is not None
    assert (draft.ending.pod, draft.ending.counted) == ("asr-master-0", False)


def test_a_node_without_a_known_rank_is_left_out_too(build: Any) -> None:
    ending = Ending(
        "OtherHardware", "it differs", EXIT_CODES[16].next, True, node="n", exit_code=16
    )
    (told,) = exclude(seen_with(build), Draft(build.status()), ending, build.now).events
    assert told.message.startswith("node n is left out until ")


def test_a_job_that_leaves_nothing_out_just_waits(build: Any) -> None:
    plan = waiting(build, 3600.0)
    assert plan.status.attempts[-1].end_time is None


def test_a_pods_record_says_since_when_no_node_takes_it() -> None:
    def made(status: str, reason: str) -> Any:
        condition = {
            "type": "PodScheduled", "status": status, "reason": reason,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        metadata = {"name": "asr-master-0", "namespace": "speech", "uid": "u"}
        return record({"metadata": metadata, "status": {"conditions": [condition]}}, "asr")

    assert made("False", "Unschedulable").unschedulable_since == 1767225600.0
    assert made("True", "").unschedulable_since is None
    assert made("False", "SchedulingGated").unschedulable_since is None
