"""Plateau: information on a flat loss, a warning at the level of a blind guess, silence where flat is right."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.course import Plateau
from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.plateau import Plateau as PlateauRule
from speech_health.samples import StepSample, from_fields
from speech_health.stretch import batches, stretch_of


def noise(step: int) -> float:
    return math.sin(step * 1.7) * math.cos(step * 0.3)


def feed(run: Any, first: int, last: int, level: float, spread: float, **fields: Any) -> None:
    for step in range(first, last + 1):
        run.step(step, loss=level * (1 + spread * noise(step)), learning_rate=1e-4, **fields)


@pytest.mark.parametrize(
    "classes",
    [
        2,
        10,
        100,
        128,
        256,
        512,
        1000,
        1024,
        2048,
        4096,
        8192,
        16384,
        32000,
        32768,
        50257,
        51865,
        65536,
        128256,
    ],
)
def test_ln_v_from_the_start_was_never_learned(run: Any, classes: int) -> None:
    feed(run, 1, 199, math.log(classes), 0.003)
    assert run.rules == []
    feed(run, 200, 200, math.log(classes), 0.003)
    finding = run.finding(Rule.PLATEAU)
    assert (finding.severity, finding.step) == (Severity.WARNING, 1)
    assert f"a guess among {classes} (ln" in finding.evidence


def test_a_report_that_is_told_again_counts_once(run: Any) -> None:
    for step in range(1, 200):
        for _ in range(3):
            feed(run, step, step, math.log(256), 0.003)
    assert run.rules == []
    feed(run, 200, 200, math.log(256), 0.003)
    assert run.alarms == [Rule.PLATEAU]


def test_what_was_told_of_a_guess_stands(run: Any) -> None:
    feed(run, 1, 200, math.log(256), 0.003)
    told = run.finding(Rule.PLATEAU)
    feed(run, 201, 600, math.log(256), 0.003)
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.PLATEAU) == told


def blocks(run: Any, levels: list[float], **fields: Any) -> None:
    """Eight reports at each of the levels."""
    for level in levels:
        for _ in range(8):
            run.step(int(run.now) + 1, loss=level, **fields)


def test_what_was_told_as_information_may_turn_out_a_guess_at_the_end(run: Any) -> None:
    blocks(run, [math.log(2) * 1.006] * 26 + [math.log(2)] * 30)
    assert run.finding(Rule.PLATEAU).severity is Severity.INFO
    run.monitor.finish(run.now, 0)
    finding = run.finding(Rule.PLATEAU)
    assert finding.severity is Severity.WARNING
    assert "in all of the 448 reports since step 1" in finding.evidence


@pytest.mark.parametrize(
    ("late", "told"), [(0.986, True), (1.014, True), (0.984, False), (1.016, False)]
)
def test_every_level_is_that_of_the_guess(run: Any, late: float, told: bool) -> None:
    blocks(run, [math.log(2)] * 13 + [math.log(2) * late] * 12)
    assert (run.alarms == [Rule.PLATEAU]) is told


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ([100.0] * 12, True),
        ([1.0] * 12, True),
        ([-5.0] * 12, True),
        ([100.0] * 4 + [101.0] * 8, True),  # a hundredth
        ([100.0] * 4 + [101.1] * 8, False),
        ([100.0] * 4 + [98.9] * 8, False),
        ([100.0] * 8 + [101.1] * 4, False),
        ([100.0] * 4 + [101.1] * 4 + [100.0] * 4, False),
        ([100.0] * 2 + [102.0] * 2 + [101.9] * 8, True),  # four levels are the first third
        # Levels that jump about: their median is off by half a hundredth, or by more.
        ([14826.0 + 100.0, 14826.0 - 100.0] * 6, True),
        ([14826.0 + 101.0, 14826.0 - 101.0] * 6, False),
    ],
)
def test_a_flat_course_moves_by_a_hundredth_and_has_little_noise(
    run_with: Callable[..., Any], levels: list[float], told: bool
) -> None:
    run = run_with(plateau=Plateau(for_reports=96))
    blocks(run, levels[:-1])
    assert run.finding(Rule.PLATEAU) is None
    blocks(run, levels[-1:])
    assert (run.finding(Rule.PLATEAU) is not None) is told


def test_a_trend_is_told_from_twelve_levels_on(run_with: Callable[..., Any]) -> None:
    run = run_with(plateau=Plateau(for_reports=16))
    blocks(run, [1.9] * 11)
    assert run.rules == []
    blocks(run, [1.9])
    assert "over steps 1 to 96 (96 reports, threshold 16)" in run.finding(Rule.PLATEAU).evidence


def test_the_later_half_is_flat_for_as_many_reports(run: Any) -> None:
    blocks(run, [9.0 - level / 4 for level in range(24)] + [2.0] * 24)
    assert run.rules == []
    blocks(run, [2.0])  # of 49 levels the newest 25
    finding = run.finding(Rule.PLATEAU)
    assert (finding.severity, finding.step) == (Severity.INFO, 193)
    assert "no longer falls: 2, median 2 over steps 193 to 392 (200 reports" in finding.evidence


@pytest.mark.parametrize(
    ("flat", "level", "heals_after"),
    [
        (25, 150.0, 2),  # half of the newest four
        (25, 103.0, None),
        (25, 103.1, 3),
        (25, 96.9, 3),
        (40, 150.0, 3),  # of the newest eighth, five
    ],
)
def test_it_heals_when_the_newest_levels_have_left_by_three_hundredths(
    run: Any, flat: int, level: float, heals_after: int | None
) -> None:
    blocks(run, [100.0] * flat)
    seen = []
    for _ in range(6):
        blocks(run, [level])
        seen.append(run.finding(Rule.PLATEAU).status)
    active = 6 if heals_after is None else heals_after - 1
    assert seen == [FindingStatus.ACTIVE] * active + [FindingStatus.HEALED] * (6 - active)


def test_what_has_begun_to_fall_is_not_told_as_flat(run: Any) -> None:
    blocks(run, [100.0] * 22 + [50.0] * 3)
    assert run.finding(Rule.PLATEAU) is None


@pytest.mark.parametrize(("rate", "told"), [(0.0, False), (1.0, True), (1e-4, True)])
def test_nothing_is_learned_at_a_rate_of_0(run: Any, rate: float, told: bool) -> None:
    blocks(run, [1.9] * 25, learning_rate=rate)
    assert (run.finding(Rule.PLATEAU) is not None) is told


def test_an_adversary_that_starts_late_leaves_it_out(run: Any) -> None:
    blocks(run, [1.9] * 20)
    for _ in range(80):
        run.step(int(run.now) + 1, losses={"loss": 1.9, "loss_d": 1.0})
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.PLATEAU) is None


def alone(wall: Callable[[], float] = lambda: 0.0) -> PlateauRule:
    """The rule without others."""
    return PlateauRule(Plateau(), Attempt(HealthMode.NOTIFY, wall, Pace(0.0)))


def sample(step: int, **losses: float) -> StepSample:
    return from_fields({"time": 0.0, "now": 0.0, "rank": 0, "step": step, "losses": losses})


def test_what_is_not_finite_is_no_report() -> None:
    rule = alone()
    for step in range(1, 399):
        rule.feed(sample(step, loss=1.9 if step % 2 else math.inf))
    assert rule.finding is None
    rule.feed(sample(399, loss=1.9))
    assert rule.finding is not None


@pytest.mark.parametrize("late", [{}, {"loss_d": 1.0}], ids=["alone", "an adversary from 2500 on"])
def test_reports_in_a_batch_are_judged_as_one_by_one(
    run_with: Callable[..., Any], late: dict[str, float]
) -> None:
    """So long a run that only some of its reports are taken."""
    samples = [
        sample(
            step,
            loss=2.0 + max(0.0, 3.0 - step / 1000) + step % 13 / 500,
            **(late if step >= 2500 else {}),
        )
        for step in range(1, 9001)
    ]
    clock = [0]  # reports so far
    rules = [alone(lambda: clock[0]) for _ in range(2)]

    def take(rule: PlateauRule, reports: list[StepSample]) -> None:
        for each in reports:
            clock[0] = each.step
            rule.feed(each)

    # One that was judged keeps what it derived.
    take(rules[0], [copy.copy(each) for each in samples])
    for batch in batches(samples):
        stretch = stretch_of(batch)
        if stretch is None or not rules[1].pass_over(stretch):
            take(rules[1], batch)
    assert rules[0].finding == rules[1].finding
    assert (rules[0].finding is None) is bool(late)


@pytest.mark.parametrize(("off", "told"), [(0.0049, True), (-0.0049, True), (0.0051, False)])
def test_a_guess_is_near_its_level(run: Any, off: float, told: bool) -> None:
    feed(run, 1, 200, math.log(256) * (1 + off), 0.0)
    assert (run.alarms == [Rule.PLATEAU]) is told


@pytest.mark.parametrize(("reports", "told"), [(48, True), (40, False)])
def test_at_the_end_fewer_reports_are_enough(run: Any, reports: int, told: bool) -> None:
    feed(run, 1, reports, math.log(2), 0.003)
    run.monitor.finish(run.now, 0)
    assert (run.alarms == [Rule.PLATEAU]) is told


def test_another_level_since_the_start_is_information(run: Any) -> None:
    feed(run, 1, 220, 1.9, 0.02)
    finding = run.finding(Rule.PLATEAU)
    assert (finding.severity, run.alarms) == (Severity.INFO, [])
    assert "has not fallen since the start" in finding.evidence


def test_a_loss_that_leaves_ln_v_late_is_no_guess(run: Any) -> None:
    feed(run, 1, 100, math.log(2), 0.003)
    feed(run, 101, 400, 0.6, 0.003)
    assert run.alarms == []


def test_a_loss_that_fell_and_then_stands_is_information_and_heals(run: Any) -> None:
    for step in range(1, 101):
        run.step(step, loss=5.0 * math.exp(-step / 40) + 0.5)
    feed(run, 101, 500, 0.9, 0.01)
    finding = run.finding(Rule.PLATEAU)
    assert finding.severity is Severity.INFO
    assert "no longer falls" in finding.evidence
    feed(run, 501, 700, 0.7, 0.01)
    assert run.finding(Rule.PLATEAU).status is FindingStatus.HEALED


def test_a_loss_that_falls_slowly_is_none(run: Any) -> None:
    for step in range(1, 2000):
        run.step(step, loss=(1 + 0.05 * noise(step)) * 4.0 * (step + 20) ** -0.1)
    assert run.rules == []


def test_noise_that_hides_the_trend_says_nothing(run: Any) -> None:
    feed(run, 1, 240, 1.9, 0.9)
    assert run.rules == []


def test_a_warm_up_and_a_rate_of_0_do_not_count(run: Any) -> None:
    for step in range(1, 400):
        run.step(step, loss=math.log(2) * (1 + 0.003 * noise(step)), learning_rate=step * 1e-7)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


@pytest.mark.parametrize(
    "beside",
    [
        {"reward": 0.5},
        {"stands": "loss"},
        {"losses": {"loss": math.log(2), "loss_d": 1.0}},
        {"losses": {"mel": math.log(2)}},
    ],
)
def test_what_is_flat_for_good_reason_is_not_judged(run: Any, beside: dict[str, Any]) -> None:
    for step in range(1, 400):
        run.step(step, **({"losses": {"loss": math.log(2)}} | beside))
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.PLATEAU) is None


def test_the_threshold_is_the_users(run_with: Callable[..., Any]) -> None:
    run = run_with(plateau=Plateau(for_reports=1000))
    feed(run, 1, 900, 1.9, 0.02)
    assert run.rules == []


def test_a_long_run_is_judged_by_at_most_64_levels(run: Any) -> None:
    feed(run, 1, 6000, math.log(256), 0.003)
    assert run.alarms == [Rule.PLATEAU]
