"""Images reach the node from a Dockerfile and, without a copy, from folders of this machine."""

import json
from pathlib import Path

import pytest
from bed import oci
from bed.api import wait_for
from bed.cluster import Bed
from bed.dockerfile import Builder
from bed.images import link_tree
from bed.rootfs import PYTHON_IMAGE

_PODS = "/api/v1/namespaces/default/pods"
_DOCKERFILE = """\
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title=hello
ENV GREETING=hello
WORKDIR /app
COPY main.py .
RUN python3 -m compileall -q main.py && useradd --uid 10001 --no-create-home hello
USER 10001:10001
ENTRYPOINT ["python3", "main.py"]
"""
_MAIN = """\
import os
try:
    import vast
except ImportError:
    vast = None
print(os.environ["GREETING"], os.getuid(), os.getcwd(), vast and vast.WORD)
"""


@pytest.fixture(scope="module")
def built(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    context = tmp_path_factory.mktemp("context")
    (context / "Dockerfile").write_text(_DOCKERFILE)
    (context / "main.py").write_text(_MAIN)
    return builder.build(
        context / "Dockerfile", context, "localhost/hello:bed", context / "hello.tar",
        {"BASE_IMAGE": PYTHON_IMAGE},
    )  # fmt: skip


def test_a_dockerfile_becomes_an_archive_with_its_settings(built: Path) -> None:
    config, layers = oci.read_config(built)
    assert config["Entrypoint"] == ["python3", "main.py"]
    assert config["User"] == "10001:10001"
    assert config["WorkingDir"] == "/app"
    assert config["Labels"]["org.opencontainers.image.title"] == "hello"
    assert "GREETING=hello" in config["Env"]
    assert len(layers) >= 3  # the base, and at least what COPY and RUN wrote


def test_a_failing_step_is_told_with_its_output(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {PYTHON_IMAGE}\nRUN echo so sorry && false\n")
    with pytest.raises(RuntimeError, match="so sorry"):
        builder.build(tmp_path / "Dockerfile", tmp_path, "localhost/no:bed", tmp_path / "no.tar")


def test_a_pod_runs_the_image_of_a_dockerfile(node: Bed, built: Path) -> None:
    node.load_image(built)
    assert _run(node, "from-dockerfile", "localhost/hello:bed") == "hello 10001 /app None\n"


def test_a_linked_tree_shares_its_files(tmp_path: Path) -> None:
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "deep" / "file").write_text("text")
    (tmp_path / "from" / "link").symlink_to("deep/file")
    link_tree(tmp_path / "from", tmp_path / "to" / "opt")
    made = tmp_path / "to" / "opt"
    assert (made / "deep" / "file").samefile(tmp_path / "from" / "deep" / "file")
    assert (made / "link").is_symlink()


def test_folders_lie_upon_an_image_without_a_copy(node: Bed, built: Path, tmp_path: Path) -> None:
    packages = tmp_path / "app"
    packages.mkdir()
    (packages / "vast.py").write_text("WORD = 'from a folder'\n")
    config, _ = oci.read_config(built)
    node.load_image(built)
    node.snapshot_image("localhost/vast:bed", [tmp_path], config, below=built)
    text = "hello 10001 /app from a folder\n"
    assert _run(node, "from-folder", "localhost/vast:bed") == text


def _run(bed: Bed, name: str, image: str) -> str:
    """What the image prints; it must end well."""
    container = {"name": "main", "image": image, "imagePullPolicy": "Never"}
    spec = {"restartPolicy": "Never", "containers": [container]}
    bed.api.post(_PODS, {"metadata": {"name": name}, "spec": spec})

    def ended() -> str:
        status = bed.api.get(f"{_PODS}/{name}")["status"]
        return json.dumps(status) if status["phase"] in ("Succeeded", "Failed") else ""

    status = json.loads(wait_for(f"the end of pod {name}", ended))
    log = bed.kubectl("logs", name)
    bed.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    assert status["phase"] == "Succeeded", f"{status}\n{log}"
    return log
