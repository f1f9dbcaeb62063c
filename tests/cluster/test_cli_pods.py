"""What `speechtrain logs` and `why` read of real pods: a log that is still written, and a termination message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Body, wait_for
from bed.cluster import Bed
from bed.rootfs import PYTHON_IMAGE

from speech_cli.cluster_client import Access
from speech_cli.cluster_place import ClusterPlace
from speech_cli.errors import ClusterProblem
from speech_cli.log_request import LogRequest
from speech_contract import names, outcome
from speech_contract.outcome import Outcome

NAMESPACE = "cli-pods"
JOB: dict[str, Any] = {
    "metadata": {"name": "voice", "namespace": NAMESPACE},
    "spec": {"checkpoint": {"uri": "/runs"}, "numNodes": 2},
    "status": {"state": "Running", "attempt": 1},
}
Start = Callable[[int, str], str]


@pytest.fixture(scope="module")
def home(node: Bed, python_image: Path) -> Iterator[Bed]:
    if PYTHON_IMAGE not in node.images.names():
        node.load_image(python_image)
    node.api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
    wait_for("the service account", lambda: node.api.find(account))
    yield node
    node.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def place(home: Bed) -> ClusterPlace:
    return ClusterPlace.connect(Access(kubeconfig=str(home.kubeconfig)), NAMESPACE)


@pytest.fixture
def start(home: Bed) -> Iterator[Start]:
    """Start a pod of the job that runs this code; its path."""
    started: list[str] = []

    def begin(node_rank: int, code: str) -> str:
        name = names.pod_name("voice", node_rank)
        container = {
            "name": names.CONTAINER,
            "image": PYTHON_IMAGE,
            "imagePullPolicy": "Never",
            "command": ["python3", "-uc", code],
        }
        pod = {
            "metadata": {"name": name, "labels": {names.LABEL_JOB_NAME: "voice"}},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
        home.api.post(f"/api/v1/namespaces/{NAMESPACE}/pods", pod)
        started.append(name)
        return f"/api/v1/namespaces/{NAMESPACE}/pods/{name}"

    yield begin
    for name in started:
        home.kubectl("delete", "pod", name, "-n", NAMESPACE, "--grace-period=0", "--force",
                     "--ignore-not-found")  # fmt: skip


def reached(bed: Bed, path: str, *phases: str) -> Body:
    def look() -> Body | None:
        pod = bed.api.get(path)
        return pod if pod["status"]["phase"] in phases else None

    return wait_for(f"{path} {phases}", look)


def test_a_log_is_followed_while_it_is_written_and_ends_with_its_pod(
    home: Bed, place: ClusterPlace, start: Start
) -> None:
    path = start(1, "import time; print('step 1'); time.sleep(3600)")
    reached(home, path, "Running")
    chunks = place.log(JOB, LogRequest(node_rank=1, follow=True))
    assert next(chunks) == b"step 1\n"
    home.api.delete(f"{path}?gracePeriodSeconds=0")
    assert b"".join(chunks) == b""
    wait_for("the pod's end", lambda: home.api.find(path) is None)
    with pytest.raises(ClusterProblem, match=r"kept in /runs/logs/attempt-1/rank-1.log"):
        place.log(JOB, LogRequest(node_rank=1))


def test_the_outcome_is_read_from_the_termination_message(
    home: Bed, place: ClusterPlace, start: Start
) -> None:
    told = Outcome(1, 0, "Training", 40, "loss is nan", "NonFinite", 0, step=12)
    code = (
        f"open('/dev/termination-log', 'w').write({outcome.encode(told)!r}); print('bye'); exit(40)"
    )
    reached(home, start(0, code), "Failed")
    assert place.outcomes(JOB) == [told]
    assert b"".join(place.log(JOB, LogRequest(tail=1))) == b"bye\n"
