"""The product installed on a real node, and a namespace with a voice to train. Made once for this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_CLUSTER = str(Path(__file__).resolve().parents[1] / "cluster")
if _CLUSTER not in sys.path:  # `bed` and `product` are no packages of the distribution
    sys.path.insert(0, _CLUSTER)

from bed.cluster import Bed  # noqa: E402
from bed.requirement import require  # noqa: E402
from bed.system import Tier  # noqa: E402
from product import jobs  # noqa: E402
from product.installed import Namespace, Object, product  # noqa: E402
from product.voice import voiced  # noqa: E402

from speech_trainer.data.synthesize import SynthesisPlan  # noqa: E402


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """One node that offers eight GPUs; the operator runs in a pod of our image, from our chart."""
    require(Tier.NODE, Tier.IMAGES)
    with product("e2e") as made:
        yield made


@pytest.fixture(scope="session")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this machine that holds what the claims of `speech` hold."""
    folder = tmp_path_factory.mktemp("volumes")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # pytest keeps them to itself; pods are other users
    return folder


@pytest.fixture(scope="session")
def speech(bed: Bed, claims: Path) -> Namespace:
    """The namespace `speech`: restricted, a dozen sentences on a claim, another for checkpoints."""
    plan = SynthesisPlan(utterances=12, validation=2, min_words=2, max_words=2)
    return voiced(bed, "speech", claims, plan)


@pytest.fixture(scope="session")
def codec() -> Object:
    """A codec that learns what codebooks need to start, at step 60: for the dashboard, and for its codes."""
    return jobs.codec("healthy", steps=66)
