"""The zoo of silences in short, with fixed seeds: every stop is named by its limit, and patience is kept."""

from __future__ import annotations

import pytest
from judging import listen
from silences import LATE, PATIENCE, STOPS, unfold
from verdicts import SEEDS, SILENCE, known

SAID = known()


@pytest.mark.parametrize("kind", STOPS)
def test_a_stop_is_named_by_its_limit_and_nothing_before(kind: str) -> None:
    for seed in SEEDS:
        heard = listen(kind, unfold(kind, seed))
        assert heard.early == [], (seed, heard.first)
        assert heard.late is not None, (seed, heard.first)
        assert heard.late <= LATE, (seed, heard.first)
        assert heard.course == SAID[SILENCE + kind][seed]


@pytest.mark.parametrize("kind", PATIENCE)
def test_who_only_takes_its_time_is_left_alone(kind: str) -> None:
    for seed in SEEDS:
        heard = listen(kind, unfold(kind, seed))
        assert heard.first == {}, (seed, heard.first)
        assert heard.course == SAID[SILENCE + kind][seed]


def test_the_same_seed_gives_the_same_attempt() -> None:
    first, second, other = (unfold("plain", seed) for seed in (7, 7, 8))
    assert first.marks == second.marks != other.marks
