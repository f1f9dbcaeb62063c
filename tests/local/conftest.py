"""Desks to run jobs at, and a voice to train on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import Call, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose processes end with the test."""
    opened = Desk(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk for the runs that several tests of a module look at."""
    opened = Desk(tmp_path_factory.mktemp("desk"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve spoken sentences and three held out, made once by the command line."""
    opened = Desk(tmp_path_factory.mktemp("voice"))
    said = opened.call(
        "data", "synthesize", "--sentences", 12, "--validation", 3, "--out", opened.root / "data"
    )
    assert said.code == 0, said.text
    return opened.root / "data"


@pytest.fixture(scope="session")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Call]]:
    """A run that keeps every batch. It takes a hundred seconds and hardly a core."""
    opened = Desk(tmp_path_factory.mktemp("leak"))
    health = {"memoryGrowth": {"windowSeconds": 30, "share": "0.0005"}}
    yield opened, opened.start("run", opened.script("leaking", "leak.py", 100, health=health))
    opened.close()


@pytest.fixture(scope="session", autouse=True)
def _long_ones_begin_early(request: pytest.FixtureRequest) -> None:
    """Let it run beside the other tests of this folder."""
    if any("leaking" in item.fixturenames for item in request.session.items):  # type: ignore[attr-defined]
        request.getfixturevalue("leaking")
