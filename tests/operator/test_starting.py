"""Pods that do not start: told at once in the cluster's words, a finding when it lasts, taken back when it is over."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from speech_contract.findings import FindingStatus, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.reasons import Condition, Reason, State
from speech_contract.status import JobFinding, JobHealth, Startup
from speech_operator import status as st
from speech_operator.apply import apply
from speech_operator.cluster.base import Unsatisfiable
from speech_operator.cluster.pod_record import record
from speech_operator.cluster.pod_warnings import PodWarnings
from speech_operator.cluster.rest import Answer, Rest
from speech_operator.plan import Draft
from speech_operator.policies.starting import REMEDIES, late, starting
from speech_operator.reconcile import reconcile
from speech_operator.refusals import refusal
from speech_operator.snapshot import PodPhase, PodRecord
from speech_operator.timestamps import to_text

PULL = 'Back-off pulling image "x:1": ErrImagePull: not found'


def waiting(build: Any, rank: int = 0, hindrance: str = "", words: str = "", **fields: Any) -> Any:
    fields = {"phase": PodPhase.PENDING, "hindrance": hindrance, "words": words, **fields}
    return build.pod(rank, **fields)


def since(build: Any, seconds: float, phase: Phase = Phase.PULLING, **fields: Any) -> Any:
    status = build.status(**fields)
    return dataclasses.replace(status, startup=Startup(phase, to_text(build.now - seconds)))


def told(status: Any) -> tuple[str, str]:
    found = st.condition(status, Condition.RUNNING)
    return (found.reason, found.message) if found else ("", "")


class TestWords:
    @pytest.mark.parametrize(
        ("status", "hindrance", "words"),
        [
            ({}, "", ""),
            ({"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, "", ""),
            ({"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}]},
             "ImagePullBackOff", "no"),
            ({"initContainerStatuses": [{"state": {"waiting": {"reason": "InvalidImageName", "message": "bad"}}}],
              "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]},
             "InvalidImageName", "bad"),
            ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                              "message": "0/3 nodes are available"}]},
             "Unschedulable", "0/3 nodes are available"),
            ({"phase": "Running", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
             "", ""),
        ],
    )  # fmt: skip
    def test_a_pod_says_what_is_in_its_way(self, status: Any, hindrance: str, words: str) -> None:
        metadata = {"name": "asr-master-0", "namespace": "speech", "uid": "u"}
        made = record({"metadata": metadata, "status": {"phase": "Pending", **status}}, "asr")
        assert (made.hindrance, made.words) == (hindrance, words)

    def test_other_words_for_the_same_are_no_news(self, build: Any) -> None:
        first = waiting(build, hindrance="Unschedulable", words="0/3 nodes")
        assert first == dataclasses.replace(first, words="0/4 nodes")


class TestCondition:
    def test_the_kubelets_words_are_in_condition_status_and_event(self, build: Any) -> None:
        pods = (waiting(build, 0), waiting(build, 1, "ImagePullBackOff", PULL))
        plan = reconcile(build.seen(*pods), build.now)
        sentence = f"pod asr-worker-0 has not started: {PULL}"
        assert told(plan.status) == ("ImagePullBackOff", sentence)
        assert (plan.status.state, plan.status.reason) == (State.STARTING, "ImagePullBackOff")
        assert plan.status.message == sentence
        warnings = [(e.reason, e.message) for e in plan.events if e.warning]
        assert warnings == [("ImagePullBackOff", sentence)]
        again = reconcile(build.seen(*pods, status=plan.status), build.now + 9)
        assert (again.status, again.events, again.requeue_after) == (plan.status, (), 60.0)

    def test_it_is_taken_back_when_it_is_over(self, build: Any) -> None:
        status = build.status()
        status = st.with_condition(status, Condition.RUNNING, False, "FailedMount", "x", build.now)
        plan = reconcile(build.seen(waiting(build, 0), waiting(build, 1), status=status), build.now)
        assert told(plan.status) == ("PodCreated", "all 2 pods of attempt 1 are there")

    @pytest.mark.parametrize(
        ("age", "reason", "requeue"), [(9, "PodCreated", 1.0), (10, "Unschedulable", 60.0)]
    )
    def test_a_scheduler_is_given_a_moment(
        self, build: Any, age: float, reason: str, requeue: float
    ) -> None:
        pods = [
            waiting(build, n, "Unschedulable", "0/3", unschedulable_since=build.now - age)
            for n in (0, 1)
        ]
        plan = reconcile(build.seen(*pods), build.now)
        assert (told(plan.status)[0], plan.requeue_after) == (reason, requeue)

    def test_a_kubelets_word_counts_before_a_schedulers_and_others_are_counted(
        self, build: Any
    ) -> None:
        pods = [waiting(build, 0, "Unschedulable", "0/3", unschedulable_since=build.now - 99)]
        pods += [
            waiting(build, n, "CreateContainerConfigError", "secret x not found") for n in (1, 2)
        ]
        plan = reconcile(build.seen(*pods, spec=build.spec(nodes=3)), build.now)
        assert told(plan.status) == (
            "CreateContainerConfigError",
            "pod asr-worker-0 (and 1 more) has not started: secret x not found",
        )

    def test_a_gang_that_is_not_whole_keeps_what_the_api_server_said(self, build: Any) -> None:
        status = since(build, 5, Phase.SCHEDULING, whole=False)
        job = build.job(build.spec(), status)
        refused = refusal(job, "exceeded quota: pods", build.now)
        assert refused is not None
        assert (refused.status.reason, refused.status.message) == (
            "PodRefused",
            "exceeded quota: pods",
        )
        pod = waiting(
            build, 0, "Unschedulable", unschedulable_since=build.now - 99, created_at=build.now - 9
        )
        plan = reconcile(build.seen(pod, status=refused.status), build.now)
        assert told(plan.status) == ("PodRefused", "exceeded quota: pods")

    @pytest.mark.parametrize("case", ["trains", "between attempts", "not whole", "is going"])
    def test_what_is_not_waited_for_is_not_told(self, build: Any, case: str) -> None:
        status, pods = build.status(), [waiting(build, 0, "FailedMount", "no claim")]
        if case == "trains":
            status = st.with_condition(
                status, Condition.RUNNING, True, Reason.TRAINING_STARTED, "", build.now
            )
        elif case == "between attempts":
            status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
        elif case == "not whole":
            status = build.status(whole=False)
        else:
            pods = [waiting(build, 0, "FailedMount", "no claim", deleting=True)]
        draft = Draft(status)
        assert starting(build.seen(*pods, status=status), draft, build.now) is draft

    def test_a_pod_that_runs_has_started_whatever_was_in_its_way(self, build: Any) -> None:
        draft = Draft(build.status())
        pods = [waiting(build, n, "FailedMount", phase=PodPhase.RUNNING) for n in (0, 1)]
        assert starting(build.seen(*pods), draft, build.now) is draft

    def test_without_a_sentence_the_word_is_told(self, build: Any) -> None:
        plan = reconcile(build.seen(waiting(build, 0, "FailedMount"), build.pod(1)), build.now)
        assert told(plan.status)[1] == "pod asr-master-0 has not started: FailedMount"

    def test_the_pod_that_is_first_to_count_says_when_to_look_again(self, build: Any) -> None:
        pods = [
            waiting(build, n, "Unschedulable", unschedulable_since=build.now - age)
            for n, age in ((0, 2), (1, 7))
        ]
        draft = starting(build.seen(*pods), Draft(build.status()), build.now)
        assert (draft.requeue_after, draft.events) == (3.0, ())

    def test_a_restart_that_pods_hinder_tells_of_them(self, build: Any) -> None:
        status = build.status(attempt=2)
        status = st.with_condition(status, Condition.RESTARTING, True, "Error", "boom", build.now)
        pods = [waiting(build, n, "FailedMount", "no claim", attempt=2) for n in (0, 1)]
        plan = reconcile(build.seen(*pods, status=status), build.now)
        assert (plan.status.state, plan.status.reason) == (State.RESTARTING, "FailedMount")
        quiet = reconcile(
            build.seen(*(waiting(build, n, attempt=2) for n in (0, 1)), status=status), build.now
        )
        assert quiet.status.reason == "Error"

    def test_a_directory_in_use_is_why_a_job_is_pending(self, build: Any) -> None:
        status = st.with_condition(
            st.JobStatus(), Condition.RUNNING, False, Reason.RUN_DIRECTORY_IN_USE, "of b", build.now
        )
        shown = st.with_state(status)
        assert (shown.state, shown.reason, shown.message) == (
            State.PENDING,
            "RunDirectoryInUse",
            "of b",
        )


class TestFinding:
    @pytest.mark.parametrize(
        ("phase", "reason", "seconds"),
        [
            (Phase.SCHEDULING, "Unschedulable", 600),
            (Phase.SCHEDULING, "PodRefused", 600),
            (Phase.PULLING, "PodCreated", 1200),
            (Phase.PULLING, "ImagePullBackOff", 120),
            (Phase.RENDEZVOUS, "PodCreated", None),
        ],
    )
    def test_each_phase_has_its_budget(
        self, build: Any, phase: Phase, reason: str, seconds: int | None
    ) -> None:
        for age, fires in ((seconds, True), ((seconds or 1e6) - 1, False)):
            status = since(build, age or 1e6, phase)
            status = st.with_condition(status, Condition.RUNNING, False, reason, "words", build.now)
            finding, left = late(build.seen(status=status), build.now)
            assert (finding is not None) is (fires and seconds is not None)
            assert left == (1 if seconds is not None and not fires else None)
            if finding is not None:
                assert finding.evidence.endswith(f"more than {seconds} s: {reason}: words")
                expected = REMEDIES.get(reason, Rule.NOT_STARTING.record.remedy)
                assert finding.remedy == expected

    @pytest.mark.parametrize("case", ["trains", "between attempts", "no phase", "no condition"])
    def test_an_attempt_that_does_not_start_is_never_late(self, build: Any, case: str) -> None:
        status = since(build, 1e6)
        if case == "trains":
            status = st.with_condition(
                status, Condition.RUNNING, True, Reason.TRAINING_STARTED, "", build.now
            )
        elif case == "between attempts":
            status = st.end_attempt(status, Reason.ATTEMPT_FAILED, build.now)
        elif case == "no phase":
            status = dataclasses.replace(status, startup=None)
        else:
            status = dataclasses.replace(status, conditions=())
        assert late(build.seen(status=status), build.now) == (None, None)

    def test_it_is_told_once_and_nothing_is_healthy(self, build: Any) -> None:
        pods = [waiting(build, n, "ImagePullBackOff", PULL) for n in (0, 1)]
        first = reconcile(build.seen(*pods, status=since(build, 300)), build.now)
        plan = reconcile(build.seen(*pods, status=first.status), build.now)
        (finding,) = plan.status.health.findings
        assert (finding.rule, finding.status) == (Rule.NOT_STARTING, FindingStatus.ACTIVE)
        assert PULL in finding.evidence
        assert plan.status.health.verdict is Verdict.UNKNOWN
        assert [event.reason for event in plan.events] == ["NotStarting"]
        later = reconcile(build.seen(*pods, status=plan.status), build.now + 500)
        assert (later.status, later.events) == (plan.status, ())

    @pytest.mark.parametrize("phase", [PodPhase.PENDING, PodPhase.RUNNING])
    def test_it_heals_when_the_pods_start(self, build: Any, phase: PodPhase) -> None:
        finding = JobFinding(Rule.NOT_STARTING, FindingStatus.ACTIVE, "warning")  # type: ignore[arg-type]
        health = JobHealth(Verdict.UNKNOWN, (finding,))
        status = dataclasses.replace(since(build, 60), health=health)
        pods = [waiting(build, n, phase=phase) for n in (0, 1)]
        plan = reconcile(build.seen(*pods, status=status), build.now)
        assert [f.status for f in plan.status.health.findings] == [FindingStatus.HEALED]

    def test_thresholds_are_the_jobs(self, build: Any) -> None:
        spec = build.spec(health={"notStarting": {"schedulingSeconds": 5}})
        seen = build.seen(spec=spec, status=since(build, 5, Phase.SCHEDULING))
        assert late(seen, build.now)[0] is not None


async def test_what_was_seen_is_written_though_the_pods_are_refused(
    make_cluster: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster(nodes=1)
    seen = build.seen(status=st.JobStatus())
    plan = reconcile(build.seen(status=since(build, 9, Phase.SCHEDULING, whole=False)), build.now)
    assert plan.creates
    assert not plan.status_first

    async def refuse(*_: Any) -> None:
        raise Unsatisfiable("exceeded quota")

    monkeypatch.setattr(cluster, "create", refuse)
    with pytest.raises(Unsatisfiable):
        await apply(cluster, build.key, seen, plan)
    assert cluster.status()["startup"]["phase"] == "Scheduling"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Events:
    """A transport that has Events; each answer takes `takes` seconds of its clock."""

    def __init__(self, *items: Any, clock: Clock | None = None) -> None:
        self.items = items
        self.asked: list[str] = []
        self.clock = clock or Clock()
        self.takes, self.code = 0.0, 200

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        self.asked.append(path)
        self.clock.now += self.takes
        return Answer(self.code, json.dumps({"items": self.items}).encode())

    async def stream(self, path: str, timeout_seconds: float) -> Any:
        raise NotImplementedError
        yield b""


def silent(build: Any, rank: int = 0, **fields: Any) -> PodRecord:
    made: PodRecord = waiting(build, rank, created_at=build.now - 60, **fields)
    return made


def warning(uid: str, message: str, **times: str) -> Any:
    return {"involvedObject": {"uid": uid}, "reason": "FailedMount", "message": message, **times}


async def test_a_kubelet_that_speaks_in_events_alone_is_heard(build: Any) -> None:
    """Of each pod the newest; that another one waits without a word hides nothing."""
    first, second, third = (silent(build, rank) for rank in range(3))
    old = warning(second.uid, "old", lastTimestamp="2027-01-01T00:00:00Z")
    new = warning(second.uid, "new", eventTime="2027-01-02T00:00:00.000001Z")
    transport = Events(old, new, old, warning(third.uid, "its own"))
    warnings = PodWarnings(Rest(transport, lambda: 0.0))
    heard = await warnings.told("speech", [first, second, third], build.now)
    assert [(pod.hindrance, pod.words) for pod in heard] == [
        ("", ""), ("FailedMount", "new"), ("FailedMount", "its own"),
    ]  # fmt: skip
    (asked,) = transport.asked
    assert asked.startswith("/api/v1/namespaces/speech/events?")
    assert "reason%21%3DFailedScheduling" in asked


async def test_a_thousand_jobs_that_wait_cost_one_list(build: Any) -> None:
    """It reads every Event of the namespace: an API server that is slow is asked the less."""
    clock = Clock()
    transport = Events(warning(silent(build).uid, "no disk"), clock=clock)
    warnings = PodWarnings(Rest(transport, clock), clock)

    async def look() -> str:
        (pod,) = await warnings.told("speech", [silent(build)], build.now)
        return pod.words

    assert set(await asyncio.gather(*(look() for _ in range(1000)))) == {"no disk"}
    assert len(transport.asked) == 1
    for passed, asked in [(9.0, 1), (2.0, 2)]:
        clock.now += passed
        await look()
        assert len(transport.asked) == asked
    transport.takes = 4.0
    clock.now += 11.0
    for passed, asked in [(0.0, 3), (79.0, 3), (2.0, 4)]:
        clock.now += passed
        assert await look() == "no disk"
        assert len(transport.asked) == asked
    await warnings.told("other", [silent(build)], build.now)
    assert len(transport.asked) == 5


async def test_events_that_cannot_be_listed_fail_no_pass_and_forget_nothing(build: Any) -> None:
    clock = Clock()
    transport = Events(warning(silent(build).uid, "no disk"), clock=clock)
    warnings = PodWarnings(Rest(transport, clock), clock)
    for code in (200, 403):
        transport.code = code
        (pod,) = await warnings.told("speech", [silent(build)], build.now)
        assert pod.words == "no disk"
        clock.now += 11.0
    assert len(transport.asked) == 2


@pytest.mark.parametrize(
    "fields",
    [{"created_at": 1.8e9 - 59}, {"node": ""}, {"deleting": True}, {"hindrance": "InvalidImageName"},
     {"phase": PodPhase.RUNNING}],
)  # fmt: skip
async def test_nobody_is_asked_without_need(build: Any, fields: Any) -> None:
    transport = Events()
    pods = [build.pod(0, **{"phase": PodPhase.PENDING, "created_at": 1.0, **fields})]
    warnings = PodWarnings(Rest(transport, lambda: 0.0))
    assert await warnings.told("speech", pods, build.now) == pods
    assert transport.asked == []
