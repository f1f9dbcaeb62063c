"""ScheduleMismatch: the actual learning rate beside the planned one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import FindingStatus
from speech_contract.outcome import EXIT_NOT_LEARNING
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import OnExceeded, ScheduleMismatch

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def follow(run: Any, *pairs: tuple[float | None, float | None], first: int = 1) -> None:
    for step, (rate, plan) in enumerate(pairs, start=first):
        run.step(step, loss=1.0, learning_rate=rate, planned_rate=plan)


def test_a_rewritten_rate_is_a_warning_with_both_rates(run: Any) -> None:
    follow(run, *[(1e-4, 1e-4)] * 10, *[(5e-5, 1e-4)] * 5)
    assert run.rules == []  # the first of them may be the rate of the report before
    follow(run, (5e-5, 1e-4), first=16)
    finding = run.finding(Rule.SCHEDULE_MISMATCH)
    assert (finding.step, finding.severity) == (12, Severity.WARNING)
    assert "learning rate 5e-05 at step 16, planned 0.0001 (0.5 times)" in finding.evidence
    follow(run, (1e-4, 1e-4), first=17)
    assert run.finding(Rule.SCHEDULE_MISMATCH).status is FindingStatus.ACTIVE
    follow(run, (1e-4, 1e-4), first=18)
    assert run.finding(Rule.SCHEDULE_MISMATCH).status is FindingStatus.HEALED


def test_stop_is_the_users_choice(run_with: Callable[..., Any]) -> None:
    run = run_with(schedule_mismatch=ScheduleMismatch(on_exceeded=OnExceeded.STOP, for_reports=2))
    follow(run, (1.0, 0.5), (1.0, 0.5))
    assert run.monitor.decision.exit_code == EXIT_NOT_LEARNING


@pytest.mark.parametrize(
    "pairs",
    [
        [(None, 1e-4)] * 20,
        [(1e-4, None)] * 20,
        [(1e-4, math.nan)] * 20,
        [(1e-4 * 1.009, 1e-4)] * 20,
        [(0.0, 0.0)] * 20,
        [(1e-4 * (k + 1), 1e-4 * k) for k in range(20)],  # asked after the schedule was stepped
        [(1e-4 * k, 1e-4 * (k + 1)) for k in range(20)],  # the plan of the next update
        [(1e-4, 1e-4), (9e-4, 1e-4)] * 10,  # never five in a row
    ],
)
def test_what_is_no_mismatch(run: Any, pairs: list[tuple[float | None, float | None]]) -> None:
    follow(run, *pairs)
    assert run.rules == []


@pytest.mark.parametrize("rate", [math.nan, math.inf, 1.0, 0.0])
def test_a_rate_that_is_no_number_is_off_too(run: Any, rate: float) -> None:
    follow(run, *[(rate, 1e-4)] * 5)
    assert run.finding(Rule.SCHEDULE_MISMATCH) is not None


def test_a_rate_above_a_planned_zero_is_off(run: Any) -> None:
    follow(run, *[(1e-4, 1e-4)] * 3, (1e-4, 0.0), (1e-6, 0.0), (1e-6, 0.0), first=1)
    assert run.rules == []
    follow(run, *[(1e-6, 0.0)] * 4, first=7)
    assert run.finding(Rule.SCHEDULE_MISMATCH) is not None


def test_the_same_report_again_counts_once(run: Any) -> None:
    for _ in range(9):
        follow(run, (1.0, 0.5))
    assert run.rules == []


@pytest.mark.parametrize(
    ("pairs", "fires"),
    [
        ([(101.0, 100.0)] * 9, False),  # at the tolerance
        ([(101.1, 100.0)] * 4, False),
        ([(101.1, 100.0)] * 5, True),
        ([(2e-6, 1e-6)] * 5, True),  # small beside nothing but itself
        # Next to nothing beside the peak.
        ([(1e-1, 1e-1), (2e-7, 1e-7), *[(1e-6, 0.0)] * 5], False),
        ([(1e-1, 1e-1), (2e-6, 0.0), *[(2e-6, 0.0)] * 6], True),
        ([(1.0, 0.5)] * 4 + [(0.5, 0.5)] + [(3.0, 0.5)] * 4, False),  # a report as planned between
        # One that says nothing is none.
        ([(1.0, 0.5)] * 4 + [(None, 0.5)] * 3 + [(1.0, 0.5)], True),
    ],
)
def test_five_in_a_row_beyond_the_tolerance(
    run: Any, pairs: list[tuple[float | None, float | None]], fires: bool
) -> None:
    follow(run, *pairs)
    assert (run.rules == [Rule.SCHEDULE_MISMATCH]) is fires


@pytest.mark.parametrize(
    ("rate", "plan", "told"),
    [
        (2.0, 0.5, "learning rate 2 at step 11, planned 0.5 (4 times); off by"),
        (math.nan, 0.5, "learning rate nan at step 11, planned 0.5; off by"),
        (2.0, 0.0, "learning rate 2 at step 11, planned 0; off by"),
    ],
)
def test_what_is_told(run: Any, rate: float, plan: float, told: str) -> None:
    follow(run, *[(rate, plan)] * 5, first=7)
    evidence = run.finding(Rule.SCHEDULE_MISMATCH).evidence
    assert evidence == f"{told} more than 0.01 in 5 reports in a row since step 7"


def test_it_heals_with_two_reports_as_planned_in_a_row_of_every_rank(run: Any) -> None:
    def told(step: int, rate: float, rank: int) -> FindingStatus:
        run.step(step, rank=rank, learning_rate=rate, planned_rate=0.5)
        finding = run.finding(Rule.SCHEDULE_MISMATCH)
        return FindingStatus.HEALED if finding is None else finding.status

    for step in range(1, 6):
        for rank in (0, 1):
            told(step, 2.0, rank)
    rates = [0.5, 3.0, 4.0, 0.5, 0.5]  # the report behind one as planned borrows its rate
    assert {told(step, rate, 0) for step, rate in enumerate(rates, start=6)} == {
        FindingStatus.ACTIVE
    }
    assert told(6, 0.5, 1) is FindingStatus.ACTIVE
    assert told(7, 0.5, 1) is FindingStatus.HEALED
    assert "; healed: learning rate 0.5 as planned at step 7" in run.monitor.findings[0].evidence
    assert told(8, 2.0, 1) is FindingStatus.HEALED


rates = st.floats(1e-12, 1e3)


@quick
@given(
    plan=st.lists(rates, min_size=1, max_size=60),
    errors=st.lists(st.floats(-0.0099, 0.0099), min_size=60, max_size=60),
)
def test_never_within_the_tolerance(
    run_with: Callable[..., Any], plan: list[float], errors: list[float]
) -> None:
    run = run_with()
    follow(run, *[(rate * (1 + e), rate) for rate, e in zip(plan, errors, strict=False)])
    assert Rule.SCHEDULE_MISMATCH not in run.rules


@quick
@given(
    before=st.lists(rates, max_size=20),
    plan=rates,
    factor=st.floats(0.0, 0.98) | st.floats(1.02, 1e3),
    reports=st.integers(1, 12),
)
def test_always_at_its_report(
    run_with: Callable[..., Any],
    before: list[float],
    plan: float,
    factor: float,
    reports: int,
) -> None:
    run = run_with(schedule_mismatch=ScheduleMismatch(for_reports=reports))
    follow(run, *[(rate, rate) for rate in before])
    # The report before lends its plan and its rate for one report.
    first = len(before) + 1
    follow(run, *[(plan * factor, plan)] * (reports + 1), first=first)
    peak = max([*before, plan])
    if abs(factor - 1.0) * plan > 0.01 * max(plan, 1e-3 * peak):
        finding = run.finding(Rule.SCHEDULE_MISMATCH)
        assert finding is not None
        assert first <= finding.step <= first + 1
