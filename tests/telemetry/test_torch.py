"""The two strangers that need torch: a real collective that hangs, a real Trainer that goes NaN."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from speech_contract.progress import Rule
from speech_contract.thresholds import Stall, Thresholds

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SCRIPTS = Path(__file__).parent / "scripts"


def skip_without(package):
    """Looking is enough: the scripts import it, not this process."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.fixture(autouse=True)
def needs_torch():
    skip_without("torch")


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


def test_a_stock_trainer_that_goes_nan_is_no_zero_loss(launcher):
    skip_without("accelerate")
    run = launcher.start(launcher.config(), "hugging_face_trainer.py")
    assert run.wait(240) == 40
    assert run.outcome.rule == Rule.NON_FINITE.value
    assert [f.rule for f in run.outcome.findings] == [Rule.NON_FINITE]
