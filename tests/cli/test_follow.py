"""`logs -f` on this machine: what is there, what comes, and an end when the attempt ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speech_cli.local_place import LocalPlace
from speech_cli.log_request import LogRequest, ranks_per_node, told_by_pods
from speech_contract import paths

Make = dict[str, Callable[..., Any]]


@pytest.fixture
def log(runs: Any) -> Path:
    path = paths.rank_log(runs.run_dir, 1, 0)
    path.parent.mkdir(parents=True)
    path.write_text("step 1\nstep 2\n\nstep 3\n", encoding="utf-8")
    return path


def test_follow_goes_on_until_the_job_ends_and_keeps_its_last_words(
    runs: Any, make: Make, log: Path
) -> None:
    runs.jobs = {"voice": make["job"]()}
    told = iter(["step 4\n", "step 5\n"])

    def pause(_: float) -> None:
        line = next(told)
        with log.open("a", encoding="utf-8") as file:
            file.write(line)
        if line == "step 5\n":
            runs.jobs = {"voice": make["complete"]()}

    chunks = LocalPlace(None, pause).log(runs.jobs["voice"], LogRequest(tail=2, follow=True))
    assert b"".join(chunks) == b"\nstep 3\nstep 4\nstep 5\n"


def test_follow_ends_with_its_attempt(runs: Any, make: Make, log: Path) -> None:
    runs.jobs = {"voice": make["job"](attempt=2)}
    wanted = LogRequest(attempt=1, tail=1, follow=True)
    assert b"".join(LocalPlace(None).log(runs.jobs["voice"], wanted)) == b"step 3\n"


@pytest.mark.parametrize(
    ("wanted", "node", "rank"),
    [
        (LogRequest(), 0, 0),
        (LogRequest(rank=9), 1, 9),
        (LogRequest(node_rank=2), 2, 16),
    ],
)
def test_rank_and_node_rank_lead_to_pod_and_log(wanted: LogRequest, node: int, rank: int) -> None:
    assert (wanted.node(8), wanted.first_rank(8)) == (node, rank)


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ({}, 1),
        ({"nprocPerNode": 4}, 4),
        ({"trainer": {"resourcesPerNode": {"limits": {"nvidia.com/gpu": "8", "cpu": "4"}}}}, 8),
        ({"nprocPerNode": 2, "trainer": {"resourcesPerNode": {"limits": {"nvidia.com/gpu": 8}}}}, 2),
        ({"trainer": {"resourcesPerNode": {"limits": {"amd.com/gpu": 2}}}}, 2),
    ],
)  # fmt: skip
def test_ranks_of_a_node_are_counted_as_the_operator_does(spec: Any, count: int) -> None:
    assert ranks_per_node({"spec": spec}) == count


def test_what_a_runtime_adds_the_pods_know() -> None:
    told = [{"name": "A"}, {"name": "PET_NPROC_PER_NODE", "value": "8"}]
    side_car: dict[str, object] = {"env": [{"name": "PET_NPROC_PER_NODE", "valueFrom": {}}]}
    assert told_by_pods([{"spec": {"containers": [side_car, {"env": told}]}}]) == 8
    assert told_by_pods([{"spec": {}}]) is None
    assert told_by_pods([]) is None
