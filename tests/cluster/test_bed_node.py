"""On the real node pods run from images that we import, find each other, and reach our servers."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Body, wait_for
from bed.cluster import Bed
from bed.rootfs import PYTHON_IMAGE

_PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def pods(node: Bed, python_image: Path) -> Iterator["Pods"]:
    if PYTHON_IMAGE not in node.images.names():
        node.load_image(python_image)
    made = Pods(node)
    yield made
    made.delete_all()


class Pods:
    """Pods of one test, with Python to run in them."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._names: list[str] = []

    def run(self, name: str, code: str, limits: dict[str, str] | None = None) -> None:
        container: dict[str, Any] = {
            "name": "main",
            "image": PYTHON_IMAGE,
            "imagePullPolicy": "Never",
            "command": ["python3", "-c", code],
            "resources": {"limits": limits or {}},
        }
        spec = {"restartPolicy": "Never", "containers": [container]}
        self._bed.api.post(_PODS, {"metadata": {"name": name}, "spec": spec})
        self._names.append(name)

    def ended(self, name: str) -> Body:
        def look() -> Body | None:
            pod = self._bed.api.get(f"{_PODS}/{name}")
            return pod if pod["status"]["phase"] in ("Succeeded", "Failed") else None

        return wait_for(f"the end of pod {name}", look)

    def delete_all(self) -> None:
        for name in self._names:
            self._bed.kubectl("delete", "pod", name, "--grace-period=0", "--force")


def test_a_pod_runs_from_an_imported_archive_and_its_log_is_read(node: Bed, pods: Pods) -> None:
    pods.run("hello", "import sys; print('hello from', sys.version_info[:2]); sys.exit(7)")
    state = pods.ended("hello")["status"]["containerStatuses"][0]["state"]
    assert state["terminated"]["exitCode"] == 7
    assert node.kubectl("logs", "hello") == "hello from (3, 11)\n"


def test_a_pod_reaches_the_api_server_and_the_test_process(node: Bed, pods: Pods) -> None:
    server = http.server.HTTPServer((node.host_ip, 0), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        pods.run(
            "reach",
            f"""
import socket, urllib.request as u
print(u.urlopen("http://{node.host_ip}:{server.server_port}/", timeout=20).read().decode())
print(socket.gethostbyname("kubernetes.default.svc"))
socket.create_connection(("kubernetes.default.svc", 443), timeout=20)
""",
        )
        phase = pods.ended("reach")["status"]["phase"]
        assert (phase, node.kubectl("logs", "reach")) == (
            "Succeeded",
            f"here I am\n{node.layout.api_service}\n",
        )
    finally:
        server.shutdown()
        server.server_close()


def test_the_node_offers_eight_gpus_and_no_ninth(node: Bed, pods: Pods) -> None:
    allocatable = node.api.get("/api/v1/nodes/bed-node")["status"]["allocatable"]
    assert allocatable["nvidia.com/gpu"] == "8"
    pods.run("all-eight", "print('trained')", {"nvidia.com/gpu": "8"})
    assert pods.ended("all-eight")["status"]["phase"] == "Succeeded"
    pods.run("nine", "print('never')", {"nvidia.com/gpu": "9"})

    def refusal() -> str:
        conditions = node.api.get(f"{_PODS}/nine")["status"].get("conditions", [])
        return "".join(one.get("message", "") for one in conditions)

    assert "Insufficient nvidia.com/gpu" in wait_for("the scheduler's word", refusal)


def test_the_gpus_outlive_a_restart_of_the_kubelet(node: Bed, pods: Pods) -> None:
    node.restart("kubelet")
    pods.run("after-restart", "print('trained')", {"nvidia.com/gpu": "1"})
    assert pods.ended("after-restart")["status"]["phase"] == "Succeeded"


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here I am")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: tests print for themselves."""
