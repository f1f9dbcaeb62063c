"""A learning rate of exactly 0 while steps go on, told by NotUpdating; never one that was rounded to 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import NotUpdating

FINE = [1e-4 * math.exp(-step / 40) for step in range(40)]  # with all their digits


def wander(step: int) -> float:
    return 2.0 + 0.05 * math.sin(step * 1.7)


def train(run: Any, first: int, last: int, rate: float, **fields: Any) -> None:
    for step in range(first, last + 1):
        run.step(step, loss=wander(step), learning_rate=rate, **fields)


def schedule(run: Any) -> None:
    for step, rate in enumerate(FINE, start=1):
        run.step(step, loss=wander(step), learning_rate=rate)


def test_a_schedule_that_is_over_is_told_with_its_step_and_remedy(run: Any) -> None:
    schedule(run)
    train(run, 41, 59, 0.0)
    assert run.alarms == []
    train(run, 60, 60, 0.0)
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding.severity, finding.step) == (Severity.WARNING, 41)
    assert (
        "exactly 0 in 20 reports in a row since step 41, after it was above 0" in finding.evidence
    )
    assert "schedule" in finding.remedy
    train(run, 61, 61, 1e-5)
    assert run.finding(Rule.NOT_UPDATING).status is FindingStatus.HEALED


def test_a_second_row_of_zeros_is_judged_by_its_own_losses(run_with: Callable[..., Any]) -> None:
    run = run_with(not_updating=NotUpdating(zero_rate_reports=5))
    schedule(run)
    for step in range(41, 75):
        zero = step < 56 or step >= 70
        run.step(step, loss=1.0 if step < 56 else 3.0, learning_rate=0.0 if zero else 1e-5)
        told = run.finding(Rule.NOT_UPDATING)
    assert told.status is FindingStatus.ACTIVE
    assert "in 5 reports in a row since step 70" in told.evidence


def test_planned_steps_that_are_over_are_named(run: Any) -> None:
    for step, rate in enumerate(FINE, start=1):
        run.step(step, loss=wander(step), learning_rate=rate, total_steps=40)
    train(run, 41, 70, 0.0)
    assert "40 planned steps are over" in run.finding(Rule.NOT_UPDATING).evidence


def test_a_warm_up_that_nobody_steps_is_told_later(run: Any) -> None:
    train(run, 1, 59, 0.0, updates=1)
    assert run.alarms == []
    train(run, 60, 60, 0.0, updates=1)
    assert "never above" in run.finding(Rule.NOT_UPDATING).evidence


def test_a_warm_up_from_0_and_the_last_report_of_a_schedule_are_healthy(run: Any) -> None:
    train(run, 1, 50, 0.0, updates=1)
    schedule_from = 51
    for step, rate in enumerate(FINE, start=schedule_from):
        run.step(step, loss=wander(step), learning_rate=rate, updates=step)
    train(run, 91, 91, 0.0, updates=91)
    assert run.alarms == []


def test_what_a_printer_rounded_is_no_proof(run: Any) -> None:
    for step in range(1, 200):
        run.say(step, loss=wander(step), learning_rate=0.0001 if step < 60 else 0.0)
    assert run.alarms == []


def test_on_stdout_a_loss_with_all_its_digits_says_nothing_of_the_rates_format(run: Any) -> None:
    for step in range(1, 200):
        run.say(step, loss=wander(step), learning_rate=0.0, gradient_norm=wander(step))
    assert run.alarms == []


def test_on_stdout_fine_rates_before_it_are_proof(run: Any) -> None:
    for step, rate in enumerate([*FINE, *[0.0] * 20], start=1):
        run.say(step, loss=round(wander(step), 4), learning_rate=rate)
    assert run.alarms == [Rule.NOT_UPDATING]


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ([1e-10], True),  # ten decimals
        ([0.0001234567], True),
        ([0.000123456], False),
        ([1e-10, *[0.001] * 7], True),
        ([1e-10, *[0.001] * 8], False),  # eight rates back it is forgotten
    ],
)
def test_on_stdout_ten_decimals_of_the_newest_rates_are_proof(
    run: Any, rates: list[float], told: bool
) -> None:
    for step, rate in enumerate([*rates, *[0.0] * 20], start=1):
        run.say(step, loss=round(wander(step), 4), learning_rate=rate)
    assert (run.alarms == [Rule.NOT_UPDATING]) is told


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([20.0] * 10 + [19.0] * 10, True),
        ([20.0] * 10 + [18.9] * 10, False),  # by more than a twentieth
        ([-20.0] * 10 + [-21.0] * 10, True),
        ([-20.0] * 10 + [-21.1] * 10, False),
        ([2.0] * 5 + [1.0] * 6 + [1.2] * 9, False),  # ten reports at either end
        ([None] * 20, True),
    ],
)
def test_the_loss_of_the_first_ten_zeros_is_set_against_the_newest_ten(
    run: Any, losses: list[float | None], told: bool
) -> None:
    schedule(run)
    for step, loss in enumerate(losses, start=41):
        run.step(step, loss=loss, learning_rate=0.0, updates=step)
    assert (run.finding(Rule.NOT_UPDATING) is not None) is told


@pytest.mark.parametrize(("loss", "healed"), [(18.0, False), (17.9, True)])
def test_a_loss_that_fell_by_more_than_a_tenth_heals_it(
    run: Any, loss: float, healed: bool
) -> None:
    schedule(run)
    for step in range(41, 71):
        run.step(step, loss=20.0 if step < 61 else loss, learning_rate=0.0)
    assert (run.finding(Rule.NOT_UPDATING).status is FindingStatus.HEALED) is healed


@pytest.mark.parametrize(("beside", "told"), [({"updates": 7}, True), ({}, False)])
def test_counted_updates_beside_round_numbers_are_proof(
    run: Any, beside: dict[str, Any], told: bool
) -> None:
    for step in range(1, 61):
        run.step(step, loss=2.0 + step % 3, learning_rate=0.0, **beside)
    assert (Rule.NOT_UPDATING in run.alarms) is told


def test_digits_of_the_norm_in_a_file_are_proof(run: Any) -> None:
    for step in range(1, 61):
        run.step(step, loss=2.0, learning_rate=0.0, gradient_norm=wander(step))
    assert run.alarms == [Rule.NOT_UPDATING]


def test_a_loss_that_falls_acquits(run: Any) -> None:
    schedule(run)
    for step in range(41, 200):
        run.step(step, loss=2.0 * math.exp(-step / 100), learning_rate=0.0, updates=step)
    assert run.alarms == []


def test_a_loss_that_falls_so_slowly_that_it_was_told_heals_it(run: Any) -> None:
    schedule(run)
    for step in range(41, 100):
        run.step(step, loss=2.0 * math.exp(-step / 250), learning_rate=0.0, updates=step)
    finding = run.finding(Rule.NOT_UPDATING)
    assert finding.status is FindingStatus.HEALED
    assert "the loss falls" in finding.evidence


def test_a_line_drawn_again_is_no_report(run: Any) -> None:
    schedule(run)
    for _ in range(100):
        run.step(41, loss=2.0, learning_rate=0.0)
    assert run.alarms == []


@pytest.mark.parametrize(("reports", "told"), [(30, True), (200, False)])
def test_the_threshold_is_the_users(run_with: Callable[..., Any], reports: int, told: bool) -> None:
    run = run_with(not_updating=NotUpdating(zero_rate_reports=reports))
    schedule(run)
    train(run, 41, 90, 0.0)
    assert (Rule.NOT_UPDATING in run.alarms) is told


@pytest.mark.parametrize(("fields", "told"), [
    ({}, False),
    ({"unrated": True}, True),
    ({"form": "Hugging Face Trainer", "gradient_norm": 1.2345678806304932}, True),
    ({"form": "Hugging Face Trainer", "gradient_norm": 1.23}, False),
])  # fmt: skip
def test_a_printed_zero_is_exact_where_its_form_rounds_nothing(
    run: Any, fields: dict[str, Any], told: bool
) -> None:
    for step in range(1, 81):
        run.say(step, loss=wander(step), learning_rate=0.0, report=step, **fields)
    assert (run.finding(Rule.NOT_UPDATING) is not None) == told
