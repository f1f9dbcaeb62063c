"""Clusters and images for the tests of this folder; each is made once, by who asks first."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:  # `bed` is no package of the distribution
    sys.path.insert(0, _HERE)

from bed import rootfs  # noqa: E402
from bed.cluster import Bed, log_to_stderr  # noqa: E402
from bed.dockerfile import Builder  # noqa: E402
from bed.layout import cache_dir  # noqa: E402
from bed.requirement import require  # noqa: E402
from bed.system import Tier  # noqa: E402
from product import images  # noqa: E402


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Bed]:
    """An API server with its controllers and scheduler, and no node. Shared: keep to a namespace."""
    require(Tier.CONTROL_PLANE)
    with Bed("control-plane", kwok=True) as bed:
        yield bed


@pytest.fixture(scope="session")
def node() -> Iterator[Bed]:
    """A cluster with one real node that offers eight GPUs. Shared: keep to a namespace."""
    require(Tier.NODE)
    with Bed("node", node=True) as bed:
        bed.advertise("nvidia.com/gpu", 8, {"nvidia.com/gpu.product": "NVIDIA-H200"})
        yield bed


@pytest.fixture(scope="session")
def python_image() -> Path:
    """The archive of `bed.rootfs.PYTHON_IMAGE`: a Debian with Python, and nothing of ours."""
    require(Tier.IMAGES)
    return rootfs.python_image(cache_dir(), log_to_stderr)


@pytest.fixture(scope="session")
def builder(python_image: Path) -> Builder:
    """Builds Dockerfiles on `bed.rootfs.PYTHON_IMAGE`; steps that did not change are reused."""
    made = Builder(cache_dir() / "buildah")
    made.load(python_image)
    return made


@pytest.fixture(scope="session")
def operator_image(builder: Builder) -> Path:
    """The archive of `product.images.OPERATOR_IMAGE`, built from our Dockerfile."""
    return images.operator_image(builder, cache_dir(), log_to_stderr)


@pytest.fixture(scope="session")
def bare_trainer_image(builder: Builder) -> Path:
    """The trainer's image from our Dockerfile, without torch and the like."""
    return images.trainer_without_packages(builder, cache_dir(), log_to_stderr)


@pytest.fixture(scope="session")
def product_node(node: Bed, builder: Builder, operator_image: Path, python_image: Path) -> Bed:
    """The node, with the images of operator and trainer, and a foreign one with Python alone."""
    node.load_image(operator_image)
    node.load_image(python_image)
    images.load_trainer(node, builder, cache_dir(), log_to_stderr)
    return node
