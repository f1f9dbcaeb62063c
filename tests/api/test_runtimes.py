"""Runtimes on an API server: a job waits for its own, runs by it, and keeps what it began with."""

from __future__ import annotations

import copy
import json
from typing import Any

from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import Body, Scene, condition, reason_of
from apibed.sweep import TEAM

from speech_contract import names
from speech_contract.api.spec import RestartPolicy

RUNTIME: Body = {
    "accelerator": "NVIDIA-H200",
    "trainer": {
        "image": "trainer:team",
        "resourcesPerNode": {"limits": {"nvidia.com/gpu": "8"}},
        "volumeMounts": [{"name": "runs", "mountPath": "/runs"}],
        "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
    },
    "pod": {"volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}]},
    "health": {"zeroLoss": {"forSteps": 7}},
    "runPolicy": {"restarts": {"max": 3}},
}
BARE: Body = {  # what a job says that leaves all else to its runtime; None: it is not written
    "trainer": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
    "pod": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
    "accelerator": None,
    "runPolicy": None,
}


async def refused(scene: Scene, reason: str) -> str:
    """The words of the refusal, once it is there."""

    async def look() -> bool:
        return reason_of(await scene.job(), "Accepted") == reason

    await scene.until(f"the refusal {reason}", look)
    job = await scene.job()
    assert (job or {})["status"]["state"] == "Refused"
    assert await scene.list("pods") == []
    return str(condition(job, "Accepted")["message"])


def seen(pods: list[Body]) -> set[tuple[str, str]]:
    """Image and a variable of every pod."""
    found = set()
    for pod in pods:
        container = pod["spec"]["containers"][0]
        env = {variable["name"]: variable.get("value", "") for variable in container["env"]}
        found.add((container["image"], env.get("NCCL_DEBUG", "")))
    return found


async def kept(scene: Scene, attempt: int) -> dict[str, Any]:
    """The ConfigMap of an attempt, its texts read."""
    path = f"/api/v1/namespaces/{scene.namespace}/configmaps/{names.config_name('asr', attempt)}"
    data = (await scene.admin.get(path))["data"]
    return {name: json.loads(text) for name, text in data.items()}


async def test_a_job_waits_for_its_runtime_and_keeps_what_it_began_with(
    admin: Admin, scene: Scene
) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace):
        await scene.create(**BARE, runtimeRef=TEAM)
        words = await refused(scene, "RuntimeMissing")
        assert "'team' names no SpeechTrainingRuntime" in words
        assert "create it, or name another one; the job starts once it is there" in words
        path = await scene.create_runtime("team", RUNTIME)
        assert seen(await scene.gang(1)) == {("trainer:team", "WARN")}
        await admin.patch(path, {"spec": {"trainer": {"image": "trainer:next"}, "health": None}})
        await scene.patch({"spec": {"health": {"mode": "Notify"}}})  # may change, and is merged too
        await scene.runs("asr-master-0")
        await scene.ends("asr-worker-0", 139)
        assert seen(await scene.gang(2)) == {("trainer:team", "WARN")}
        second = await kept(scene, 2)
    status = (await scene.job() or {})["status"]
    assert status["runtime"] == {**TEAM, "generation": 1}
    assert condition(await scene.job(), "Accepted")["status"] == "True"
    assert second["runtime.json"]["generation"] == 1
    restarts = second["accepted.json"]["runPolicy"]["restarts"]
    assert (restarts["max"], restarts["sameCause"]) == (3, RestartPolicy().same_cause)
    assert second["run.json"]["health"]["zeroLoss"]["forSteps"] == 7
    assert second["run.json"]["health"]["mode"] == "Notify"
    assert (await scene.job() or {})["spec"].get("accelerator") is None  # the job stays as written


async def test_the_next_job_gets_the_new_one(admin: Admin, scene: Scene) -> None:
    """Of the whole cluster, and mended after it was refused."""
    name = scene.namespace  # no other test has it
    bad = copy.deepcopy(RUNTIME)
    bad["pod"]["nodeselector"] = {"pool": "speech"}
    async with alive(admin.transport, admin.transport, scene.namespace):
        path = await scene.create_runtime(name, bad, names.CLUSTER_RUNTIME_KIND)
        await scene.create(**BARE, runtimeRef={"name": name})
        words = await refused(scene, "InvalidRuntime")
        where = f"{names.CLUSTER_RUNTIME_KIND} {name}: spec.pod.nodeselector"
        assert words.startswith(where)
        assert "did you mean nodeSelector?" in words
        pool = {"nodeselector": None, "nodeSelector": {"pool": "speech"}}
        await admin.patch(path, {"spec": {"pod": pool}})
        pods = await scene.gang(1)
    assert {pod["spec"]["nodeSelector"]["pool"] for pod in pods} == {"speech"}
    status = (await scene.job() or {})["status"]
    assert status["runtime"] == {"kind": names.CLUSTER_RUNTIME_KIND, "name": name, "generation": 2}
    await admin.delete(path)


async def test_what_both_together_break_is_said_with_the_runtime(
    admin: Admin, scene: Scene
) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace):
        volumes = [{"name": "runs", "emptyDir": {}}]
        await scene.create_runtime("team", {**RUNTIME, "pod": {"volumes": volumes}})
        await scene.create(**BARE, runtimeRef=TEAM)
        words = await refused(scene, "InvalidSpec")
    assert words.startswith("together with SpeechTrainingRuntime team (generation 1): spec.")
    assert "lies on the emptyDir runs" in words


async def test_another_runtime_is_no_change_for_a_job_that_has_begun(
    admin: Admin, scene: Scene
) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace):
        await scene.create_runtime("team", RUNTIME)
        await scene.create(**BARE, runtimeRef=TEAM)
        await scene.gang(1)
        await scene.patch({"spec": {"runtimeRef": {"name": "other"}}})

        async def told() -> bool:
            return reason_of(await scene.job(), "Accepted") == "ImmutableField"

        await scene.until("the refusal", told)
    message = condition(await scene.job(), "Accepted")["message"]
    assert "spec.runtimeRef.name: 'other' was 'team' when the job was accepted" in message
    assert (await scene.job() or {})["status"]["runtime"]["name"] == "team"
