"""The zoo of curves in short, with fixed seeds: nothing missed, nothing cried for no reason."""

from __future__ import annotations

import pytest
from curves import FAULTS, HEALTHY, make
from judging import judge
from verdicts import SEEDS, known

SAID = known()


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_named_in_time_and_nothing_before(kind: str) -> None:
    for seed in SEEDS:
        judged = judge(make(kind, seed))
        assert not judged.missed, (seed, judged.curve.planted, judged.first)
        assert judged.reports is not None
        assert 1 <= judged.reports <= judged.curve.within
        assert judged.early == [], (seed, judged.findings)
        assert judged.course == SAID[kind][seed]


@pytest.mark.parametrize("kind", HEALTHY)
def test_a_healthy_curve_however_ugly_raises_nothing(kind: str) -> None:
    for seed in SEEDS:
        judged = judge(make(kind, seed))
        assert judged.early == [], (seed, judged.findings)
        assert judged.course == SAID[kind][seed]


def test_the_same_seed_gives_the_same_curve() -> None:
    assert make("plain", 7) == make("plain", 7)
    assert make("plain", 7) != make("plain", 8)
