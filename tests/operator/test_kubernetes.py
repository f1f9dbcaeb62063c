"""KubernetesCluster and its client over answers that a test writes: errors, fences, pace, pods as records."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import codec, names
from speech_contract.api import parse_spec
from speech_contract.outcome import Outcome
from speech_operator.children import CONFIG_MAP, POD, SERVICE
from speech_operator.cluster import config_maps
from speech_operator.cluster.base import (
    AlreadyExists,
    ClusterError,
    Conflict,
    JobKey,
    Unsatisfiable,
)
from speech_operator.cluster.informer import Informers
from speech_operator.cluster.known_jobs import KnownJobs
from speech_operator.cluster.kubernetes import KubernetesCluster
from speech_operator.cluster.pod_record import node_rank, record
from speech_operator.cluster.rest import Answer, ApiError, Pace, Rest, TokenBucket
from speech_operator.observe import observe
from speech_operator.snapshot import Endpoints, Platform, PodPhase
from speech_telemetry.pod import LOCAL_HOSTS

KEY = JobKey("speech", "asr")
OWNER = {"uid": "job-uid", "controller": True}


SPEC = {
    "numNodes": 2,
    "recipe": {"custom": {}},
    "checkpoint": {"uri": "/runs/asr"},
    "trainer": {
        "command": ["python3"],
        "volumeMounts": [{"name": "runs", "mountPath": "/runs"}],
    },
    "pod": {"volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}]},
}
JOB = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "asr", "namespace": "speech", "uid": "job-uid", "generation": 1},
    "spec": SPEC,
}
HEADLESS = {
    "metadata": {
        "name": "asr-master-0",
        "namespace": "speech",
        "uid": "service-uid",
        "labels": {names.LABEL_JOB_NAME: "asr"},
        "ownerReferences": [OWNER],
    }
}
MAP = {
    "metadata": {
        "name": "asr-attempt-1",
        "namespace": "speech",
        "uid": "map-uid",
        "labels": {names.LABEL_JOB_NAME: "asr", names.LABEL_ATTEMPT: "1"},
        "ownerReferences": [OWNER],
    },
    "data": {"accepted.json": json.dumps(SPEC)},
}
MAPS = {"items": [MAP]}


def pod(uid: str = "job-uid", attempt: int = 1, **status: Any) -> dict[str, Any]:
    labels = {names.LABEL_JOB_NAME: "asr", names.LABEL_ATTEMPT: str(attempt)}
    owner = {**OWNER, "uid": uid}
    metadata = {"name": "asr-master-0", "namespace": "speech", "uid": "pod-uid", "labels": labels}
    return {"metadata": {**metadata, "ownerReferences": [owner]}, "status": status}


def refusal(code: int, reason: str = "", message: str = "", *causes: str) -> Answer:
    details = {"causes": [{"reason": cause} for cause in causes]}
    body = {"kind": "Status", "reason": reason, "message": message, "details": details}
    return Answer(code, json.dumps(body).encode())


def fine(body: Any = None) -> Answer:
    return Answer(200, json.dumps(body or {}).encode())


class Answers:
    """A transport that answers in order."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        self.asked.append((method, path, body))
        return self.answers.pop(0)

    async def stream(self, path: str, timeout_seconds: float) -> Any:
        raise NotImplementedError
        yield b""


class Clock:
    """Sleeping is what moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def cluster_of(
    *answers: Answer, progress: float = 1.0, known: KnownJobs | None = None
) -> tuple[KubernetesCluster, Answers]:
    transport, clock = Answers(*answers), Clock()
    rest = Rest(transport, clock, clock.sleep)
    informers = Informers(rest, (), lambda key: None, lambda: 0.5)
    writes = TokenBucket(1.0, progress, clock, clock.sleep)
    cluster = KubernetesCluster(rest, informers, Platform(), clock, writes, known=known)
    return cluster, transport


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (refusal(422, "Invalid", "spec.x: Invalid value"), Unsatisfiable, "spec.x: Invalid value"),
        (refusal(400, "BadRequest", "quantity"), Unsatisfiable, "quantity"),
        (refusal(403, "Forbidden", 'violates PodSecurity "restricted"'), Unsatisfiable, "level"),
        (refusal(403, "Forbidden", "exceeded quota: gpus"), Unsatisfiable, "ask for less"),
        (refusal(403, "Forbidden", "cannot create resource pods"), ApiError, "403"),
        (refusal(403, "Forbidden", "terminated", "NamespaceTerminating"), ApiError, "403"),
        (refusal(409, "Conflict", "quota moved"), ApiError, "409"),
        (refusal(500, "InternalError", "etcd"), ApiError, "500"),
        (Answer(502, b"<html>"), ApiError, "<html>"),
        (Answer(200, b"[]"), ClusterError, "no object"),
        (Answer(200, b"{"), ClusterError, "no JSON"),
    ],
)
async def test_a_pod_that_is_not_created_says_why(
    answer: Answer, kind: type[Exception], words: str
) -> None:
    cluster, _ = cluster_of(answer)
    with pytest.raises(ClusterError) as caught:
        await cluster.create(KEY, POD, pod())
    assert type(caught.value) is kind
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("there", "ours"),
    [(pod(), True), (pod(attempt=2), False), (pod(uid="other"), False)],
)
async def test_a_taken_name_is_ours_only_with_owner_and_attempt(there: Any, ours: bool) -> None:
    cluster, _ = cluster_of(refusal(409, "AlreadyExists"), fine(there))
    with pytest.raises(AlreadyExists) as caught:
        await cluster.create(KEY, POD, pod())
    assert caught.value.ours is ours


async def test_a_delete_carries_the_uid_and_absence_is_success() -> None:
    cluster, transport = cluster_of(refusal(404), refusal(409, "Conflict"))
    await cluster.delete(KEY, POD, "asr-master-0", "pod-uid", 5)
    ((method, _, body),) = transport.asked
    assert method == "DELETE"
    assert body == {"gracePeriodSeconds": 5, "preconditions": {"uid": "pod-uid"}}
    with pytest.raises(Conflict):
        await cluster.delete(KEY, POD, "asr-master-0", "pod-uid", 5)


@pytest.mark.parametrize("code", [404, 409])
async def test_a_status_of_another_version_is_a_conflict(code: int) -> None:
    cluster, transport = cluster_of(refusal(code))
    with pytest.raises(Conflict):
        await cluster.put_status(KEY, {"state": "Running"}, "7")
    assert transport.asked[0][2]["metadata"]["resourceVersion"] == "7"


BEGUN = {**JOB, "metadata": {**JOB["metadata"], "resourceVersion": "7"}, "status": {"attempt": 2}}


async def test_a_job_without_an_attempt_has_no_children_to_look_for() -> None:
    cluster, transport = cluster_of(fine(JOB))
    cluster._informers.of(POD)._scopes[0].synced.set()
    seen = await observe(cluster, KEY, None, None)
    assert seen is not None
    assert not seen.service_present
    assert len(transport.asked) == 1


async def test_a_pod_that_is_alone_needs_no_name() -> None:
    alone = {**BEGUN, "spec": {**SPEC, "numNodes": 1}}
    cluster, transport = cluster_of(fine(alone), fine({"items": []}))
    cluster._informers.of(POD)._scopes[0].synced.set()
    seen = await observe(cluster, KEY, None, None)
    assert seen is not None
    assert seen.service_present
    assert seen.endpoints == Endpoints("asr-master-0", 23456, ("asr-master-0:9464",))
    # The operator and Prometheus ask it from outside.
    assert seen.endpoints.master_address not in LOCAL_HOSTS
    assert not any("services" in path for _, path, _ in transport.asked)


async def test_a_job_that_was_heard_of_is_not_asked_for_until_a_write_fails() -> None:
    known = KnownJobs(lambda: 0.0)
    written = {"attempt": 2, "state": "Running"}
    metadata = {**BEGUN["metadata"], "resourceVersion": "8"}
    later = {**BEGUN, "metadata": metadata, "status": written}
    cluster, transport = cluster_of(fine(later), refusal(409), fine(later), known=known)
    known.told(KEY, BEGUN)
    assert await cluster.get_job(KEY) == BEGUN
    await cluster.put_status(KEY, written, "7")
    known.told(KEY, BEGUN)  # the watch is late
    assert await cluster.get_job(KEY) == later
    assert [method for method, _, _ in transport.asked] == ["PUT"]
    with pytest.raises(Conflict):
        await cluster.put_status(KEY, {"attempt": 3}, "8")
    known.told(KEY, later)
    assert await cluster.get_job(KEY) == later
    assert [method for method, _, _ in transport.asked] == ["PUT", "PUT", "GET"]


async def test_a_look_at_a_quiet_job_asks_the_api_server_once() -> None:
    """The job itself, fresh; its config maps and its service were asked for by the first look."""
    job = fine(BEGUN)
    cluster, transport = cluster_of(job, fine(MAPS), fine({"items": [HEADLESS]}), *[job] * 4)
    cluster._informers.of(POD)._scopes[0].synced.set()
    for _ in range(5):
        seen = await observe(cluster, KEY, None, None)
        assert seen is not None
        assert seen.accepted is not None
        assert seen.service_present
    asked = [path for _, path, _ in transport.asked]
    assert len(asked) == 3 + 4
    assert set(asked[3:]) == {asked[0]}


@pytest.mark.parametrize(
    "answers",
    [
        [fine(HEADLESS)],
        [refusal(409, "AlreadyExists"), fine(HEADLESS)],
    ],
    ids=["made", "there and ours"],
)
async def test_a_service_that_was_just_made_is_not_asked_for(answers: list[Answer]) -> None:
    cluster, transport = cluster_of(*answers)
    with contextlib.suppress(AlreadyExists):
        await cluster.create(KEY, SERVICE, HEADLESS)
    assert await cluster.list_children(KEY, SERVICE, "job-uid")
    assert len(transport.asked) == len(answers)


async def test_a_service_of_another_job_is_not_taken_for_ours() -> None:
    owner = {**OWNER, "uid": "other"}
    other = {"metadata": {**HEADLESS["metadata"], "ownerReferences": [owner]}}
    cluster, _ = cluster_of(refusal(409, "AlreadyExists"), fine(other), fine(other))
    with pytest.raises(Unsatisfiable):
        await cluster.create(KEY, SERVICE, HEADLESS)
    assert not await cluster.list_children(KEY, SERVICE, "job-uid")


async def test_what_an_attempt_was_built_from_is_parsed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = 0

    def count(document: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return parse_spec(document)

    monkeypatch.setattr(config_maps, "parse_spec", count)
    cluster, _ = cluster_of(fine(MAPS))
    looks = [await cluster.list_children(KEY, CONFIG_MAP, "job-uid") for _ in range(5)]
    assert len({id(config.accepted) for (config,) in looks}) == 1
    assert parsed == 1


async def test_a_nan_never_leaves_the_process() -> None:
    cluster, transport = cluster_of()
    with pytest.raises(ClusterError, match="no JSON"):
        await cluster.put_status(KEY, {"loss": math.nan}, "7")
    assert transport.asked == []


async def test_numbers_alone_wait_for_their_budget_and_a_verdict_does_not() -> None:
    old = {"progress": {"step": 1}, "health": {"verdict": "Healthy"}}
    cluster, transport = cluster_of(fine({"status": old}), fine(), fine(), progress=1.0)
    await cluster.get_job(KEY)
    for step in (2, 3):
        await cluster.put_status(KEY, {**old, "progress": {"step": step}}, "7")
    assert [body["status"]["progress"]["step"] for _, _, body in transport.asked[1:]] == [2]
    await cluster.put_status(KEY, {**old, "health": {"verdict": "Critical"}}, "7")
    assert len(transport.asked) == 3


STATUS = {"attempt": 1, "restarts": {"counted": 2}, "conditions": []}
UID = {"metadata": {"uid": "job-uid"}}


def old_crd(field: str) -> Answer:
    details = {"causes": [{"reason": "FieldValueNotSupported", "field": field}]}
    return Answer(422, json.dumps({"reason": "Invalid", "details": details}).encode())


async def test_a_word_that_an_old_crd_lacks_does_not_stop_the_job() -> None:
    cluster, transport = cluster_of(
        old_crd("status.state"), fine({**UID, "status": STATUS}), fine()
    )
    await cluster.put_status(KEY, {**STATUS, "state": "Refused"}, "7")
    assert transport.asked[1][2]["status"] == STATUS
    assert transport.asked[1][2]["metadata"]["resourceVersion"] == "7"
    assert transport.asked[2][2]["reason"] == "OutdatedCRD"


async def test_what_an_old_crd_drops_is_told_once() -> None:
    cluster, transport = cluster_of(
        fine({**UID, "status": STATUS}), fine(), fine({**UID, "status": STATUS})
    )
    for _ in range(2):
        await cluster.put_status(KEY, {**STATUS, "reason": "R"}, "7")
    (event,) = [body for method, _, body in transport.asked if method == "POST"]
    assert (event["reason"], event["involvedObject"]["uid"]) == ("OutdatedCRD", "job-uid")
    assert "does not keep status.reason: the CRD is older than this operator" in event["message"]


async def test_nothing_begins_on_a_status_that_forgets_its_counts() -> None:
    cluster, _ = cluster_of(fine({**UID, "status": {"attempt": 1, "conditions": []}}), fine())
    with pytest.raises(ClusterError, match="without restarts"):
        await cluster.put_status(KEY, STATUS, "7")


async def test_a_refusal_of_what_decides_is_a_failure() -> None:
    cluster, _ = cluster_of(old_crd("status.attempt"))
    with pytest.raises(ApiError):
        await cluster.put_status(KEY, STATUS, "7")


async def test_a_job_that_stands_still_for_it_says_so_once() -> None:
    refusals = [old_crd("status.conditions[1].type")] * 2
    cluster, transport = cluster_of(fine(UID), refusals[0], fine(), refusals[1])
    await cluster.get_job(KEY)
    for _ in range(2):
        with pytest.raises(ApiError):
            await cluster.put_status(KEY, STATUS, "7")
    (event,) = [body for method, _, body in transport.asked if method == "POST"]
    assert (event["reason"], event["involvedObject"]["uid"]) == ("OutdatedCRD", "job-uid")
    assert "this job stands still, its status is refused" in event["message"]


async def test_429_is_waited_out_as_long_as_the_server_says() -> None:
    clock = Clock()
    transport = Answers(Answer(429, b"{}", 3.0), Answer(429, b"{}", 60.0), fine({"a": 1}))
    assert await Rest(transport, clock, clock.sleep).get("/x") == {"a": 1}
    assert clock.now == 3.0 + 10.0
    with pytest.raises(ApiError):
        await Rest(Answers(*[Answer(429, b"{}", 0.0)] * 4), clock, clock.sleep).get("/x")


@given(st.floats(0.5, 500.0), st.integers(1, 50), st.integers(1, 200))
def test_no_more_writes_than_rate_and_burst_allow(rate: float, burst: int, writes: int) -> None:
    clock = Clock()

    async def spend() -> None:
        bucket = TokenBucket(rate, float(burst), clock, clock.sleep)
        for _ in range(writes):
            await bucket.take()

    asyncio.run(spend())
    assert writes <= burst + rate * clock.now + 1e-6
    assert clock.now <= max(0, writes - burst) / rate + 1e-6


async def test_writes_are_paced_and_reads_are_not() -> None:
    clock = Clock()
    pace = Pace(writes_per_second=1.0, write_burst=1.0)
    rest = Rest(Answers(*[fine()] * 6), clock, clock.sleep, pace)
    for _ in range(3):
        await rest.get("/x")
    assert clock.now == 0.0
    for _ in range(3):
        await rest.post("/x", {})
    assert clock.now == 2.0


def ended(code: int, message: str = "", name: str = names.CONTAINER) -> dict[str, Any]:
    terminated = {"exitCode": code, "reason": "Error", "message": message}
    return {"name": name, "state": {"terminated": terminated}}


@pytest.mark.parametrize(
    ("status", "phase", "code", "reason"),
    [
        ({}, PodPhase.PENDING, None, ""),
        ({"phase": "Unknown"}, PodPhase.RUNNING, None, ""),
        ({"phase": "Failed", "reason": "Evicted"}, PodPhase.FAILED, None, "Evicted"),
        ({"phase": "Failed", "containerStatuses": [ended(40)]}, PodPhase.FAILED, 40, "Error"),
        ({"phase": "Running", "containerStatuses": [ended(0)]}, PodPhase.SUCCEEDED, 0, "Error"),
        ({"phase": "Running", "containerStatuses": [ended(1)]}, PodPhase.FAILED, 1, "Error"),
        (
            {"phase": "Running", "containerStatuses": [ended(1, name="sidecar")]},
            PodPhase.RUNNING, None, "",
        ),
        (
            {"phase": "Failed", "initContainerStatuses": [ended(64, name="launcher")]},
            PodPhase.FAILED, 64, "Error",
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [ended(137)],
                "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
                ],
            },
            PodPhase.FAILED, 137, "PreemptionByScheduler",
        ),
    ],
)  # fmt: skip
def test_a_pod_as_a_record(status: Any, phase: PodPhase, code: int | None, reason: str) -> None:
    made = record(pod(**status), "asr")
    assert (made.phase, made.exit_code, made.reason) == (phase, code, reason)


def test_the_termination_log_is_an_outcome_or_last_words() -> None:
    outcome = Outcome(attempt=1, node_rank=0, phase="Done", exit_code=40)
    told = record(pod(phase="Failed", containerStatuses=[ended(40, codec.dumps(outcome))]), "asr")
    assert (told.outcome, told.message) == (outcome, "")
    words = record(pod(phase="Failed", containerStatuses=[ended(1, "Traceback")]), "asr")
    assert (words.outcome, words.message) == (None, "Traceback")


@pytest.mark.parametrize(
    ("name", "rank"),
    [("asr-master-0", 0), ("asr-worker-0", 1), ("asr-worker-12", 13), ("asr-worker-01", -1),
     ("asr-debug", -1), ("asr-2-master-0", -1), ("asr-worker-1-worker-0", -1)],
)  # fmt: skip
def test_a_rank_is_read_from_names_of_the_job_alone(name: str, rank: int) -> None:
    assert node_rank(name, "asr") == rank


async def test_the_master_is_addressed_by_its_own_name_not_by_the_service() -> None:
    cluster, _ = cluster_of()
    found = await cluster.endpoints(KEY, 2, None)
    assert found.master_address == "asr-master-0.asr-master-0"
    assert found.supervisor_addresses[1] == f"asr-worker-0.asr-master-0:{names.SUPERVISOR_PORT}"
