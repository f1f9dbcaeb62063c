"""The stranger that needs torch: a real collective that hangs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from speech_contract.progress import Rule
from speech_contract.thresholds import Stall, Thresholds

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture(autouse=True)
def needs_torch():
    """Looking is enough: the script imports it, not this process."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")


def test_a_rank_that_sleeps_while_its_peer_waits_in_a_collective(launcher):
    health = Thresholds(stall=Stall(floor_seconds=4))
    run = launcher.start(launcher.config(ranks=2, health=health), "gloo_hang.py")
    assert run.wait(180) == 45
    assert run.outcome.rule == Rule.STALLED.value
    lines = (SCRIPTS / "gloo_hang.py").read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "time.sleep(3600)" in line)
    where = f"rank 1 in phase Training at gloo_hang.py:{number} in fetch_batch"
    assert run.outcome.message.startswith(where)
    assert run.outcome.rank == 1
