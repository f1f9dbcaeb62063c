"""Two jobs on one `checkpoint.uri`: one gets pods, the other is told whose it is, and starts when it is free."""

from __future__ import annotations

from typing import Any

from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import Scene, condition, reason_of

from speech_contract import names
from speech_operator.cluster.base import JobKey

CUSTOM = {"recipe": {"custom": {}}, "data": None, "training": None}


class Named(Scene):
    """A scene round a job that is named by its recipe."""

    def __init__(self, scene: Scene, recipe: str) -> None:
        super().__init__(scene.admin, scene.namespace)
        self.key = JobKey(scene.namespace, recipe)

    @property
    def job_path(self) -> str:
        return f"{self.jobs_path}/{self.key.name}"

    async def create(self, **spec: Any) -> dict[str, Any]:
        manifest = self.manifest(**spec)
        manifest["metadata"]["name"] = self.key.name
        if self.key.name == "custom":
            manifest["spec"] |= CUSTOM
            manifest["spec"]["trainer"]["command"] = ["python3", "train.py"]
        manifest["spec"] = {k: v for k, v in manifest["spec"].items() if v is not None}
        return await self.admin.post(self.jobs_path, manifest)

    async def list(self, plural: str) -> list[dict[str, Any]]:
        found = await super().list(plural)
        mine = {names.LABEL_JOB_NAME: self.key.name}.items()
        return [o for o in found if mine <= o["metadata"].get("labels", {}).items()]


def age(document: dict[str, Any]) -> tuple[str, str]:
    """Of two jobs that nobody began the older goes first; of the same second, the uid decides."""
    return document["metadata"]["creationTimestamp"], document["metadata"]["uid"]


async def test_one_trains_and_the_other_is_refused_by_name(admin: Admin, scene: Scene) -> None:
    jobs = [Named(scene, recipe) for recipe in ("vits", "custom")]
    made = [(age(await job.create()), job) for job in jobs]  # before the operator looks
    first, second = (job for _, job in sorted(made, key=lambda pair: pair[0]))
    owner = f"{scene.namespace}/{first.key.name}"
    async with alive(admin.transport, admin.transport, scene.namespace):
        await first.gang(1)

        async def told() -> bool:
            return reason_of(await second.job(), "Running") == "RunDirectoryInUse"

        await scene.until("RunDirectoryInUse", told)
        message = condition(await second.job(), "Running")["message"]
        assert f"/runs/asr belongs to job {owner}, which has not ended" in message
        assert f"`kubectl delete stj {first.key.name} -n {scene.namespace}`" in message
        for plural in ("pods", "configmaps", "services"):
            assert await second.list(plural) == []
        events = await scene.events("RunDirectoryInUse")
        assert [e["involvedObject"]["name"] for e in events] == [second.key.name]

        for pod in await first.pods(1):
            await first.ends(pod["metadata"]["name"], 0)
        await second.gang(1, seconds=120.0)
        assert len(await first.list("pods")) == 2  # of its own attempt, ended
