"""A job in a queue, with Kueue's own CRDs: the test speaks for Kueue's controller, which `make accept-queues` runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import CRDS, Body, Scene, condition
from bed import crds
from bed.api import ApiError
from bed.cluster import log_to_stderr
from bed.layout import cache_dir

from speech_contract import names
from speech_contract.outcome import Outcome
from speech_operator.app import Operator
from speech_operator.children import FLAVOR as FLAVOR_KIND
from speech_operator.children import KUEUE_KINDS, WORKLOAD
from speech_operator.settings import Settings

NAME = names.workload_name("asr")
GANG = {"schedulingPolicy": {"gang": "Kueue", "queue": "team"}}
FLAVORS = FLAVOR_KIND.path()
FLAVOR: Body = {
    "apiVersion": names.KUEUE_API_VERSION,
    "kind": "ResourceFlavor",
    "metadata": {"name": "h200"},
    "spec": {
        "nodeLabels": {"pool": "h200"},
        "tolerations": [{"key": "pool", "operator": "Exists", "effect": "NoSchedule"}],
    },
}


def kueue_crds() -> list[Body]:
    """Those that we use, in the one version that we speak: between versions Kueue itself would translate."""
    wanted = {kind.plural for kind in KUEUE_KINDS if kind.api_version == names.KUEUE_API_VERSION}
    found = [yaml.safe_load(file.read_text()) for file in crds.kueue(cache_dir(), log_to_stderr)]
    made = [one for one in found if one["spec"]["names"]["plural"] in wanted]
    version = names.KUEUE_API_VERSION.rpartition("/")[2]
    for one in made:
        one["spec"]["versions"] = [v for v in one["spec"]["versions"] if v["name"] == version]
        one["spec"]["versions"][0]["storage"] = True
    assert len(made) == len(wanted)
    return made


class Kueue:
    """What its controller would write."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.path = WORKLOAD.path(scene.namespace, NAME)

    async def workload(self) -> Body | None:
        return await self.scene.admin.find(self.path)

    async def says(self, *facts: tuple[str, bool, str, str], **status: Any) -> None:
        """Conditions by type, beside those that are there."""
        there = (await self.workload() or {}).get("status") or {}
        listed = {c["type"]: c for c in there.get("conditions") or ()}
        for kind, value, reason, message in facts:
            listed[kind] = {
                "type": kind, "status": str(value), "reason": reason, "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }  # fmt: skip
        body = {"status": {**status, "conditions": list(listed.values())}}
        await self.scene.admin.patch(f"{self.path}/status", body)

    async def admits(self) -> None:
        sets = [
            {"name": kind, "flavors": {"cpu": "h200"}, "count": 1} for kind in ("master", "worker")
        ]
        admission = {"clusterQueue": "gpus", "podSetAssignments": sets}
        reserved = ("QuotaReserved", True, "QuotaReserved", "Quota reserved in ClusterQueue gpus")
        admitted = ("Admitted", True, "Admitted", "The workload is admitted")
        evicted = ("Evicted", False, "QuotaReserved", "Previously: preempted")
        await self.says(reserved, admitted, evicted, admission=admission)

    async def there(self) -> bool:
        return await self.workload() is not None

    async def told(self, kind: str) -> tuple[str, str]:
        found = condition(await self.workload(), kind)
        return found.get("status", ""), found.get("reason", "")


@contextlib.asynccontextmanager
async def kueue_there(admin: Admin) -> AsyncIterator[None]:
    """Kueue's CRDs, served. They go at the end: other tests have an API server without."""
    made = kueue_crds()
    try:
        for one in made:
            await admin.post(CRDS, one)
        await served(admin, True)
        yield
    finally:
        for one in made:
            with contextlib.suppress(ApiError):
                await admin.delete(f"{CRDS}/{one['metadata']['name']}")
        await served(admin, False)


async def served(admin: Admin, wanted: bool) -> None:
    """Until each kind is served, or none; in between the API server answers 429."""
    async with asyncio.timeout(60.0):
        for kind in KUEUE_KINDS:
            while kind.api_version == names.KUEUE_API_VERSION:
                try:
                    if (await admin.find(kind.path()) is not None) is wanted:
                        break
                except ApiError:
                    pass
                await asyncio.sleep(0.05)


@pytest.fixture
async def queues(admin: Admin) -> AsyncIterator[None]:
    """Kueue's CRDs and a flavor."""
    async with kueue_there(admin):
        await admin.post(FLAVORS, FLAVOR)
        yield


async def test_a_job_waits_trains_is_evicted_goes_on_and_gives_back(
    admin: Admin, scene: Scene, queues: None
) -> None:
    kueue = Kueue(scene)
    async with alive(admin.transport, admin.transport, scene.namespace, kueue=True):
        await scene.create(runPolicy=GANG)
        await it_waits(scene, kueue)
        await kueue.admits()
        await it_trains_on_one_quota(scene, kueue)
        await kueue.says(("Evicted", True, "Preempted", "to make room for another"))
        await it_gives_way(scene, kueue)
        await kueue.admits()
        await it_goes_on_and_ends(scene, kueue)


async def it_waits(scene: Scene, kueue: Kueue) -> None:
    """In Kueue's words, without a pod."""
    await scene.until("the Workload", kueue.there)
    made = await kueue.workload() or {}
    assert [(s["name"], s["count"]) for s in made["spec"]["podSets"]] == [
        ("master", 1), ("worker", 1),
    ]  # fmt: skip
    await kueue.says(("QuotaReserved", False, "Pending", "insufficient quota for cpu"))

    async def in_kueues_words() -> bool:
        message = condition(await scene.job(), "Queued").get("message", "")
        return "insufficient quota for cpu" in message

    await scene.until("Kueue's words", in_kueues_words)
    assert (await scene.job() or {})["status"]["state"] == "Queued"
    assert await scene.list("pods") == []


async def it_trains_on_one_quota(scene: Scene, kueue: Kueue) -> None:
    """Where the flavor says; a rank dies, and the gang comes back on the same Workload."""
    made = await kueue.workload() or {}
    for pod in await scene.gang(1):
        assert pod["spec"]["nodeSelector"]["pool"] == "h200"
        assert FLAVOR["spec"]["tolerations"][0] in pod["spec"]["tolerations"]
        await scene.set_pod(pod["metadata"]["name"], ready())

    async def ready_told() -> bool:
        return await kueue.told("PodsReady") == ("True", "Started")

    await scene.until("PodsReady", ready_told)
    await scene.ends("asr-worker-0", 139)
    await scene.gang(2)
    assert (await kueue.workload() or {})["metadata"]["uid"] == made["metadata"]["uid"]


async def it_gives_way(scene: Scene, kueue: Kueue) -> None:
    """Its quota goes back when its pods are gone; no restart is counted for it."""

    async def given_back() -> bool:
        return await kueue.told("QuotaReserved") == ("False", "Pending")

    await scene.until("the quota is given back", given_back)
    assert "admission" not in (await kueue.workload() or {})["status"]
    assert await kueue.told("Requeued") == ("True", "Preempted")
    job = await scene.state("Queued")
    assert await scene.list("pods") == []
    assert job["status"]["restarts"]["counted"] == 1


async def it_goes_on_and_ends(scene: Scene, kueue: Kueue) -> None:
    """With the next attempt; then it holds nothing, and goes when its job does."""
    await scene.gang(3)
    done = Outcome(attempt=3, node_rank=0, phase="Done", exit_code=0, step=60, verdict="Healthy")
    await scene.ends("asr-worker-0", 0)
    await scene.ends("asr-master-0", 0, done)
    await scene.state("Complete")

    async def finished() -> bool:
        return await kueue.told("Finished") == ("True", "Succeeded")

    await scene.until("Finished", finished)
    assert "admission" not in (await kueue.workload() or {})["status"]
    # What garbage collection goes by; it learns of a new kind only in half a minute (`make accept-queues` waits).
    (owner,) = (await kueue.workload() or {})["metadata"]["ownerReferences"]
    assert owner["uid"] == (await scene.job() or {})["metadata"]["uid"]


async def test_deleting_the_workload_by_hand_queues_the_job_anew(
    admin: Admin, scene: Scene, queues: None
) -> None:
    kueue = Kueue(scene)
    async with alive(admin.transport, admin.transport, scene.namespace, kueue=True):
        await scene.create(runPolicy=GANG)
        await scene.until("the Workload", kueue.there)
        uid = (await kueue.workload() or {})["metadata"]["uid"]
        await kueue.admits()
        await scene.gang(1)
        await admin.delete(kueue.path)

        async def anew() -> bool:
            found = await kueue.workload()
            return found is not None and found["metadata"]["uid"] != uid

        await scene.until("another Workload", anew)
        await scene.state("Queued")
        assert await scene.list("pods") == []
        # Suspended by hand it holds no place at all.
        await scene.patch({"spec": {"runPolicy": {"suspend": True}}})
        await scene.state("Suspended")

        async def no_place() -> bool:
            return not await kueue.there()

        await scene.until("no place", no_place)


async def test_without_kueue_it_says_so_until_it_is_installed(admin: Admin, scene: Scene) -> None:
    settings = Settings(
        watch_namespaces=(scene.namespace,), metrics_port=0, probes_port=0, kueue=True
    )
    stop = asyncio.Event()
    operator = Operator(settings, admin.transport, admin.transport.credentials)
    running = asyncio.create_task(operator.run(stop))
    try:
        await scene.create(runPolicy=GANG)

        async def refused() -> bool:
            found = condition(await scene.job(), "Queued")
            return found.get("reason") == "QueueRefused" and "install Kueue" in found["message"]

        await scene.until("the refusal", refused)
        assert (await scene.job() or {})["status"]["state"] == "Queued"
        assert [event["type"] for event in await scene.events("QueueRefused")] == ["Warning"]
        async with kueue_there(admin):
            await scene.until("the Workload", Kueue(scene).there)
    finally:
        stop.set()
        assert await running == 0


def ready() -> Body:
    return {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
