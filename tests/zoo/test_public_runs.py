"""Runs that nobody here drew: no false stop, next to no false warning, and the faults are named."""

from __future__ import annotations

import pytest
from public_runs import BEYOND, FAULT, HEALTHY, Told, first_judged, judge_all

WARNED = 0.01  # of the healthy runs, at most
READ = 0.95  # of the files, at least
TOLD = 0.95  # of the faults that a rule claims to see, at least


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Told]:
    return judge_all(tmp_path_factory.mktemp("public"))


def test_the_set_is_there_and_every_run_says_where_it_comes_from(told: list[Told]) -> None:
    assert len(told) >= 190
    assert len([one for one in told if one.run.set != "tuned"]) >= 40
    assert all("/" in one.run.source and ":" in one.run.source for one in told)
    assert {one.run.label for one in told} == {HEALTHY, FAULT, "ambiguous"}


def test_no_healthy_run_would_have_been_stopped(told: list[Told]) -> None:
    assert [(one.run.name, one.rules) for one in told if one.critical] == []


def test_next_to_no_healthy_run_is_warned_of(told: list[Told]) -> None:
    healthy = [one for one in told if one.run.label == HEALTHY]
    warned = [(one.run.name, one.rules) for one in healthy if one.warned]
    assert len(warned) <= WARNED * len(healthy), warned


def test_faults_are_named(told: list[Told]) -> None:
    promised = [one for one in told if one.promised]
    missed = [
        (one.run.name, one.run.expect)
        for one in promised
        if one.missed and one.run.name not in BEYOND
    ]
    assert len(promised) >= 12
    assert len(missed) <= (1 - TOLD) * len(promised), missed


def test_files_are_read(told: list[Told]) -> None:
    unread = [(one.run.name, one.why) for one in told if one.result is None]
    assert len(unread) <= (1 - READ) * len(told), unread


def test_what_is_missed_for_good_is_known(told: list[Told]) -> None:
    assert {one.run.name for one in told if one.missed} == set(BEYOND)


def test_the_first_judgement_is_kept() -> None:
    first = list(first_judged("fresh"))
    assert len(first) == 75
    assert [one for one in first if one.critical or one.warned] == []
    missed = {one.run.name for one in first if one.missed}
    assert missed == {"251", "252", "254"}  # the last is told since
    assert len([one for one in first if one.result is None]) == 6


def test_the_first_judgement_of_the_sought_ones_is_kept() -> None:
    first = list(first_judged("sought"))
    assert len([one for one in first if one.run.label == FAULT]) == 44
    missed = {one.run.name for one in first if one.missed}
    told_since = {"405", "413", "414", "417", "457", "465"}
    assert missed == (BEYOND.keys() - {"251", "252"}) | told_since
    assert {one.run.name for one in first if one.critical} == {"421", "422"}  # left alone since
