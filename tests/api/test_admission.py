"""The shipped policy on an API server: a mistyped field is refused while it is applied, in the operator's words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from apibed.admin import Admin
from apibed.scene import Body, Scene
from bed.api import ApiError
from test_bad_manifests import BAD, bent

from speech_contract import names
from speech_contract.api import admission, validate

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
# As a client posts that does not check fields, and as `kubectl apply --dry-run=server --validate=false` does.
DRY = "?dryRun=All&fieldValidation=Ignore"
MORE: list[tuple[str, Any]] = [
    ("spec.training.maxsetps", 5),
    ("spec.xyzzy", True),
    ("spec.training.maxstep", {"a": 1}),
    ("spec.trainer.env", [{"name": "A", "value": "x"}, {"name": "B", "valu": "x"}]),
    ("spec.trainer.env", [{"name": "A", "valueFrom": {"secretKeyReff": {}}}]),
    ("spec.health.expect", {"mel": {"mim": "1"}}),
    ("spec.pod.volumes.0.persistentVolumeClaim.claimname", "x"),
]
UNKNOWN = "is an unknown field"


@contextlib.asynccontextmanager
async def policy(admin: Admin, scene: Scene) -> AsyncIterator[None]:
    """The policies, once they count; gone again for the tests that prove the operator alone."""
    places = [(PLURALS[document["kind"]], document) for document in admission.documents()]
    for plural, document in places:
        await admin.post(f"{ADMISSION}/{plural}", document)

    async def counts() -> bool:
        told = await refused(admin, scene, named(bent("spec.xyzzy", 1), "probe"))
        return UNKNOWN in told and UNKNOWN in await refused_runtime(scene, {"xyzzy": 1})

    try:
        await scene.until("the policy", counts, 60.0)
        yield
    finally:
        for plural, document in reversed(places):
            await admin.delete(f"{ADMISSION}/{plural}/{document['metadata']['name']}")


async def refused_runtime(scene: Scene, spec: Body, kind: str = names.RUNTIME_KIND) -> str:
    """The same of a runtime."""
    try:
        await scene.create_runtime("probe", spec, kind, DRY)
    except ApiError as error:
        return str(error)
    return ""


async def refused(admin: Admin, scene: Scene, document: Body) -> str:
    """What the API server says; empty when it would take the job."""
    try:
        await admin.post(scene.jobs_path + DRY, document)
    except ApiError as error:
        if error.status != 422:
            raise
        return str(error)
    return ""


async def test_a_mistyped_field_is_refused_in_the_operators_words(
    admin: Admin, scene: Scene
) -> None:
    """One test, for an API server takes its time until a policy counts."""
    await admin.post(
        f"{scene.jobs_path}?fieldValidation=Ignore", named(bent("spec.xyzzy", 1), "old")
    )
    async with policy(admin, scene):
        await every_row_is_refused(admin, scene)
        assert await refused(admin, scene, Scene.manifest()) == ""
        await runtimes_are_judged_too(scene)
        old = f"{scene.jobs_path}/old"
        await admin.patch(old, {"metadata": {"labels": {"team": "speech"}}})
        await admin.patch(old, {"metadata": {"finalizers": ["example.org/keep"]}})
        await admin.patch(old, {"metadata": {"finalizers": None}})
        with pytest.raises(ApiError, match="did you mean maxSteps"):
            await admin.patch(old, {"spec": {"xyzzy": None, "training": {"maxstep": 5}}})
        await admin.patch(old, {"spec": {"xyzzy": None, "training": {"maxSteps": 5}}})


async def runtimes_are_judged_too(scene: Scene) -> None:
    for kind in (names.RUNTIME_KIND, names.CLUSTER_RUNTIME_KIND):
        told = await refused_runtime(scene, {"trainer": {"imag": "x"}}, kind)
        assert "spec.trainer.imag: 'x' is an unknown field; did you mean image?" in told
        told = await refused_runtime(scene, {"checkpoint": {"uri": "/runs"}}, kind)
        assert "known fields: everySteps, keepLast" in told
        assert await refused_runtime(scene, {"trainer": {"image": "x"}}, kind) == ""


def named(document: Body, name: str) -> Body:
    return {**document, "metadata": {**document["metadata"], "name": name}}


async def every_row_is_refused(admin: Admin, scene: Scene) -> None:
    rows = [(path, value) for path, value, *_ in BAD] + MORE
    wanted = {
        index: [text for problem in validate(bent(*row)) if UNKNOWN in (text := str(problem))]
        for index, row in enumerate(rows)
    }
    unknown = [index for index, sentences in wanted.items() if sentences]
    assert len(unknown) >= 17
    told = await asyncio.gather(*(refused(admin, scene, bent(*rows[index])) for index in unknown))
    others = [
        f"{sentence} | {said}"
        for index, said in zip(unknown, told, strict=True)
        for sentence in wanted[index]
        if sentence not in said
    ]
    assert not others, "\n".join(others)
