"""Our images as pods run them: restricted, without a writable root, on a real kubelet."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bed import oci
from bed.api import wait_for
from bed.cluster import Bed
from bed.rootfs import PYTHON_IMAGE
from product import images

from speech_contract import names, outcome, paths

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = (ROOT / "operator" / "Dockerfile", ROOT / "trainer_image" / "Dockerfile")
NAMESPACE = "images"
RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(scope="module")
def namespace(product_node: Bed) -> Iterator[Bed]:
    """A namespace that lets in restricted pods alone."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    product_node.api.post("/api/v1/namespaces", {"metadata": {"name": NAMESPACE, "labels": labels}})
    yield product_node
    product_node.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def container(image: str, *command: str, **fields: Any) -> Object:
    """As the operator and the chart set it: no root file system to write to, a place for files."""
    named = {"name": names.CONTAINER, "image": image, "imagePullPolicy": "Never"}
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "l", "mountPath": paths.LAUNCHER_DIR}]
    run = {"command": list(command)} if command else {}
    return {**named, **run, "securityContext": RESTRICTED, "volumeMounts": mounts, **fields}


def run(
    bed: Bed, name: str, main: Object, *init: Object, user: Object | None = None
) -> tuple[int, str]:
    """Exit code and log of a pod, which is gone afterwards."""
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **(user or {})}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": security,
        "containers": [main],
        "initContainers": list(init),
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "l", "emptyDir": {}}],
    }
    bed.api.post(pods, {"metadata": {"name": name}, "spec": spec})

    def ended() -> str:
        status = bed.api.get(f"{pods}/{name}")["status"]
        return json.dumps(status) if status["phase"] in ("Succeeded", "Failed") else ""

    status = json.loads(wait_for(f"the end of pod {name}", ended))
    log = bed.kubectl("-n", NAMESPACE, "logs", name, "-c", names.CONTAINER)
    bed.kubectl("-n", NAMESPACE, "delete", "pod", name, "--grace-period=0", "--force")
    (state,) = [c["state"]["terminated"] for c in status["containerStatuses"]]
    return state["exitCode"], log


def test_the_operator_starts_and_says_what_is_wrong_with_its_settings(namespace: Bed) -> None:
    settings = [{"name": "SPEECHTRAIN_OPERATOR_LOG_LEVELS", "value": "INFO"}]
    main = container(images.OPERATOR_IMAGE, env=settings)
    code, log = run(namespace, "operator", main)
    assert code == outcome.EXIT_BAD_CONFIG, log
    assert "did you mean SPEECHTRAIN_OPERATOR_LOG_LEVEL?" in log


def test_the_operator_has_what_it_imports_and_nothing_of_the_trainers(namespace: Bed) -> None:
    code = (
        "import importlib.metadata, importlib.util, os, speech_operator.__main__, sys\n"
        "print(os.getuid(), importlib.metadata.version('speechtrain'))\n"
        "print([n for n in ('torch', 'transformers', 'pip', 'uv') if importlib.util.find_spec(n)])\n"
    )
    code_, log = run(namespace, "imports", container(images.OPERATOR_IMAGE, "python", "-c", code))
    assert (code_, log) == (0, "10001 0.1.0\n[]\n")


def test_the_launcher_watches_a_loop_in_a_foreign_image(namespace: Bed) -> None:
    copy = ["python3", "-m", "speech_operator.copy_launcher", paths.LAUNCHER_DIR]
    init = {**container(images.OPERATOR_IMAGE, *copy), "name": "launcher"}
    loop = "for step in range(40): print('step', step, 'loss:', 0.0, flush=True)"
    launcher = f"{paths.LAUNCHER_DIR}/launch.pyz"
    main = container(PYTHON_IMAGE, "python3", launcher, "--", "python3", "-c", loop)
    code, log = run(namespace, "foreign", main, init, user={"runAsUser": 4711})
    assert code == outcome.EXIT_NOT_LEARNING, log
    assert "ZeroLoss" in log


def test_the_trainer_has_torch_and_starts_under_the_launcher(namespace: Bed) -> None:
    script = (
        "import torch, torchaudio, transformers, soundfile, safetensors, speech_trainer\n"
        "print('torch', torch.ones(2, 2).sum().item(), flush=True)\n"
    )
    main = container(images.TRAINER_IMAGE, args=["--", "python", "-c", script])
    code, log = run(namespace, "trainer", main)
    assert code == 0, log
    assert "torch 4.0" in log


def test_what_the_dockerfiles_set(operator_image: Path, bare_trainer_image: Path) -> None:
    operator, trainer = (images.config_of(a) for a in (operator_image, bare_trainer_image))
    assert operator["Entrypoint"] == ["python", "-m", "speech_operator"]
    assert trainer["Entrypoint"] == ["speechtrain-launch"]
    for config in (operator, trainer):
        assert config["User"] == "10001:10001"
        assert "PYTHONUNBUFFERED=1" in config["Env"]


def test_a_build_leaves_nothing_of_itself(operator_image: Path) -> None:
    names_ = [name.removeprefix("./") for name in files(operator_image)]
    assert "opt/speechtrain/bin/python" in names_
    assert "launcher/launch.pyz" in names_
    ours = [name for name in names_ if not name.startswith("usr/")]  # Debian keeps a pip there
    assert [n for n in ours if n.startswith("build/") or n.endswith(".whl") or "/pip/" in n] == []


def files(archive: Path) -> Iterator[str]:
    """Names in all layers of an image."""
    with tarfile.open(archive) as tar:
        for entry in tar.getmembers():
            blob = tar.extractfile(entry)
            if blob is None or entry.size < 1024:
                continue
            try:
                with tarfile.open(fileobj=blob) as layer:
                    yield from layer.getnames()
            except tarfile.ReadError:
                continue  # the configuration


def test_the_context_is_what_the_dockerfiles_take() -> None:
    allowed = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    assert allowed == {*images.CONTEXT, "wheels"}
    for dockerfile in DOCKERFILES:
        text = dockerfile.read_text("utf-8")
        taken = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
        sources = {word.split("/")[0] for line in taken for word in line.split()}
        assert sources == allowed, dockerfile


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [("wheels", 1, "run make wheels"), ("registry", 64, "wheels, index or none"), ("none", 0, "")],
)
def test_the_install_step_says_what_is_missing(
    tmp_path: Path, source: str, code: int, said: str
) -> None:
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run(
        [shell, str(ROOT / "locks" / "install.sh"), "true", source, "x.txt"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert said in done.stderr


def test_images_are_read_as_they_were_written(operator_image: Path) -> None:
    _, layers = oci.read_config(operator_image)
    assert len(layers) >= 3  # the base, the packages, the launcher


def test_old_archives_go_and_those_of_another_checkout_stay(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    ages = {"a": 9 * 3600, "b": 7 * 3600, "c": 5 * 3600, "d": 600, "e": 60, "f": 10, "g": 0}
    for letter, age in ages.items():
        archive = tmp_path / f"speechtrain-operator-{letter * 12}.tar"
        archive.touch()
        os.utime(archive, (now - age, now - age))
    other = tmp_path / f"speechtrain-trainer-{'a' * 12}.tar"
    other.touch()
    images.retire(tmp_path, "speechtrain-operator", now)
    left = {path.name[-5] for path in tmp_path.glob("speechtrain-operator-*")}
    assert left == set("defg")  # the newest three, and one that may be on its way into a node
    assert other.exists()
