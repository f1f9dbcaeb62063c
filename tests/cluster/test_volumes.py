"""Who may write the volumes of a job's pod, on a real kubelet: fresh claims belong to root, pods are user 10001."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import wait_for
from bed.cluster import Bed
from bed.rootfs import PYTHON_IMAGE
from product.installed import Namespace

from speech_contract import names
from speech_contract.api import JobStatus, parse
from speech_operator.resources.config_map import build_config_map, build_run_config
from speech_operator.resources.pods import build_pod
from speech_operator.snapshot import Endpoints, Job, Observed

USER = 10001
PLACES = ("/runs", "/part", "/scratch")
CODE = f"""
import json, os, pathlib
def tried(place):
    try:
        (pathlib.Path(place) / "written").write_text("x")
    except OSError as error:
        return error.strerror
    return os.stat(place + "/written").st_gid
facts = {{name.name: name.read_text() for name in pathlib.Path("/facts").glob("[a-z]*")}}
print(json.dumps([os.getuid(), {{place: tried(place) for place in {PLACES}}}, facts]))
"""


@pytest.fixture
def volumes(
    node: Bed, python_image: Path, tmp_path_factory: pytest.TempPathFactory, request: Any
) -> Iterator[Namespace]:
    """A restricted namespace with the claim `runs`: a folder that nobody but root may write, as a new disk is."""
    if PYTHON_IMAGE not in node.images.names():
        node.load_image(python_image)
    fresh = tmp_path_factory.mktemp("fresh")
    fresh.chmod(0o755)
    made = Namespace(node, f"volumes-{request.node.callspec.id}", runs=fresh)
    yield made
    node.kubectl("delete", "namespace", made.name, "--wait=false")


def job(group: int | None) -> dict[str, Any]:
    """A claim, a part of it, a claim of the pod's own, and files out of two sources."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    template = {"spec": {**claim, "storageClassName": ""}}
    app = {"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}
    sources = [{"configMap": {"name": "words"}}, {"downwardAPI": {"items": [app]}}]
    security = {} if group is None else {"securityContext": {"fsGroup": group}}
    mounts = [
        ("runs", "/runs", ""),
        ("runs", "/part", "of/it"),
        ("scratch", "/scratch", ""),
        ("facts", "/facts", ""),
    ]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "fresh"},
        "spec": {
            "recipe": {"custom": {"launcher": "None"}},
            "checkpoint": {"uri": "/runs/fresh"},
            "trainer": {
                "image": PYTHON_IMAGE,
                "command": ["python3", "-c", CODE],
                "securityContext": {"runAsUser": USER},
                "volumeMounts": [{"name": n, "mountPath": p, "subPath": s} for n, p, s in mounts],
            },
            "pod": {
                "labels": {"app": "speech"},
                "volumes": [
                    {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}},
                    {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}},
                    {"name": "facts", "projected": {"sources": sources}},
                ],
                **security,
            },
        },
    }  # fmt: skip


def said_by_pod(space: Namespace, document: dict[str, Any], scratch: Path) -> Any:
    """What the first pod of the job prints, made as the operator makes it."""
    core = f"/api/v1/namespaces/{space.name}"
    spec = parse(document).spec
    seen = Observed(
        Job(space.name, "fresh", "u", 1, "1", False, names.MANAGED_BY, spec, (), JobStatus()),
        endpoints=Endpoints("fresh-master-0", names.MASTER_PORT, ("fresh-master-0:9464",)),
    )
    config = build_run_config(seen, JobStatus(attempt=1))
    pod = build_pod(seen, config, 0)
    held = f"{pod['metadata']['name']}-scratch"  # the claim that the controllers make for this pod
    space.bed.local_volume(
        f"{space.name}-scratch",
        scratch,
        "1Gi",
        ["ReadWriteOnce"],
        {"namespace": space.name, "name": held},
    )
    words = {"kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"word": "hello"}}
    for kind, made in (
        ("configmaps", words),
        ("configmaps", build_config_map(seen.job, config, spec)),
        ("pods", pod),
    ):
        made["metadata"].pop("ownerReferences", None)  # there is no job: it would be collected
        space.bed.api.post(f"{core}/{kind}", made)

    def ended() -> str:
        phase = space.bed.api.get(f"{core}/pods/fresh-master-0")["status"]["phase"]
        return str(phase) if phase in ("Succeeded", "Failed") else ""

    wait_for("the end of the pod", ended)
    return json.loads(space.kubectl("logs", "fresh-master-0"))


@pytest.mark.parametrize("group", [None, 2000, 0], ids=["default", "another", "off"])
def test_a_fresh_claim_is_written_by_who_trains(
    volumes: Namespace, group: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scratch = tmp_path_factory.mktemp("scratch")
    scratch.chmod(0o755)
    user, written, facts = said_by_pod(volumes, job(group), scratch)
    assert user == USER
    result = "Permission denied" if group == 0 else group or names.IMAGE_GROUP
    assert written == dict.fromkeys(PLACES, result)
    assert facts == {"word": "hello", "app": "speech"}
