"""The shipped policy on an API server: a mistyped field is refused while it is applied, in the operator's words."""

from __future__ import annotations

import asyncio
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
KINDS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
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


@pytest.fixture
async def policy(admin: Admin, scene: Scene) -> AsyncIterator[None]:
    """The policy, once it counts; gone again for the tests that prove the operator alone."""
    for kind, document in zip(KINDS, admission.documents(), strict=True):
        await admin.post(f"{ADMISSION}/{kind}", document)

    async def counts() -> bool:
        return UNKNOWN in await refused(admin, scene, bent("spec.xyzzy", 1))

    await scene.until("the policy", counts)
    yield
    for kind in reversed(KINDS):
        await admin.delete(f"{ADMISSION}/{kind}/{names.CRD_NAME}")


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
    admin: Admin, scene: Scene, policy: None
) -> None:
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


async def test_what_is_known_passes_and_what_was_there_before_can_be_let_go(
    admin: Admin, scene: Scene, policy: None
) -> None:
    assert await refused(admin, scene, Scene.manifest()) == ""
    await scene.create()
    with pytest.raises(ApiError, match="did you mean maxSteps"):
        await scene.patch({"spec": {"training": {"maxstep": 5}}})
    for kind in reversed(KINDS):
        await admin.delete(f"{ADMISSION}/{kind}/{names.CRD_NAME}")

    async def off() -> bool:
        return await refused(admin, scene, bent("spec.xyzzy", 1)) == ""

    await scene.until("the policy's end", off)
    await scene.patch({"spec": {"xyzzy": 1}, "metadata": {"finalizers": ["example.org/keep"]}})
    for kind, document in zip(KINDS, admission.documents(), strict=True):
        await admin.post(f"{ADMISSION}/{kind}", document)

    async def on() -> bool:
        return await refused(admin, scene, bent("spec.xyzzy", 1)) != ""

    await scene.until("the policy's return", on)
    await scene.patch({"metadata": {"labels": {"team": "speech"}}})
    await scene.patch({"metadata": {"finalizers": None}})
