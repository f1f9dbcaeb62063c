"""Who takes over asks once for all jobs; whoever is in doubt asks for one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from speech_contract import names
from speech_operator.children import CONFIG_MAP, SERVICE
from speech_operator.cluster import remembered as remembered_module
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.remembered import Remembered
from speech_operator.cluster.rest import Answer, Rest


def config(job: str, attempt: int = 1) -> dict[str, Any]:
    labels = {names.LABEL_JOB_NAME: job, names.LABEL_ATTEMPT: str(attempt)}
    name = names.config_name(job, attempt)
    metadata = {"name": name, "namespace": "speech", "uid": f"{name}-uid", "labels": labels}
    owner = {"uid": f"{job}-uid", "controller": True}
    return {"metadata": {**metadata, "ownerReferences": [owner]}, "data": {}}


class Maps:
    """Serves them, two a page; `refused`: the first so many questions."""

    def __init__(self, *configs: dict[str, Any], refused: int = 0) -> None:
        self.configs = list(configs)
        self.refused = refused
        self.asked: list[str] = []

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        self.asked.append(path)
        if "/services/" in path:
            return Answer(404, b"{}")
        if len(self.asked) <= self.refused:
            return Answer(500, b"{}")
        of, _, at = path.partition("continue=")
        asked = of.partition(f"{names.LABEL_JOB_NAME.replace('/', '%2F')}%3D")[2]
        found = [c for c in self.configs if asked in c["metadata"]["name"]]
        first = int(at or 0)
        more = str(first + 2) if not asked and first + 2 < len(found) else ""
        page = found if asked else found[first : first + 2]
        return Answer(200, json.dumps({"items": page, "metadata": {"continue": more}}).encode())

    async def stream(self, path: str, timeout_seconds: float) -> Any:
        raise NotImplementedError
        yield b""


async def look(remembered: Remembered, job: str) -> list[str]:
    found = await remembered.read(JobKey("speech", job), CONFIG_MAP, f"{job}-uid")
    return [one.name for one in found]


def of(maps: Maps) -> Remembered:
    return Remembered(Rest(maps, lambda: 0.0), ("",))


async def test_all_jobs_are_found_by_the_pages_of_one_list() -> None:
    maps = Maps(*[config(job) for job in ("a", "b", "c")], config("a", 2))
    remembered = of(maps)
    assert await look(remembered, "a") == ["a-attempt-1", "a-attempt-2"]
    assert await look(remembered, "b") == ["b-attempt-1"]
    assert await look(remembered, "c") == ["c-attempt-1"]
    assert len(maps.asked) == 2
    assert all(path.startswith("/api/v1/configmaps?") for path in maps.asked)


async def test_a_job_that_the_list_did_not_have_has_none_until_it_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remembered_module, "STOCK_SECONDS", 0.0)
    maps = Maps(config("a"))
    remembered = of(maps)
    assert await look(remembered, "b") == []
    assert len(maps.asked) == 1
    await asyncio.sleep(0)  # the timer's turn
    await asyncio.sleep(0)
    maps.configs.append(config("late"))
    assert await look(remembered, "late") == ["late-attempt-1"]
    assert "namespaces/speech" in maps.asked[-1]


async def test_after_a_write_that_failed_the_list_is_not_believed() -> None:
    maps = Maps(config("a"), config("b"))
    remembered, key = of(maps), JobKey("speech", "b")
    await look(remembered, "a")
    with contextlib.suppress(ClusterError), remembered.writing(key, CONFIG_MAP, "b-uid"):
        raise ClusterError("no answer")
    maps.configs.append(config("b", 2))
    assert await look(remembered, "b") == ["b-attempt-1", "b-attempt-2"]


async def test_a_list_that_fails_costs_a_question_for_each_job() -> None:
    maps = Maps(config("a"), config("b"), refused=1)
    remembered = of(maps)
    assert await look(remembered, "a") == ["a-attempt-1"]
    assert await look(remembered, "b") == ["b-attempt-1"]
    assert len(maps.asked) == 3


def service(job: str) -> dict[str, Any]:
    made = config(job)
    return {**made, "metadata": {**made["metadata"], "name": names.service_name(job)}}


async def test_services_are_found_by_one_list_too_and_looked_for_anew_in_each_attempt() -> None:
    """Somebody may have taken it away meanwhile."""
    maps = Maps(service("a"), service("b"))
    remembered, b = of(maps), JobKey("speech", "b")
    for job in ("a", "b"):
        assert await remembered.read(JobKey("speech", job), SERVICE, f"{job}-uid")
    assert len(maps.asked) == 1
    remembered.begin_attempt(b)
    assert not await remembered.read(b, SERVICE, "b-uid")
    assert maps.asked[-1] == f"/api/v1/namespaces/speech/services/{names.service_name('b')}"


async def test_a_service_that_was_made_after_the_list_is_known_by_its_making() -> None:
    maps = Maps(service("a"))
    remembered, late = of(maps), JobKey("speech", "late")
    await remembered.read(JobKey("speech", "a"), SERVICE, "a-uid")
    with remembered.writing(late, SERVICE, "late-uid") as known:
        made = SERVICE.project(service("late"), "late")
        known[made.name] = made
    assert await remembered.read(late, SERVICE, "late-uid") == [made]
    remembered.begin_attempt(late)
    assert not await remembered.read(late, SERVICE, "late-uid")
    assert "/services/" in maps.asked[-1]
