"""Jobs that Kueue admits: no pod without quota, time to save when it is taken away, quota given back at the end."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract import names
from speech_contract.reasons import Condition, Reason, State
from speech_contract.status import JobStatus
from speech_operator import status as st
from speech_operator.children import FLAVOR, POD, PRIORITY, QUEUE_PRIORITY, WORKLOAD
from speech_operator.cluster.kueue_records import INACTIVE
from speech_operator.plan import Draft
from speech_operator.policies.queueing import queueing
from speech_operator.reconcile import reconcile
from speech_operator.refusals import refusal
from speech_operator.resources.workload import build_workload, digest_of
from speech_operator.snapshot import (
    Assignment,
    FlavorRecord,
    Platform,
    PodPhase,
    PriorityRecord,
    WorkloadRecord,
)
from speech_operator.timestamps import to_epoch, to_text

HERE = Platform(default_image="trainer:1", launcher_image="operator:1", kueue=True)
NAME = "speechtrainingjob-asr"
KEPT = {"schedulingPolicy": {"gang": "Kueue", "queue": "team"}}
H200 = FlavorRecord(
    "h200", "f1", {"gpu": "H200"}, ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},)
)


def place(build: Any, **fields: Any) -> WorkloadRecord:
    fields = {"uid": "w1", "owner_uid": build.uid, "queue": "team", **fields}
    return WorkloadRecord(NAME, **fields)


def admitted(build: Any, **fields: Any) -> WorkloadRecord:
    given = {"master": Assignment(("h200",)), "worker": Assignment(("h200",))}
    fields = {"assignments": given, "cluster_queue": "gpus", **fields}
    return place(build, reserved=True, admitted=True, **fields)


def seen(build: Any, *pods: Any, there: WorkloadRecord | None = None, **fields: Any) -> Any:
    """A snapshot of a job that asks for Kueue, with its place and one flavor."""
    policy = {**KEPT, **fields.pop("policy", {})}
    spec = build.spec(fields.pop("nodes", 2), **policy)
    more = fields.pop("children", {})
    children = {WORKLOAD: (there,) if there else (), FLAVOR: (H200,), **more}
    fields.setdefault("platform", HERE)
    return build.seen(*pods, spec=spec, children=children, **fields)


def alone(build: Any, *pods: Any, **fields: Any) -> Draft:
    """What the policy by itself makes of such a snapshot."""
    scene = seen(build, *pods, **fields)
    return queueing(scene, Draft(scene.job.status), build.now)


def told(status: JobStatus) -> tuple[str, str, str]:
    found = st.condition(status, Condition.QUEUED)
    return (found.status.value, found.reason, found.message) if found else ("", "", "")


class TestWaiting:
    def test_a_new_job_asks_for_a_place_and_makes_no_pod(self, build: Any) -> None:
        plan = reconcile(seen(build, status=JobStatus()), build.now)
        assert [create.kind for create in plan.creates] == [WORKLOAD]
        assert plan.status.state is State.QUEUED
        assert (plan.status.attempt, plan.status.start_time) == (0, None)
        assert told(plan.status) == ("True", "Queued", "asks for a place in queue team")
        assert [(event.reason, event.warning) for event in plan.events] == [("Queued", False)]

    def test_what_it_asks_for_is_a_set_of_pods_for_each_replica_type(self, build: Any) -> None:
        snapshot = seen(build, status=JobStatus(), nodes=4)
        manifest = build_workload(snapshot, snapshot.job.status)
        spec = manifest["spec"]
        assert [(s["name"], s["count"]) for s in spec["podSets"]] == [("master", 1), ("worker", 3)]
        (container,) = spec["podSets"][1]["template"]["spec"]["containers"]
        assert container["resources"] == {"requests": {"cpu": "250m"}}
        assert (spec["queueName"], spec["priority"]) == ("team", 0)
        metadata = manifest["metadata"]
        assert metadata["ownerReferences"][0]["uid"] == build.uid
        assert metadata["labels"] == {names.LABEL_JOB_NAME: "asr"}
        assert "finalizers" not in metadata

    def test_kueues_words_are_the_jobs(self, build: Any) -> None:
        words = "couldn't assign flavors to pod set worker: insufficient quota for cpu"
        first = reconcile(seen(build, status=JobStatus()), build.now).status
        plan = reconcile(seen(build, there=place(build, words=words), status=first), build.now)
        assert told(plan.status) == ("True", "Queued", words)
        assert (plan.status.state, plan.status.message) == (State.QUEUED, words)
        assert (plan.creates, plan.events) == ((), ())

    @pytest.mark.parametrize(
        ("case", "reason", "words", "looks_after"),
        [
            ("no queue", "QueueMissing", "kueue.x-k8s.io/queue-name", None),
            ("not looked at", "QueueMissing", "kueue.enabled", None),
            ("name taken", "NameTaken", "belongs to somebody else", 30.0),
            ("no class", "QueueMissing", "WorkloadPriorityClass high is not there", 30.0),
        ],
    )
    def test_what_keeps_it_from_a_place_is_said_once(
        self, build: Any, case: str, reason: str, words: str, looks_after: float | None
    ) -> None:
        fields: dict[str, Any] = {"status": JobStatus(), "policy": KEPT}
        if case == "no queue":
            fields["policy"] = {"schedulingPolicy": {"gang": "Kueue"}}
        elif case == "not looked at":
            fields["platform"] = Platform(default_image="trainer:1")
        elif case == "name taken":
            fields["there"] = place(build, owner_uid="another")
        spec = build.spec(**fields["policy"])
        if case == "no class":
            fields["job"] = build.job(spec, JobStatus(), queue_priority="high")
        plan = reconcile(seen(build, **fields), build.now)
        assert plan.creates == ()
        assert (told(plan.status)[1], plan.requeue_after) == (reason, looks_after)
        assert words in told(plan.status)[2]
        assert [(e.reason, e.warning) for e in plan.events if e.warning] == [(reason, True)]
        job = build.job(spec, plan.status, queue_priority="high" if case == "no class" else "")
        again = reconcile(seen(build, **{**fields, "job": job}), build.now)
        assert again.events == ()

    def test_the_label_names_the_queue_and_the_class(self, build: Any) -> None:
        spec = build.spec(schedulingPolicy={"gang": "Kueue"})
        job = build.job(spec, JobStatus(), queue="theirs", queue_priority="high")
        policy = {"schedulingPolicy": {"gang": "Kueue"}}
        classes = {QUEUE_PRIORITY: (PriorityRecord("high", "c", 70),)}
        plan = reconcile(seen(build, job=job, policy=policy, children=classes), build.now)
        (manifest,) = build.created(plan, WORKLOAD)
        assert manifest["spec"]["queueName"] == "theirs"
        assert manifest["spec"]["priority"] == 70
        assert manifest["spec"]["priorityClassRef"] == {
            "group": "kueue.x-k8s.io", "kind": "WorkloadPriorityClass", "name": "high",
        }  # fmt: skip

    def test_the_clusters_default_priority_counts(self, build: Any) -> None:
        classes = {PRIORITY: (PriorityRecord("usual", "c", 5, default=True),)}
        snapshot = seen(build, status=JobStatus(), children=classes)
        spec = build_workload(snapshot, JobStatus())["spec"]
        assert (spec["priority"], spec["priorityClassRef"]["name"]) == (5, "usual")

    @pytest.mark.parametrize("changed", ["spec", "queue", "nothing", "reserved"])
    def test_what_changed_before_it_is_admitted_is_asked_for_anew(
        self, build: Any, changed: str
    ) -> None:
        snapshot = seen(build, status=JobStatus())
        digest = digest_of(build_workload(snapshot, JobStatus()))
        there = place(build, digest=digest)
        if changed == "spec":
            there = place(build, digest="of another spec")
        elif changed == "queue":
            there = place(build, digest=digest, queue="other")
        elif changed == "reserved":
            there = place(build, digest="of another spec", reserved=True)
        plan = reconcile(seen(build, there=there, status=JobStatus()), build.now)
        gone = [(d.kind, d.uid) for d in plan.deletes]
        assert gone == ([(WORKLOAD, "w1")] if changed in ("spec", "queue") else [])
        assert (plan.creates, plan.marks) == ((), ())

    @pytest.mark.parametrize(
        ("there", "left"),
        [
            # What was accepted counts, not what is asked for today.
            ({"digest": "of another spec"}, False),
            ({"queue": "other"}, True),
            ({"finished": True, "reserved": True}, True),
            ({"finished": True, "deleting": True}, False),
            ({"evicted": "Preempted"}, False),
            ({"evicted": "Preempted", "reserved": True, "deleting": True}, False),
        ],
    )
    def test_the_place_of_a_job_that_once_began_is_left_for_another_queue_alone(
        self, build: Any, there: Any, left: bool
    ) -> None:
        status = st.end_attempt(build.status(), Reason.EVICTED, build.now)
        record = place(build, **there)
        draft = alone(build, there=record, status=status, accepted=build.spec(**KEPT))
        assert [(d.kind, d.uid) for d in draft.deletes] == ([(WORKLOAD, "w1")] if left else [])
        assert (draft.marks, draft.creates, draft.decided) == ((), (), True)

    def test_an_api_server_without_kueue_is_told_of_until_it_has_it(self, build: Any) -> None:
        first = reconcile(seen(build, status=JobStatus()), build.now)
        job = build.job(build.spec(**KEPT), first.status)
        refused = refusal(job, "the API server serves no Workload", build.now)
        assert refused is not None
        assert (refused.status.state, refused.status.reason) == (State.QUEUED, "QueueRefused")
        again = reconcile(seen(build, status=refused.status), build.now)
        assert [create.kind for create in again.creates] == [WORKLOAD]
        assert (again.status, again.events) == (refused.status, ())
        there = reconcile(seen(build, there=place(build), status=again.status), build.now)
        assert told(there.status)[1] == "Queued"

    def test_a_job_that_asks_for_no_queue_any_more_leaves_it(self, build: Any) -> None:
        waits = reconcile(seen(build, there=place(build), status=JobStatus()), build.now).status
        policy = {"schedulingPolicy": {}}
        plan = reconcile(seen(build, there=place(build), status=waits, policy=policy), build.now)
        assert [(d.kind, d.uid) for d in plan.deletes] == [(WORKLOAD, "w1")]
        assert (plan.status.state, plan.status.attempt) == (State.STARTING, 1)
        assert told(plan.status) == ("False", "Admitted", "no queue has to admit it")

    def test_one_machine_has_no_queue(self, build: Any) -> None:
        plan = reconcile(
            seen(build, status=JobStatus(), platform=Platform(local=True, cores=8)), build.now
        )
        assert plan.status.attempt == 1


class TestAdmission:
    def test_pods_come_with_it_and_keep_to_its_nodes(self, build: Any) -> None:
        queued = reconcile(seen(build, status=JobStatus()), build.now).status
        plan = reconcile(seen(build, there=admitted(build), status=queued), build.now + 50)
        assert told(plan.status) == ("False", "Admitted", "admitted by ClusterQueue gpus")
        assert plan.status.attempt == 1
        assert plan.status.start_time == to_text(build.now + 50)
        pods = build.created(plan, POD)
        assert len(pods) == 2
        for pod in pods:
            assert pod["spec"]["nodeSelector"] == {"gpu": "H200"}
            assert pod["spec"]["tolerations"].count(H200.tolerations[0]) == 1

    def test_each_replica_type_has_its_own_flavor_and_what_checks_add(self, build: Any) -> None:
        cold = FlavorRecord("cold", "f2", {"gpu": "A100", "zone": "b"})
        given = {
            "master": Assignment(("h200",)),
            "worker": Assignment(
                ("cold",), {"pool": "p1"}, ({"key": "spot", "operator": "Exists"},),
                {"provisioned": "yes"}, {"request": "r1"},
            ),
        }  # fmt: skip
        there = admitted(build, assignments=given)
        status = build.status(whole=False)
        plan = reconcile(
            seen(build, there=there, status=status, children={FLAVOR: (H200, cold)}), build.now
        )
        master, worker = build.created(plan, POD)
        assert master["spec"]["nodeSelector"] == {"gpu": "H200"}
        assert worker["spec"]["nodeSelector"] == {"gpu": "A100", "zone": "b", "pool": "p1"}
        assert {"key": "spot", "operator": "Exists"} in worker["spec"]["tolerations"]
        assert worker["metadata"]["labels"]["provisioned"] == "yes"
        assert worker["metadata"]["annotations"]["request"] == "r1"
        assert "provisioned" not in master["metadata"]["labels"]

    @pytest.mark.parametrize("begun", [False, True])
    def test_without_its_flavor_no_pod_is_made(self, build: Any, begun: bool) -> None:
        status = build.status(whole=False) if begun else JobStatus()
        plan = reconcile(
            seen(build, there=admitted(build), status=status, children={FLAVOR: ()}), build.now
        )
        assert (plan.creates, plan.status.attempt) == ((), int(begun))
        assert told(plan.status)[:2] == ("True", "FlavorMissing")
        assert plan.requeue_after == 30.0

    def test_a_gang_that_is_whole_misses_no_flavor(self, build: Any) -> None:
        pods = [build.pod(0), build.pod(1)]
        draft = alone(build, *pods, there=admitted(build), children={FLAVOR: ()})
        assert (told(draft.status)[:2], draft.decided) == (("False", "Admitted"), False)

    def test_it_is_kept_over_restarts_of_the_gang(self, build: Any) -> None:
        pods = [build.failed(0, 1), build.pod(1)]
        plan = reconcile(seen(build, *pods, there=admitted(build)), build.now)
        assert plan.status.state is State.RESTARTING
        assert (plan.marks, [d for d in plan.deletes if d.kind is WORKLOAD]) == ((), [])
        again = reconcile(seen(build, there=admitted(build), status=plan.status), build.now)
        assert again.status.attempt == 2
        assert len(build.created(again, POD)) == 2

    @pytest.mark.parametrize(
        ("worker", "said"),
        [({"ready": True}, True), ({"ready": False}, False), ({"phase": PodPhase.SUCCEEDED}, True)],
    )
    def test_kueue_is_told_when_all_pods_are_ready(
        self, build: Any, worker: Any, said: bool
    ) -> None:
        pods = [build.pod(0, ready=True), build.pod(1, **worker)]
        plan = reconcile(seen(build, *pods, there=admitted(build)), build.now)
        facts = [fact[:2] for mark in plan.marks for fact in mark.facts]
        assert facts == ([("PodsReady", True)] if said else [])
        known = reconcile(seen(build, *pods, there=admitted(build, pods_ready=True)), build.now)
        assert known.marks == ()

    def test_queued_time_does_not_count_for_the_deadline(self, build: Any) -> None:
        status = build.status()
        status = st.end_attempt(status, Reason.EVICTED, build.now)
        status = st.with_condition(status, Condition.QUEUED, True, Reason.QUEUED, "", build.now)
        policy = {"activeDeadlineSeconds": 150}
        late = build.now + 5000
        waits = reconcile(seen(build, there=place(build), status=status, policy=policy), late)
        assert waits.status.state is State.QUEUED
        plan = reconcile(seen(build, there=admitted(build), status=status, policy=policy), late)
        assert plan.status.state is not State.FAILED
        assert to_epoch(str(plan.status.start_time)) == to_epoch(str(status.start_time)) + 5000

    def test_the_time_in_which_pods_save_does(self, build: Any) -> None:
        """Admitted anew while they do: its place was lost, but the job never waited for one."""
        status = build.status()
        lost = st.with_condition(
            status, Condition.QUEUED, False, Reason.EVICTED, "", build.now - 50
        )
        draft = alone(build, build.pod(0), build.pod(1), there=admitted(build), status=lost)
        assert told(draft.status)[:2] == ("False", "Admitted")
        assert draft.status.start_time == status.start_time
        assert [(e.reason, e.warning) for e in draft.events] == [("Admitted", False)]


class TestEviction:
    @pytest.mark.parametrize(
        ("there", "words"),
        [
            ({"evicted": "Preempted", "words": "for w2", "reserved": True, "admitted": True},
             "Preempted: for w2"),
            ({"deleting": True, "reserved": True, "admitted": True}, "its Workload was deleted"),
            (None, "its Workload was deleted"),
            ({"words": INACTIVE}, INACTIVE),
            ({}, "its Workload is not admitted"),
        ],
    )  # fmt: skip
    def test_pods_get_all_of_their_grace(self, build: Any, there: Any, words: str) -> None:
        record = None if there is None else place(build, **there)
        pods = [build.pod(0), build.pod(1)]
        plan = reconcile(seen(build, *pods, there=record), build.now)
        assert {(d.name, d.grace_seconds) for d in plan.deletes} == {
            ("asr-master-0", 120),
            ("asr-worker-0", 120),
        }
        assert plan.status_first
        assert (plan.status.state, plan.status.reason) == (State.SUSPENDING, "Evicted")
        assert words in str(plan.status.message)
        assert (plan.creates, plan.marks) == ((), ())

    def test_it_is_told_once_and_pods_that_stop_are_not_asked_again(self, build: Any) -> None:
        pods = [build.pod(0, deleting=True), build.pod(1)]
        first = alone(build, *pods)
        assert [(e.reason, e.warning) for e in first.events] == [("Evicted", True)]
        assert [delete.name for delete in first.deletes] == ["asr-worker-0"]
        assert (first.decided, told(first.status)[0]) == (True, "False")
        assert alone(build, *pods, status=first.status).events == ()

    def test_it_ends_the_attempt_and_costs_no_restart(self, build: Any) -> None:
        there = admitted(build, evicted="Preempted", words="for w2")
        saved = [
            build.failed(n, 75, deleting=True, outcome=build.outcome(75, rank=n, step=40))
            for n in (0, 1)
        ]
        trains = build.status()
        for kind in (Condition.RUNNING, Condition.RESTARTING):
            trains = st.with_condition(trains, kind, True, "x", "", build.now)
        stopping = reconcile(seen(build, *saved, there=there, status=trains), build.now)
        assert stopping.status.attempts[-1].exit_code == 75
        plan = reconcile(seen(build, there=there, status=stopping.status), build.now)
        last = plan.status.attempts[-1]
        assert (last.reason, last.last_step) == ("Evicted", 40)
        assert (plan.status.state, plan.status.restarts.counted) == (State.QUEUED, 0)
        assert plan.status.startup is None
        for kind in (Condition.RUNNING, Condition.RESTARTING):
            assert not st.is_true(plan.status, kind)

    @pytest.mark.parametrize(
        ("why", "requeued"), [("Preempted", True), ("PodsReadyTimeout", False)]
    )
    def test_quota_is_given_back_once_the_pods_are_gone(
        self, build: Any, why: str, requeued: bool
    ) -> None:
        there = admitted(build, evicted=why, words="w")
        plan = reconcile(seen(build, there=there), build.now)
        (mark,) = plan.marks
        assert (mark.record, mark.without) == (there, ("admission",))
        assert {fact.type: fact.value for fact in mark.facts} == {
            "Requeued": requeued, "QuotaReserved": False, "Admitted": False, "PodsReady": False,
        }  # fmt: skip
        after = place(build, evicted=why, words="w")
        assert reconcile(seen(build, there=after, status=plan.status), build.now).marks == ()

    def test_a_job_that_was_done_first_completes(self, build: Any) -> None:
        there = admitted(build, evicted="Preempted")
        plan = reconcile(seen(build, build.done(0), build.pod(1), there=there), build.now)
        assert plan.status.state is State.COMPLETE

    def test_what_was_admitted_again_goes_on(self, build: Any) -> None:
        first = reconcile(seen(build, there=admitted(build, evicted="Preempted")), build.now).status
        plan = reconcile(seen(build, there=admitted(build), status=first), build.now + 9)
        assert (plan.status.attempt, plan.status.state) == (2, State.STARTING)


class TestEnd:
    @pytest.mark.parametrize("done", [True, False])
    def test_quota_is_given_back_when_no_pod_runs_any_more(self, build: Any, done: bool) -> None:
        status = build.status()
        if done:
            status = st.with_success(status, "training is done", build.now)
        else:
            failure = st.failure_of("Error", "boom", _ending(build))
            status = st.with_failure(status, failure, build.now)
        running = reconcile(
            seen(build, build.pod(1), there=admitted(build), status=status), build.now
        )
        assert running.marks == ()
        plan = reconcile(
            seen(build, build.done(0), there=admitted(build), status=status), build.now
        )
        (mark,) = plan.marks
        word = "Succeeded" if done else "Failed"
        assert mark.facts[0] == ("Finished", True, word, word)
        assert [fact[:2] for fact in mark.facts[1:]] == [
            ("QuotaReserved", False),
            ("Admitted", False),
        ]
        assert mark.without == ("admission",)
        spoken = dataclasses.replace(status, message="its last words")
        (mark,) = reconcile(seen(build, there=admitted(build), status=spoken), build.now).marks
        assert mark.facts[0].message == "its last words"
        for nothing in (
            {"there": admitted(build, finished=True)},
            {"there": admitted(build, deleting=True)},
            {"there": admitted(build), "policy": {"schedulingPolicy": {}}},
        ):
            assert reconcile(seen(build, status=status, **nothing), build.now).marks == ()

    @pytest.mark.parametrize("waits", [True, False])
    def test_a_suspended_job_holds_no_place(self, build: Any, waits: bool) -> None:
        policy = {"suspend": True}
        there = place(build) if waits else admitted(build)
        status = reconcile(seen(build, there=place(build), status=JobStatus()), build.now).status
        status = status if waits else build.status()
        plan = reconcile(seen(build, there=there, status=status, policy=policy), build.now)
        assert [(d.kind, d.uid) for d in plan.deletes] == [(WORKLOAD, "w1")]
        assert plan.status.state is State.SUSPENDED
        assert not st.is_true(plan.status, Condition.QUEUED)
        again = reconcile(seen(build, status=plan.status), build.now)
        assert (again.status.state, [c.kind for c in again.creates]) == (State.QUEUED, [WORKLOAD])


def _ending(build: Any) -> Any:
    from speech_operator.ending import ending_of

    return ending_of([build.failed(0, 1)])


def test_a_half_scheduled_gang_keeps_its_quota(build: Any) -> None:
    pods = [
        build.pod(n, phase=PodPhase.PENDING, node="n" * (n == 0), created_at=build.now - 700)
        for n in (0, 1)
    ]
    status = build.status()
    last = dataclasses.replace(status.attempts[-1], start_time=to_text(build.now - 700))
    status = dataclasses.replace(status, attempts=(last,))
    plan = reconcile(seen(build, *pods, there=admitted(build), status=status), build.now)
    assert plan.status.reason == "GangReleased"
    assert plan.marks == ()
