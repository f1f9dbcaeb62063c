"""One API server for the tests of this folder, and the operator run inside the test process."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
for _place in (_HERE, _HERE.parent / "cluster"):
    # `apibed` and `bed` are no packages of the distribution.
    if str(_place) not in sys.path:
        sys.path.insert(0, str(_place))

from apibed.admin import Admin  # noqa: E402
from apibed.life import short_backoff  # noqa: E402
from apibed.scene import Scene, install  # noqa: E402
from bed.cluster import Bed  # noqa: E402
from bed.requirement import require  # noqa: E402
from bed.system import Tier  # noqa: E402

_COUNTER = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Faults cut TLS connections half-way, and the loop of a test ends before asyncio has closed all of them.

    What is then collected is no leak of the operator, whose loop lives as long as its process.
    """
    for item in items:
        if _HERE in item.path.parents:
            cut = r"ignore:Exception ignored in[\s\S]*(socket|Transport)"
            item.add_marker(
                pytest.mark.filterwarnings(f"{cut}:pytest.PytestUnraisableExceptionWarning")
            )


@pytest.fixture(scope="session")
def bed() -> Iterator[Bed]:
    """An API server with controllers, no node: pods end as the tests say. The CRD is installed."""
    require(Tier.CONTROL_PLANE)
    with Bed("api") as made:
        install(made)
        yield made


@pytest.fixture
async def admin(bed: Bed) -> AsyncIterator[Admin]:
    """The administrator, on the event loop of this test."""
    made = await Admin.login(bed.kubeconfig)
    yield made
    await made.close()


@pytest.fixture
async def scene(admin: Admin) -> Scene:
    """A namespace of one's own, and ways to act in it."""
    return await Scene.make(admin, f"scene-{next(_COUNTER)}")


@pytest.fixture(autouse=True)
def _short_backoff() -> Iterator[None]:
    with short_backoff():
        yield
