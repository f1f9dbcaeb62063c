"""Deleting a job leaves nothing. The last module by name: the garbage collector looks for new kinds every 30 s."""

from __future__ import annotations

from apibed.admin import Admin
from apibed.life import alive
from apibed.scene import Scene


async def test_a_deleted_job_leaves_nothing(admin: Admin, scene: Scene) -> None:
    async with alive(admin.transport, admin.transport, scene.namespace):
        await scene.create()
        await scene.gang(1)
        await scene.delete()

        async def nothing() -> bool:
            kinds = ("pods", "services", "configmaps")
            return not [child for kind in kinds for child in await scene.list(kind)]

        await scene.until("garbage collection", nothing, seconds=90.0)
