"""Two dozen ways to write a job wrongly, sent by a client that checks fields and by one that does not.

Each is refused by the API server by name, or stands there with Accepted=False, field, value and remedy, and
without a pod. A manifest that trains on defaults because a field was mistyped would be a silent failure.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import Body, Scene, condition
from bed.api import ApiError

# path, value, how the message names the field, what else it says: the value or the remedy
BAD: list[tuple[str, Any, str, str]] = [
    ("spec.recipe.vits.learningrate", "2e-4", "learningrate", "learningRate"),
    ("spec.recipe.vits.learningRate", "fast", "learningRate", "fast"),
    ("spec.recipe.vits.preset", "Bse", "preset", "Debug"),
    ("spec.recipe.custom", {}, "recipe", "exactly one"),
    ("spec.recipe.melody", {}, "melody", "unknown field"),
    ("spec.training.maxSteps", 0, "maxSteps", "1"),
    ("spec.training.maxstep", 5, "maxstep", "maxSteps"),
    ("spec.training.precision", "FP16", "precision", "BF16"),
    ("spec.data.train.manifest", "s3://bucket/a.jsonl", "manifest", "s3://bucket/a.jsonl"),
    ("spec.data.train.folder", "/data", "data.train", "exactly one of manifest, folder"),
    ("spec.data.train", {"folder": "/data"}, "data.train.folder", "data.train.manifest"),
    ("spec.checkpoint.uri", "/scratch/x", "checkpoint.uri", "/scratch/x"),
    ("spec.checkpoint.everystep", 5, "everystep", "everySteps"),
    ("spec.numNodes", 0, "numNodes", "1"),
    ("spec.maxSteps", 5, "maxSteps", "training.maxSteps"),
    ("spec.trainer.command", ["sleep"], "command", "custom"),
    ("spec.trainer.env", [{"name": "MASTER_ADDR", "value": "x"}], "env[0].name", "MASTER_ADDR"),
    ("spec.trainer.securityContext.privileged", True, "privileged", "unknown field"),
    ("spec.trainer.resourcesPerNode.limits.memory", "9 gigs", "memory", "9 gigs"),
    ("spec.pod.hostNetwork", True, "hostNetwork", "unknown field"),
    ("spec.pod.volumes.0.hostPath", {"path": "/"}, "hostPath", "unknown field"),
    ("spec.health.zeroloss", {"forSteps": 1}, "zeroloss", "zeroLoss"),
    ("spec.runPolicy.restarts.sameCause", 0, "sameCause", "1"),
    ("spec.runPolicy.backoffLimit", 3, "backoffLimit", "unknown field"),
]
CLIENTS = ("Strict", "Ignore")


def bent(path: str, value: Any) -> Body:
    document = copy.deepcopy(Scene.manifest())
    node: Any = document
    *parents, last = path.split(".")
    for step in parents:
        node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
    node[last] = value
    return document


def name_of(row: int, client: str) -> str:
    return f"bad-{row}-{client.lower()}"


async def send(admin: Admin, scene: Scene, row: int, client: str) -> str:
    """The API server's refusal; empty when it took the job."""
    document = bent(*BAD[row][:2])
    document["metadata"]["name"] = name_of(row, client)
    try:
        await admin.post(f"{scene.jobs_path}?fieldValidation={client}", document)
    except ApiError as error:
        if error.status not in (400, 422):
            raise
        return str(error)
    return ""


async def verdict(admin: Admin, scene: Scene, row: int, client: str) -> str:
    """The message of Accepted=False, from the API server or from the operator."""
    refused = await send(admin, scene, row, client)
    if refused:
        return refused

    async def look() -> Body | None:
        job = await admin.get(f"{scene.jobs_path}/{name_of(row, client)}")
        return condition(job, "Accepted") or None

    found = await scene.until(f"a verdict on {BAD[row][0]} ({client})", look)
    assert found["status"] == "False", (BAD[row], client, found)
    return str(found["message"])


async def test_no_bad_manifest_trains(admin: Admin, scene: Scene) -> None:
    cases = [(row, client) for row in range(len(BAD)) for client in CLIENTS]
    assert len(BAD) >= 20
    async with alive(admin.transport, admin.transport, scene.namespace):
        told = await asyncio.gather(*(verdict(admin, scene, *case) for case in cases))
        silent = [
            f"{BAD[row][0]} ({client}): {message}"
            for (row, client), message in zip(cases, told, strict=True)
            if not all(word in message for word in BAD[row][2:])
        ]
        assert not silent, "\n".join(silent)
        assert await scene.list("pods") == []


async def test_a_client_that_does_not_check_is_caught_by_the_operator(
    admin: Admin, scene: Scene
) -> None:
    """Otherwise the table above would prove the API server alone."""
    taken = [row for row in range(len(BAD)) if not await send(admin, scene, row, "Ignore")]
    assert len(taken) >= 10


async def test_a_good_manifest_with_ignored_validation_is_accepted(
    admin: Admin, scene: Scene
) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace):
        await admin.post(f"{scene.jobs_path}?fieldValidation=Ignore", scene.manifest())
        await scene.gang(1)
