"""A CRD newer or older than jobs and operator: what an API server really does, and what we do about it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import CRDS, Body, Scene, condition
from bed.api import ApiError

from speech_contract import names
from speech_contract.api import crd

GROUP = "twin.speechtrain.dev"  # a kind of its own: other tests share the API server
NAME = f"{names.PLURAL}.{GROUP}"
RULES = "x-kubernetes-validations"


def twin(change: Callable[[Body], Any] = lambda schema: None) -> Body:
    """Our CRD in another group; `change` bends its schema."""
    document = copy.deepcopy(crd.definition())
    document["metadata"]["name"] = NAME
    document["spec"]["group"] = GROUP
    for name in ("shortNames", "categories"):
        document["spec"]["names"].pop(name)
    change(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return document


def without_rules(schema: Body) -> None:
    del schema[RULES]
    del schema["properties"]["spec"]["properties"]["recipe"][RULES]


def without_guards(schema: Body) -> None:
    for rule in schema[RULES]:
        rule["rule"] = rule["rule"].removeprefix(crd.AT_CREATION)
        del rule["optionalOldSelf"]


def stranger(scene: Scene, name: str) -> Body:
    """A job that breaks a rule of the root and one of the recipe."""
    job = scene.manifest(recipe={"vits": {"preset": "Debug"}, "custom": {}})
    metadata = {"name": name, "finalizers": ["example.org/keep"]}
    return {**job, "apiVersion": f"{GROUP}/{names.VERSION}", "metadata": metadata}


async def put_crd(admin: Admin, document: Body) -> None:
    path = f"{CRDS}/{document['metadata']['name']}"
    there = await admin.get(path)
    await admin.call("PUT", path, {**document, "metadata": there["metadata"]})


async def outcome(call: Any) -> int:
    try:
        await call
    except ApiError as error:
        return error.status
    return 200


async def test_new_rules_judge_new_objects_alone(admin: Admin, scene: Scene) -> None:
    jobs = f"/apis/{GROUP}/{names.VERSION}/namespaces/{scene.namespace}/{names.PLURAL}"
    await admin.post(CRDS, twin(without_rules))
    await scene.until("the old job", lambda: admin.post(jobs, stranger(scene, "old.job")))
    old = f"{jobs}/old.job"

    async def refuses() -> bool:
        return await outcome(admin.post(f"{jobs}?dryRun=All", stranger(scene, "new.job"))) == 422

    async def writes(label: str) -> list[int]:
        return [
            await outcome(admin.patch(old, {"metadata": {"labels": {"team": label}}})),
            await outcome(admin.patch(f"{old}/status", {"status": {"nodes": label}})),
            await outcome(admin.patch(old, {"spec": {"runPolicy": {"suspend": label == "a"}}})),
        ]

    try:
        await put_crd(admin, twin())
        await scene.until("the new rules", refuses)
        assert await writes("a") == [200, 200, 200]
        await put_crd(admin, twin(without_guards))
        label = {"metadata": {"labels": {"team": "z"}}}

        async def strands() -> bool:
            return await outcome(admin.patch(f"{old}?dryRun=All", label)) == 422

        await scene.until("what a rule without a guard does", strands)
        assert await writes("b") == [422, 422, 422]
        await put_crd(admin, twin())

        async def lets_go() -> bool:
            return await outcome(admin.patch(old, {"metadata": {"finalizers": None}})) == 200

        await scene.until("the guards", lets_go)
    finally:
        await admin.delete(f"{CRDS}/{NAME}")


def older(schema: Body) -> None:
    """As a release had it that knew no `reason`, `message`, Refused, queues, goodput, nor how budgets come back."""
    status = schema["properties"]["status"]["properties"]
    del status["reason"], status["message"], status["goodput"]
    restarts = status["restarts"]["properties"]
    del restarts["causes"]["items"]["properties"]["lastTime"]
    for later in ("windowTimes", "lastResetStep", "farthestStep", "total"):
        del restarts[later]
    status["state"]["enum"].remove("Refused")
    status["conditions"]["items"]["properties"]["type"]["enum"].remove("Queued")


@pytest.fixture
async def old_crd(admin: Admin, scene: Scene) -> Any:
    document = copy.deepcopy(crd.definition())
    older(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    await put_crd(admin, document)
    # Running, it would own the run directory of the other one, and have pods.
    probe = scene.manifest(runPolicy={"suspend": True})
    await admin.post(scene.jobs_path, {**probe, "metadata": {"name": "probe"}})

    async def counts() -> bool:
        return await _answered(admin, scene) == 422

    await scene.until("the old CRD", counts)
    yield
    await put_crd(admin, crd.definition())
    await scene.until("the new CRD", lambda: _takes(admin, scene))


async def _takes(admin: Admin, scene: Scene) -> bool:
    return await _answered(admin, scene) == 200


async def _answered(admin: Admin, scene: Scene) -> int:
    """To a state that the old CRD does not know."""
    path = f"{scene.jobs_path}/probe/status"
    # What stands there already is not judged again (KEP-4008): a try that came too early would let later ones by.
    await admin.patch(path, {"status": {"state": "Pending"}})
    return await outcome(admin.patch(path, {"status": {"state": "Refused"}}))


async def test_under_an_older_crd_the_operator_goes_on_and_says_what_is_lost(
    admin: Admin, scene: Scene, old_crd: None
) -> None:
    bad = {**scene.manifest(numNode=3), "metadata": {"name": "bad"}}
    async with alive(admin.transport, admin.transport, scene.namespace):
        await scene.create()
        await scene.gang(1)
        await scene.ends("asr-worker-0", 134)
        await scene.gang(2)
        assert (await scene.job())["status"]["restarts"]["counted"] == 1
        await admin.post(f"{scene.jobs_path}?fieldValidation=Ignore", bad)

        async def refused() -> Body | None:
            job = await admin.get(f"{scene.jobs_path}/bad")
            return condition(job, "Accepted") or None

        found = await scene.until("the refusal", refused)
        assert "did you mean numNodes?" in found["message"]
        await asyncio.gather(
            scene.ends("asr-worker-0", 0), scene.ends("asr-master-0", 0), return_exceptions=False
        )
        await scene.state("Complete")
        queued = scene.manifest(runPolicy={"schedulingPolicy": {"gang": "Kueue", "queue": "team"}})
        await admin.post(scene.jobs_path, {**queued, "metadata": {"name": "queued"}})

        async def told_of(name: str) -> bool:
            found = [e["involvedObject"]["name"] for e in await scene.list("events")]
            return name in found

        await scene.until("the event of the queued job", lambda: told_of("queued"))
        events = await scene.events("OutdatedCRD", 3)
    told = {event["involvedObject"]["name"]: event["message"] for event in events}
    assert "status.reason, status.message" in told["asr"]
    assert "status.state" in told["bad"]
    assert "this job stands still, its status is refused" in told["queued"]
    assert "status.conditions" in told["queued"]
    assert "the CRD is older than this operator" in told["queued"]
