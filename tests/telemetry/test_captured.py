"""Real trainers, as they printed: a sound run is left alone, a planted NaN is named; live, and by `replay`."""

from __future__ import annotations

from pathlib import Path

import pytest
from captured_runs import CAPTURED, WITHIN, Trainer, read, table

from speech_cli.recordings import Recording
from speech_contract.progress import Rule, Severity
from speech_health.replay import replay

TRAINERS = table()[0]
FEWEST = 12
LARGEST = 32 * 1024  # bytes of an output: a fixture, no archive

each = pytest.mark.parametrize("trainer", TRAINERS, ids=[trainer.script for trainer in TRAINERS])


def output(trainer: Trainer, kind: str) -> Path:
    return CAPTURED / f"{trainer.script}-{kind}.log"


def replayed(path: Path) -> list[str]:
    found = replay(Recording(path).samples()).findings
    return [one.rule.value for one in found if one.severity is not Severity.INFO]


@each
def test_a_sound_run_is_read_and_left_alone(trainer: Trainer) -> None:
    path = output(trainer, "sound")
    seen = read(path.read_bytes(), trainer.first)
    assert seen.reports > 2
    assert (seen.rules, replayed(path)) == ([], [])


@each
def test_a_planted_nan_is_named(trainer: Trainer) -> None:
    path = output(trainer, "planted")
    seen = read(path.read_bytes(), trainer.first)
    assert seen.after is not None
    assert 1 <= seen.after <= WITHIN
    assert Rule.NON_FINITE.value in replayed(path)


def test_a_bar_that_is_drawn_again_at_its_end_is_the_same_one() -> None:
    """Two epochs of 40 steps, and four draws at the end of each."""
    samples = Recording(CAPTURED / "lightning_bar-sound.log").samples()
    assert max(sample.step for sample in samples) == 80


def test_there_are_enough_of_them_and_each_is_of_the_table() -> None:
    assert len(TRAINERS) >= FEWEST
    wanted = {output(trainer, kind) for trainer in TRAINERS for kind in ("sound", "planted")}
    assert set(CAPTURED.glob("*")) == wanted
    assert all(path.stat().st_size < LARGEST for path in wanted)
