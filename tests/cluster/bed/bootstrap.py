"""What a cluster needs after its daemons have started, and waiting until each of them answers."""

import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bed import oci
from bed.api import Api, is_ready, wait_for
from bed.commands import CommandFailed
from bed.images import Images, Run
from bed.layout import NODE, PAUSE_IMAGE

Stage = Callable[[str], None]
_RBAC = "rbac.authorization.k8s.io"
_READY_WITHIN_SECONDS = 180.0  # five on an idle machine; a test machine is seldom idle


def control_plane(api: Api, stage: Stage) -> None:
    wait_for("the API server", lambda: api.text("GET", "/readyz", seconds=5.0) == "ok",
             _READY_WITHIN_SECONDS)  # fmt: skip
    stage("API server ready")
    for name, rules in _GRANTS.items():
        _grant(api, name, rules)
    wait_for(
        "the controllers (the default service account)",
        lambda: api.find("/api/v1/namespaces/default/serviceaccounts/default"),
        _READY_WITHIN_SECONDS,
    )
    stage("controllers at work")


def node(api: Api, enter: Run, images: Images, pause: Path, stage: Stage) -> None:
    wait_for("containerd", lambda: _answers(images), _READY_WITHIN_SECONDS)
    _load_pause(images, pause)
    stage("containerd ready")
    wait_for("the node", lambda: is_ready(api.find(f"/api/v1/nodes/{NODE}")),
             _READY_WITHIN_SECONDS)  # fmt: skip
    stage("node ready")
    wait_for("the name server", lambda: _resolves(enter), _READY_WITHIN_SECONDS)
    stage("name server ready")


def resource_is_offered(api: Api, resource: str, count: int) -> None:
    def offered() -> bool:
        status = api.get(f"/api/v1/nodes/{NODE}")["status"]
        return bool(status["allocatable"].get(resource) == str(count))

    wait_for(f"{resource} among the node's allocatable", offered)


_LOOK = ["get", "list", "watch"]
_GRANTS: dict[str, list[dict[str, Any]]] = {
    "bed-prometheus": [
        {"apiGroups": [""], "resources": ["pods", "services", "namespaces"], "verbs": _LOOK},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _LOOK},
    ],
}


def _grant(api: Api, user: str, rules: list[dict[str, Any]]) -> None:
    version, meta = f"{_RBAC}/v1", {"name": user}
    role = {"apiVersion": version, "kind": "ClusterRole", "metadata": meta, "rules": rules}
    binding = {
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }
    api.apply(f"/apis/{version}/clusterroles/{user}", role)
    api.apply(f"/apis/{version}/clusterrolebindings/{user}", binding)


def _answers(images: Images) -> bool:
    try:
        images.names()
    except CommandFailed:
        return False
    return True


def _load_pause(images: Images, pause: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        layer, archive = Path(scratch) / "layer.tar", Path(scratch) / "pause.tar"
        with tarfile.open(layer, "w") as tar:
            tar.add(pause, "pause")
        config = {"Entrypoint": ["/pause"], "User": "65535:65535"}
        oci.write(archive, PAUSE_IMAGE, [oci.Layer.of(layer)], config)
        images.load(archive)


def _resolves(enter: Run) -> bool:
    ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8181/ready', timeout=2)"
    try:
        enter(sys.executable, "-c", ask)
    except CommandFailed:
        return False
    return True
