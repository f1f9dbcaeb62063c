"""A run directory has one job at a time: who owns it, who waits, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from speech_contract.api import parse
from speech_contract.outcome import Outcome
from speech_contract.owner import Owner
from speech_contract.reasons import Condition, Reason
from speech_contract.status import JobStatus
from speech_operator import status as st
from speech_operator.cluster.base import JobKey
from speech_operator.controller import Controller
from speech_operator.plan import Draft
from speech_operator.policies.resumed import resumed
from speech_operator.policies.run_directory import run_directory
from speech_operator.reconcile import reconcile
from speech_operator.run_directories import RunDirectories, directory_of
from speech_operator.snapshot import Platform, PodPhase

NOW = 1_800_000_000.0


def manifest(
    build: Any, name: str, created: str = "2026-01-01T00:00:00Z", *, claim: str = "runs",
    uri: str = "/ckpt/te", **policy: Any,
) -> dict[str, Any]:  # fmt: skip
    """A job of one node on a claim."""
    document = copy.deepcopy(build.document(nodes=1, policy=policy))
    document["metadata"] |= {"name": name, "uid": f"uid-{name}", "creationTimestamp": created}
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    document["spec"] |= {"checkpoint": {"uri": uri}, "pod": {"volumes": [volume]}}
    document["spec"]["trainer"]["volumeMounts"] = [{"name": "v", "mountPath": "/ckpt"}]
    return document


class Cluster:
    """Several fake clusters of one job each, as one cluster of several jobs."""

    platform = Platform(default_image="trainer:1", launcher_image="operator:1")

    def __init__(self, fakes: dict[str, Any]) -> None:
        self.fakes = fakes
        self.listed = 0

    async def list_jobs(self) -> list[Mapping[str, Any]]:
        self.listed += 1
        return [fake.document for fake in self.fakes.values() if not fake.gone]

    async def watch(self) -> AsyncIterator[JobKey]:
        for name in self.fakes:
            yield JobKey("speech", name)
        await asyncio.Event().wait()

    def __getattr__(self, verb: str) -> Any:
        return lambda key, *words: getattr(self.fakes[key.name], verb)(key, *words)


@pytest.fixture
def jobs_of(build: Any, make_cluster: Any) -> Any:
    """`jobs_of(document, …)` → the cluster, and its controller."""

    def make(*documents: dict[str, Any]) -> tuple[Cluster, Controller]:
        fakes = {}
        for document in documents:
            fake = make_cluster()
            fake.document, fake.owner = document, document["metadata"]["uid"]
            fakes[document["metadata"]["name"]] = fake
        cluster = Cluster(fakes)
        return cluster, Controller(cluster, lambda: NOW)  # type: ignore[arg-type]

    return make


def look(controller: Controller, *names: str) -> None:
    """One pass each, in this order."""

    async def passes() -> None:
        for name in names:
            await controller.reconcile_once(JobKey("speech", name))

    asyncio.run(passes())


def running(cluster: Cluster, name: str) -> dict[str, Any]:
    conditions = cluster.fakes[name].status().get("conditions", [])
    return next((c for c in conditions if c["type"] == "Running"), {})


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_at_once_the_older_trains_and_the_other_is_told_its_name(
    build: Any, jobs_of: Any, order: tuple[str, str]
) -> None:
    cluster, controller = jobs_of(
        manifest(build, "b", "2026-01-01T00:00:01Z"), manifest(build, "a")
    )
    look(controller, *order, *order)
    a, b = cluster.fakes["a"], cluster.fakes["b"]
    assert a.created
    assert not b.created
    assert not b.configs
    assert running(cluster, "b")["reason"] == "RunDirectoryInUse"
    assert (
        "/ckpt/te belongs to job speech/a, which has not ended" in running(cluster, "b")["message"]
    )
    assert "`kubectl delete stj a -n speech`" in running(cluster, "b")["message"]
    assert b.status()["state"] == "Pending"
    told = [event.warning for event in b.events if event.reason == "RunDirectoryInUse"]
    assert told == [True]
    assert cluster.listed == 1


def test_of_the_same_second_the_uid_decides(build: Any, jobs_of: Any) -> None:
    cluster, controller = jobs_of(manifest(build, "b"), manifest(build, "a"))
    look(controller, "b", "a")
    assert [name for name, fake in cluster.fakes.items() if fake.created] == ["a"]


def test_one_that_began_keeps_it_from_an_older_one(build: Any, jobs_of: Any) -> None:
    older, younger = (
        manifest(build, "a", suspend=True),
        manifest(build, "b", "2026-01-02T00:00:00Z"),
    )
    cluster, controller = jobs_of(older, younger)
    look(controller, "a", "b")
    assert cluster.fakes["b"].created
    document = copy.deepcopy(cluster.fakes["a"].document)
    document["spec"]["runPolicy"]["suspend"] = False
    document["metadata"]["generation"] = 2
    cluster.fakes["a"].document = document
    look(controller, "a", "a")
    assert not cluster.fakes["a"].created
    assert "speech/b" in running(cluster, "a")["message"]


def end(fake: Any) -> None:
    """Its pod says done."""
    (name,) = fake.pods
    pod = dataclasses.replace(
        fake.pods[name], phase=PodPhase.SUCCEEDED, exit_code=0, owner_uid=fake.owner,
        outcome=Outcome(1, 0, "Done", 0, step=9),
    )  # fmt: skip
    fake.pods[name] = pod


@pytest.mark.parametrize("how", ["done", "deleted"])
def test_the_one_that_waits_starts_when_the_owner_is_through(
    build: Any, jobs_of: Any, how: str
) -> None:
    cluster, controller = jobs_of(
        manifest(build, "a"), manifest(build, "b", "2026-01-02T00:00:00Z")
    )

    async def life() -> None:
        for name in ("a", "b"):
            controller.mark(JobKey("speech", name))
        task = asyncio.create_task(controller.run())
        await settle(lambda: running(cluster, "b") and cluster.fakes["a"].created)
        assert not cluster.fakes["b"].created
        if how == "deleted":
            cluster.fakes["a"].gone = True
        else:
            end(cluster.fakes["a"])
        controller.mark(JobKey("speech", "a"))  # nobody marks b
        await settle(lambda: cluster.fakes["b"].created)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(life())


def test_the_one_that_waits_starts_when_the_last_pod_of_an_ended_owner_is_gone(build: Any) -> None:
    """The pass that ends a job may still see a pod of it; the next one sees none, and nothing else has changed."""

    def seen(name: str, *pods: Any, status: Any) -> Any:
        spec = parse(manifest(build, name), local=False).spec
        created = f"2026-01-01T00:00:0{'ab'.index(name)}Z"
        job = build.job(spec, status, name=name, uid=f"uid-{name}", created=created)
        pods = tuple(dataclasses.replace(pod, owner_uid=job.uid) for pod in pods)
        return build.seen(*pods, spec=spec, job=job)

    began, a, b = build.status(), JobKey("speech", "a"), JobKey("speech", "b")
    over = st.with_condition(began, Condition.COMPLETE, True, "TrainingSucceeded", "", NOW)
    waits = seen("b", status=build.status(attempt=0))
    living = seen("a", build.pod(), status=began)
    ended = seen("a", build.pod(phase=PodPhase.SUCCEEDED), status=over)
    index = RunDirectories()
    assert index.look(a, living) is None
    assert index.decided(a, living, began) == []
    assert index.look(b, waits) == Owner("uid-a", "speech", "a")
    assert index.decided(b, waits, waits.job.status) == []
    index.look(a, living)
    assert index.decided(a, living, over) == []
    index.look(a, ended)
    assert index.decided(a, ended, over) == [b]
    assert index.look(b, waits) is None


async def settle(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("nothing happened")


def test_a_new_operator_knows_the_owner_before_it_looked_at_it(build: Any, jobs_of: Any) -> None:
    cluster, controller = jobs_of(
        manifest(build, "a"), manifest(build, "b", "2026-01-02T00:00:00Z")
    )
    look(controller, "a", "b")
    successor = Controller(cluster, lambda: NOW)  # type: ignore[arg-type]
    look(successor, "b", "b")
    assert not cluster.fakes["b"].created


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"uri": "/ckpt/./te//"}, True),
        ({"uri": "/ckpt/te/inner"}, False),
        ({"claim": "others"}, False),
    ],
    ids=["same", "another spelling", "below", "another claim"],
)
def test_what_counts_as_the_same_directory(build: Any, change: dict[str, Any], same: bool) -> None:
    def where(**fields: Any) -> Any:
        spec = parse(manifest(build, "a", **fields), local=False).spec
        return directory_of("speech", spec)

    assert (where(**change) == where()) is same
    assert where() == ("speech", "runs", "/te")


def test_sub_paths_and_scratch_space(build: Any) -> None:
    document = manifest(build, "a")
    document["spec"]["trainer"]["volumeMounts"][0] |= {"mountPath": "/ckpt/te", "subPath": "te"}
    spec = parse(document, local=False).spec
    assert directory_of("speech", spec) == ("speech", "runs", "/te")
    document["spec"]["checkpoint"]["ephemeral"] = True
    document["spec"]["pod"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    assert directory_of("speech", parse(document, local=False).spec) is None


@pytest.mark.parametrize("case", ["an attempt is open", "its pods are leaving", "nobody owns it"])
def test_a_running_job_is_not_stopped_for_it(build: Any, case: str) -> None:
    holder, pods, status = Owner("u", "speech", "other"), [], JobStatus()
    if case == "an attempt is open":
        status = build.status()
    elif case == "its pods are leaving":
        pods = [build.pod()]
    seen = build.solo(*pods, status=status, holder=None if case == "nobody owns it" else holder)
    draft = Draft(status=status)
    assert run_directory(seen, draft, NOW) is draft


def test_waiting_for_it_is_told_once_and_decides_the_pass(build: Any) -> None:
    seen = build.solo(status=JobStatus(), holder=Owner("u", "speech", "other"))
    first = run_directory(seen, Draft(JobStatus()), NOW)
    running = st.condition(first.status, Condition.RUNNING)
    assert running is not None
    assert (running.status.value, running.reason) == ("False", "RunDirectoryInUse")
    assert [(e.reason, e.warning) for e in first.events] == [("RunDirectoryInUse", True)]
    again = run_directory(seen, Draft(first.status), NOW + 9)
    assert (first.decided, again.decided, again.events) == (True, True, ())


def test_going_on_from_another_jobs_step_is_told_once(build: Any) -> None:
    note = "goes on from speech/old's step 15; changed since step 15: learningRate 0.002 → 0.0005"
    seen = build.solo(build.pod(), progress=build.progress(resume_note=note))
    plan = reconcile(seen, NOW)
    assert plan.status.attempts[-1].resume_note == note
    assert [e.message for e in plan.events if e.reason == "ResumedFromCheckpoint"] == [note]
    again = dataclasses.replace(seen, job=dataclasses.replace(seen.job, status=plan.status))
    assert "ResumedFromCheckpoint" not in [e.reason for e in reconcile(again, NOW).events]


@pytest.mark.parametrize("case", ["nobody says so", "the attempt is over"])
def test_without_a_note_of_an_open_attempt_nothing_is_told(build: Any, case: str) -> None:
    status, note = build.status(), ""
    if case == "the attempt is over":
        status, note = st.end_attempt(status, Reason.ATTEMPT_FAILED, NOW), "goes on from step 15"
    draft = Draft(status)
    seen = build.solo(build.pod(), status=status, progress=build.progress(resume_note=note))
    assert resumed(seen, draft, NOW) is draft
