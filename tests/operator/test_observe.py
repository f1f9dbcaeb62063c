"""A job document as a record: what is parsed once, and what cannot change the verdict on a spec."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
from typing import Any
from unittest.mock import AsyncMock

import pytest

from speech_contract import api
from speech_contract.api import JobSpec
from speech_operator import job_document
from speech_operator.controller import Controller
from speech_operator.job_document import SpecMemory, read_job
from speech_operator.resources.config_map import spec_of


class Parses:
    """Counts what goes through pydantic."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, document: Any, *, local: bool) -> Any:
        self.count += 1
        return api.parse(document, local=local)


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> Parses:
    counter = Parses()
    monkeypatch.setattr(job_document, "parse", counter)
    return counter


def changed(document: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    other = copy.deepcopy(document)
    other["metadata"].update(metadata)
    return other


def test_a_spec_is_parsed_once_a_generation(build, parses):
    memory, document = SpecMemory(), build.document()
    first = read_job(document, local=True, memory=memory)
    looks = [
        read_job(changed(document, resourceVersion=str(n)), local=True, memory=memory)
        for n in range(5)
    ]
    assert parses.count == 1
    assert {job.resource_version for job in looks} == set("01234")
    assert all(job.spec is first.spec for job in looks)


def test_another_generation_or_uid_is_parsed_anew(build, parses):
    memory, document = SpecMemory(), build.document()
    read_job(document, local=True, memory=memory)
    later = changed(document, generation=2)
    later["spec"]["numNodes"] = 4
    assert read_job(later, local=True, memory=memory).spec.num_nodes == 4
    namesake = changed(document, uid="uid-2")
    assert read_job(namesake, local=True, memory=memory).spec.num_nodes == 2
    assert parses.count == 3


def test_a_refused_spec_is_remembered_with_its_reasons(build, parses):
    memory, document = SpecMemory(), build.document()
    document["spec"]["numNodes"] = 0
    told = [read_job(document, local=True, memory=memory).problems for _ in range(2)]
    assert parses.count == 1
    assert told[0] == told[1]
    assert "numNodes" in told[0][0]


def test_the_status_is_read_at_every_look(build):
    memory, document = SpecMemory(), build.document()
    read_job(document, local=True, memory=memory)
    document["status"] = {"attempt": 3}
    assert read_job(document, local=True, memory=memory).status.attempt == 3


@pytest.mark.parametrize("note", ["x" * 200_000, "ok"])
def test_an_annotation_is_no_part_of_the_verdict(build, note):
    """It has no generation: it could end a job that runs, and nothing would tell what changed."""
    document = changed(build.document(), annotations={"kubectl/last-applied": note})
    assert read_job(document, local=True).problems == ()


def test_a_controller_parses_a_job_once_over_many_passes(build, make_cluster, parses):
    cluster = make_cluster()

    async def passes() -> None:
        controller = Controller(cluster, lambda: build.now)
        controller.mark(build.key)
        for _ in range(6):
            await controller.reconcile_once(build.key)
        await controller.drain(1.0)

    asyncio.run(passes())
    assert cluster.status()["attempt"] == 1
    assert parses.count == 1


def test_a_pass_reads_the_job_once_when_nobody_follows_it(build, make_cluster):
    """On a cluster a look is a request to the API server."""
    cluster = make_cluster()
    looks, look = [], cluster.get_job

    async def counted(key: Any) -> Any:
        looks.append(key)
        return await look(key)

    cluster.get_job = counted

    async def passes() -> None:
        controller = Controller(cluster, lambda: build.now)
        for _ in range(3):
            await controller.reconcile_once(build.key)

    asyncio.run(passes())
    assert len(looks) == 3


def test_what_a_job_was_accepted_with_is_not_parsed_again_by_who_takes_over(build, make_cluster):
    """Its run config repeats the spec, mostly word for word."""
    cluster = make_cluster()
    cluster.document["spec"]["runPolicy"] = {"suspend": True}  # so that no run config is written
    cluster.list_jobs = AsyncMock(return_value=[cluster.document])
    text = json.dumps(api.spec_document(api.parse(cluster.document, local=True).spec))

    async def take_over() -> JobSpec | None:
        controller = Controller(cluster, lambda: build.now)
        controller.mark(build.key)
        await controller.reconcile_once(build.key)
        return spec_of(text)

    assert asyncio.run(take_over()) is not None
    gc.collect()
    assert spec_of(text) is None
