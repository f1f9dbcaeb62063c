"""A job's life against a real API server: kubelets are scripted, everything else is real."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from apibed.admin import Admin
from apibed.life import Life, alive
from apibed.scene import Scene, condition, reason_of
from apibed.transports import Recording
from bed.cluster import Bed

from speech_contract import env, names
from speech_contract.outcome import Outcome


@pytest.fixture
async def life(admin: Admin, scene: Scene) -> AsyncIterator[Life]:
    async with alive(admin.transport, admin.transport, scene.namespace) as made:
        yield made


async def test_the_crd_is_established_and_its_rules_compile(bed: Bed) -> None:
    found = bed.api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{names.CRD_NAME}")
    conditions = {c["type"]: c["status"] for c in found["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert "NonStructuralSchema" not in conditions


async def test_a_job_gets_its_pods_with_owner_labels_and_environment(
    life: Life, scene: Scene
) -> None:
    job = await scene.create()
    master, worker = await scene.gang(1)
    assert [p["metadata"]["name"] for p in (master, worker)] == ["asr-master-0", "asr-worker-0"]
    assert {p["metadata"]["ownerReferences"][0]["uid"] for p in (master, worker)} == {
        job["metadata"]["uid"]
    }
    assert master["metadata"]["labels"][names.LABEL_JOB_ROLE] == "master"
    assert names.LABEL_JOB_ROLE not in worker["metadata"]["labels"]
    given = {v["name"]: v.get("value") for v in worker["spec"]["containers"][0]["env"]}
    assert given[env.MASTER_ADDR] == "asr-master-0.asr-master-0"
    assert (given[env.WORLD_SIZE], given[env.PET_NODE_RANK]) == ("16", "1")
    assert worker["spec"]["hostname"] == "asr-worker-0"
    assert worker["spec"]["subdomain"] == "asr-master-0"
    (service,) = await scene.list("services")
    assert service["metadata"]["name"] == "asr-master-0"
    (config,) = await scene.list("configmaps")
    assert config["immutable"] is True


async def test_a_failed_worker_takes_the_gang_along_and_success_ends_the_job(
    life: Life, scene: Scene
) -> None:
    await scene.create()
    first = await scene.gang(1)
    await scene.ends("asr-worker-0", 139)
    second = await scene.gang(2)
    uids = [{p["metadata"]["uid"] for p in gang} for gang in (first, second)]
    assert not uids[0] & uids[1]
    for pod in second:
        await scene.runs(pod["metadata"]["name"])
    outcome = Outcome(attempt=2, node_rank=0, phase="Done", exit_code=0, step=60, verdict="Healthy")
    await scene.ends("asr-master-0", 0, outcome)
    await scene.ends("asr-worker-0", 0)
    status = (await scene.state("Complete"))["status"]
    assert status["restarts"]["counted"] == 1
    assert [a["reason"] for a in status["attempts"]] == ["AttemptFailed", "TrainingSucceeded"]
    assert status["progress"]["step"] == 60
    assert len(await scene.list("pods")) == 2  # cleanPodPolicy Running keeps what has ended


async def test_an_evicted_pod_costs_no_budget(life: Life, scene: Scene) -> None:
    await scene.create()
    await scene.gang(1)
    await scene.set_pod("asr-worker-0", {"phase": "Failed", "reason": "Evicted"})
    await scene.gang(2)
    job = await scene.job()
    assert job is not None
    assert job["status"]["restarts"]["counted"] == 0
    assert job["status"]["attempts"][0]["cause"] == "Evicted"


async def test_suspend_by_patch_frees_the_pods_and_resume_brings_them_back(
    life: Life, scene: Scene
) -> None:
    await scene.create()
    await scene.gang(1)
    await scene.patch({"spec": {"runPolicy": {"suspend": True}}})
    await scene.state("Suspended")
    assert await scene.list("pods") == []
    await scene.patch({"spec": {"runPolicy": {"suspend": False}}})
    await scene.gang(2)


async def test_a_finished_job_goes_by_itself_after_its_time(life: Life, scene: Scene) -> None:
    await scene.create(runPolicy={"ttlSecondsAfterFinished": 1})
    await scene.gang(1)
    await scene.ends("asr-master-0", 0)

    async def gone() -> bool:
        return await scene.job() is None

    await scene.until("ttl", gone)


async def test_a_pod_of_somebody_else_is_never_adopted(life: Life, scene: Scene) -> None:
    container = {"name": "main", "image": "none"}
    pod = {"metadata": {"name": "asr-worker-0"}, "spec": {"containers": [container]}}
    path = f"/api/v1/namespaces/{scene.namespace}/pods"
    await scene.admin.post(path, pod)
    await scene.create()

    async def told() -> bool:
        return reason_of(await scene.job(), "Running") == "NameTaken"

    await scene.until("NameTaken", told)
    assert "asr-worker-0" in condition(await scene.job(), "Running")["message"]
    left = await scene.admin.get(f"{path}/asr-worker-0")
    assert "ownerReferences" not in left["metadata"]


async def test_a_quiet_job_costs_no_write(admin: Admin, scene: Scene) -> None:
    recording = Recording(admin.transport)
    async with alive(recording, admin.transport, scene.namespace) as life:
        await scene.create()
        await scene.gang(1)
        await life.controller.reconcile_once(scene.key)
        count = len(recording.writes)
        for _ in range(5):
            await life.controller.reconcile_once(scene.key)
        assert len(recording.writes) == count
