"""A CRD newer or older than jobs and operator: what an API server really does, and what we do about it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from apibed.admin import Admin
from apibed.scene import CRDS, Body, Scene
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
