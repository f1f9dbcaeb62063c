"""Rules LossSpike and GradientSpike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import GradientSpike, HealthMode, LossSpike, OnExceeded

quick = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def wave(step: int) -> float:
    """A sound loss round 2, between 1.8 and 2.2."""
    return 2.0 + 0.2 * math.sin(step * 1.7)


def train(run: Any, first: int, last: int, height: float = 1.0, every: int = 1) -> None:
    for step in range(first, last + 1, every):
        run.step(step, loss=wave(step) * height, gradient_norm=wave(step))


def test_a_spike_that_stays_warns_then_ends_the_attempt_with_40(run: Any) -> None:
    train(run, 1, 50)
    train(run, 51, 59, 6.0)
    assert run.rules == []
    train(run, 60, 60, 6.0)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.severity, finding.step) == (Severity.WARNING, 51)
    assert "times the running median" in finding.evidence
    train(run, 61, 129, 6.0)
    assert run.monitor.decision is None
    train(run, 130, 130, 6.0)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next) == (40, OnExceeded.RESTART)
    assert decision.finding.severity is Severity.CRITICAL
    assert "not healed within 80 steps" in decision.finding.evidence


def test_a_burst_that_heals_in_time_is_nothing(run: Any) -> None:
    train(run, 1, 50)
    train(run, 51, 59, 20.0)
    train(run, 60, 200)
    assert run.rules == []


def test_a_warning_heals_after_two_normal_reports(run: Any) -> None:
    train(run, 1, 50)
    train(run, 51, 65, 6.0)
    train(run, 66, 66)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.ACTIVE
    train(run, 67, 67)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.HEALED


def test_sparse_reports_need_five_to_warn_and_eight_to_end(run: Any) -> None:
    train(run, 100, 5000, every=100)
    train(run, 5100, 5400, 6.0, every=100)
    assert run.rules == []
    train(run, 5500, 5700, 6.0, every=100)
    assert run.finding(Rule.LOSS_SPIKE).severity is Severity.WARNING
    train(run, 5800, 5800, 6.0, every=100)
    assert run.monitor.decision.exit_code == 40


@pytest.mark.parametrize("mode", [HealthMode.ENFORCE, HealthMode.NOTIFY])
def test_warn_and_notify_end_nothing(run_with: Callable[..., Any], mode: HealthMode) -> None:
    acted = OnExceeded.WARN if mode is HealthMode.ENFORCE else OnExceeded.RESTART
    run = run_with(mode=mode, loss_spike=LossSpike(on_exceeded=acted))
    train(run, 1, 50)
    train(run, 51, 200, 6.0)
    assert run.monitor.decision is None
    expected = Action.WARNED if mode is HealthMode.ENFORCE else Action.WOULD_RESTART
    assert run.finding(Rule.LOSS_SPIKE).action is expected


def test_twice_the_factor_while_the_rate_rises(run: Any) -> None:
    for step in range(1, 120):
        loss = wave(step) * (4.0 if step > 50 else 1.0)
        run.step(step, loss=loss, learning_rate=step * 1e-5)
    assert run.rules == []


def test_another_component_starts_the_baseline_anew(run: Any) -> None:
    for step in range(1, 120):
        late = 9.0 * wave(step) if step > 50 else 0.0
        run.step(step, losses={"total": wave(step) + late, "discriminator": late})
    assert run.rules == []


def test_an_announced_part_starts_the_baseline_anew(run: Any) -> None:
    for step in range(1, 120):
        loss = wave(step) * (9.0 if step > 50 else 1.0)
        run.step(step, losses={"total": loss}, active_from={"discriminator": 51})
    assert run.rules == []


def test_only_the_headline_is_judged(run: Any) -> None:
    for step in range(1, 120):
        feature = wave(step) * (50.0 if step > 50 else 1.0)
        run.step(step, losses={"mel": wave(step), "feature": feature})
    assert run.rules == []


@pytest.mark.parametrize("level", [-5.0, 0.0, 0.1])
def test_a_series_round_zero_is_measured_by_its_spread(run: Any, level: float) -> None:
    train_at = lambda step, shift: run.step(step, loss=wave(step) - 2.0 + level + shift)  # noqa: E731
    for step in range(1, 51):
        train_at(step, 0.0)
    for step in range(51, 61):
        train_at(step, 0.3)
    assert run.rules == []
    for step in range(61, 75):
        train_at(step, 40.0)
    assert run.rules == [Rule.LOSS_SPIKE]


def test_a_rise_that_loses_nothing_learned_is_none(run: Any) -> None:
    for step in range(1, 200):
        run.step(step, loss=5.0 * math.exp(-step / 8.0) if step < 120 else 0.01 + step * 1e-6)
    assert run.rules == []


def test_a_roll_back_ends_the_burst(run: Any) -> None:
    train(run, 1, 50)
    train(run, 51, 57, 6.0)
    train(run, 31, 36, 6.0)
    assert run.rules == []


def test_another_rank_does_not_heal_it(run: Any) -> None:
    for step in range(1, 80):
        run.step(step, rank=0, loss=wave(step))
        run.step(step, rank=1, loss=wave(step) * (6.0 if step > 50 else 1.0))
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.status, finding.rank) == (FindingStatus.ACTIVE, 1)


def test_a_warning_tells_the_newest_report_until_it_is_critical(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in range(1, 200):
        run.step(step, loss=wave(step) * (6.0 if step > 50 else 1.0))
        run.step(step, rank=1, loss=wave(step) * (6.0 if 150 < step else 1.0))
        finding = run.finding(Rule.LOSS_SPIKE)
        if 60 <= step < 130:
            assert f"at step {step}," in finding.evidence
    assert "not healed" in finding.evidence  # the other rank's younger spike does not soften it
    assert finding.severity is Severity.CRITICAL


def explode(run: Any, last: int = 160) -> None:
    for step in range(1, last):
        run.step(step, loss=wave(step), gradient_norm=wave(step) * (100.0 if step > 50 else 1.0))


def test_a_gradient_explosion_warns_and_by_default_only_warns(run: Any) -> None:
    explode(run)
    assert run.rules == [Rule.GRADIENT_SPIKE]
    assert run.finding(Rule.GRADIENT_SPIKE).action is Action.WARNED
    assert run.monitor.decision is None


def test_asked_to_restart_it_does(run_with: Callable[..., Any]) -> None:
    run = run_with(gradient_spike=GradientSpike(on_exceeded=OnExceeded.RESTART))
    explode(run)
    assert run.monitor.decision.exit_code == 40


def test_one_cause_pages_once(run: Any) -> None:
    train(run, 1, 50)
    for step in range(51, 70):
        run.step(step, loss=wave(step) * 9.0, gradient_norm=500.0)
    assert run.rules == [Rule.LOSS_SPIKE]
    run.step(70, loss=math.nan)
    assert run.rules == [Rule.NON_FINITE]


@quick
@given(
    low=st.floats(1e-6, 1e6),
    shares=st.lists(st.floats(1.0, 2.4), min_size=10, max_size=200),
    stride=st.integers(1, 500),
)
def test_silent_on_any_curve_inside_its_band(
    run_with: Callable[..., Any], low: float, shares: list[float], stride: int
) -> None:
    run = run_with()
    for number, share in enumerate(shares, start=1):
        run.step(number * stride, loss=low * share, gradient_norm=low * share)
    assert not {Rule.LOSS_SPIKE, Rule.GRADIENT_SPIKE} & set(run.rules)


@quick
@given(
    low=st.floats(1e-6, 1e6),
    before=st.integers(25, 150),
    height=st.floats(6.0, 1e6),
    every=st.integers(1, 100),
)
def test_heard_within_twenty_reports_wherever_planted(
    run_with: Callable[..., Any], low: float, before: int, height: float, every: int
) -> None:
    run = run_with()
    for number in range(1, before + 21):
        up = height if number > before else 1.0
        run.step(number * every, loss=low * wave(number) * up)
        assert number > before or run.rules == []
    assert run.rules == [Rule.LOSS_SPIKE]


@pytest.mark.parametrize("ratio", [3.0, 5.0, 9.0])
def test_two_tasks_in_turn_are_no_divergence(run: Any, ratio: float) -> None:
    train(run, 1, 15)
    for step in range(16, 300):
        dear = step % 9 in (0, 1, 2, 3, 5)
        run.step(step * 10, loss=wave(step) * (ratio if dear else 1.0))
    assert Rule.LOSS_SPIKE not in run.rules


def test_what_came_down_time_after_time_is_no_news_but_twice_as_high_is(run: Any) -> None:
    at = 0
    for _ in range(40):
        for place in range(9):
            at += 1
            run.step(at, loss=wave(at) * (6.0 if place < 4 else 1.0))
    for step in range(at + 1, at + 40):
        run.step(step, loss=wave(step) * 6.0)
    assert run.alarms == []
    for step in range(at + 40, at + 60):
        run.step(step, loss=wave(step) * 20.0)
    assert run.rules == [Rule.LOSS_SPIKE]


@pytest.mark.parametrize(("last", "told"), [(2, False), (1, True)])
def test_ten_high_reports_that_came_down_are_a_habit(run: Any, last: int, told: bool) -> None:
    train(run, 1, 30)
    at = 30
    for high in (4, 4, last):
        train(run, at + 1, at + high, 6.0)
        train(run, at + high + 1, at + high + 6)
        at += high + 6
    train(run, at + 1, at + 12, 6.0)
    assert (Rule.LOSS_SPIKE in run.rules) is told


def test_a_few_first_values_near_zero_are_no_yardstick(run: Any) -> None:
    for step, loss in enumerate([0.02, 0.3, 0.01, 0.02, 0.4, *[0.5] * 12], start=1):
        run.step(step, loss=loss + step * 1e-4)
    assert run.rules == []


def test_one_burst_however_long_is_no_habit(run: Any) -> None:
    train(run, 1, 50)
    train(run, 51, 75, 6.0)
    train(run, 76, 100)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.HEALED
    train(run, 101, 110, 6.0)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.ACTIVE


def test_habits_of_another_total_are_forgotten_with_it(run: Any) -> None:
    for step in range(1, 200):
        run.step(step, losses={"total": wave(step) * (60.0 if step % 9 < 3 else 10.0)})
    for step in range(200, 250):
        run.step(step, losses={"total": wave(step), "kl": 1.0 + step / 7})
    assert run.alarms == []
    for step in range(250, 260):
        run.step(step, losses={"total": wave(step) * 6.0, "kl": 1.0 + step / 7})
    assert run.rules == [Rule.LOSS_SPIKE]


def test_with_few_reports_four_times_the_loss_is_not_yet_a_spike(run: Any) -> None:
    train(run, 1, 8)
    train(run, 9, 37, 4.0)
    assert run.rules == []
    train(run, 38, 40, 4.0)  # it stays: early_rise tells
    assert run.finding(Rule.LOSS_SPIKE).severity is Severity.WARNING


def test_a_norm_is_followed_through_reports_without_losses(run: Any) -> None:
    run.step(1, loss=1.0, gradient_norm=1.0)
    for step in range(2, 80):
        run.step(step, gradient_norm=wave(step) * (100.0 if step > 50 else 1.0))
    assert run.rules == [Rule.GRADIENT_SPIKE]


@pytest.mark.parametrize("flat", [True, False])
def test_a_height_in_deviations_is_told_where_there_is_a_spread(run: Any, flat: bool) -> None:
    for step in range(1, 80):
        loss = 2.0 if flat else wave(step)
        run.step(step, loss=loss * (8.0 if step > 50 else 1.0), gradient_norm=wave(step))
    assert ("robust z" not in run.finding(Rule.LOSS_SPIKE).evidence) is flat


def test_a_bar_that_shows_the_step_first_hides_no_spike(run: Any) -> None:
    for step in range(1, 131):
        run.say(step, report=step - 1)
        run.say(step, loss=wave(step) * (6.0 if step > 50 else 1.0), report=step)
    assert run.finding(Rule.LOSS_SPIKE).step == 51


def test_a_value_told_twice_at_a_step_counts_once(run: Any) -> None:
    train(run, 1, 50)
    for _ in range(200):
        run.step(51, loss=wave(51) * 6.0)
    assert run.rules == []


@pytest.mark.parametrize(("name", "times", "told"), [
    ("gen_loss_total", 1e6, True), ("gen_loss_total", 100.0, False), ("loss_gen", 1e6, False),
])  # fmt: skip
def test_a_sum_that_explodes_has_no_level_of_its_own(
    run: Any, name: str, times: float, told: bool
) -> None:
    for step in range(1, 101):
        losses = {name: wave(step) * (times if step > 50 else 1.0), "loss_disc": 1.0 + wave(step)}
        run.step(step, losses=losses)
    assert (run.finding(Rule.LOSS_SPIKE) is not None) == told
