"""Rule NonFinite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, NonFinite, OnExceeded

NAN, INF = math.nan, math.inf


def found(run: Any) -> Any:
    finding = run.finding(Rule.NON_FINITE)
    assert finding is not None
    return finding


@pytest.mark.parametrize("value", [NAN, -NAN, INF, -INF])
@pytest.mark.parametrize("component", ["loss", "mel"])
def test_first_bad_component_warns_and_is_named(run: Any, value: float, component: str) -> None:
    run.step(11, losses={"loss": 1.0, "mel": 1.0})
    run.step(12, losses={"loss": 1.0, "mel": 1.0, component: value})
    finding = found(run)
    assert (finding.severity, finding.step, finding.action) == (
        Severity.WARNING,
        12,
        Action.WARNED,
    )
    assert repr(component) in finding.evidence
    assert "step 12" in finding.evidence
    assert run.monitor.decision is None


def test_over_budget_ends_a_strangers_run_with_40(run: Any) -> None:
    for step in range(1, 4):
        run.step(step, loss=NAN)
    assert run.monitor.decision is None
    run.step(4, loss=NAN)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next, decision.want_stacks) == (40, OnExceeded.STOP, False)
    assert decision.finding.action is Action.STOPPED
    assert decision.finding.step == 1
    assert "budget 3" in decision.finding.evidence
    assert run.monitor.verdict is Verdict.CRITICAL


def test_reports_far_apart_still_count_in_a_row(run: Any) -> None:
    for step in range(500, 2500, 500):
        run.say(step, loss=NAN)
    assert run.monitor.decision.exit_code == 40


def test_bad_steps_spread_over_the_window_add_up(run: Any) -> None:
    for step in range(1, 100):
        run.step(step, loss=NAN if step % 30 == 0 else 1.0)
    assert run.monitor.decision is None
    for step in range(100, 121):
        run.step(step, loss=NAN if step % 30 == 0 else 1.0)
    assert run.monitor.decision.exit_code == 40


def test_one_per_cent_of_a_large_window_is_the_budget_for_scattered_steps(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=1000))
    for step in range(1, 22):
        assert run.monitor.decision is None
        run.step(step, loss=NAN if step % 2 else 1.0)
    assert run.monitor.decision.exit_code == 40
    assert "11 non-finite step(s) in the last 1000, budget 10" in found(run).evidence


def test_in_a_row_the_skip_budget_binds_however_large_the_window(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=1000))
    for step in range(1, 4):
        run.step(step, loss=NAN)
    assert run.monitor.decision is None
    run.step(4, loss=NAN)
    assert run.monitor.decision.exit_code == 40
    assert "4 non-finite step(s) in a row, budget 3" in found(run).evidence


def test_a_finite_step_between_two_reports_ends_the_row(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(window_steps=1000))
    for step in range(10, 60, 10):  # two bad ones of each ten, who knows which
        run.step(step, loss=1.0, non_finite_steps=step // 5)
    assert run.monitor.decision is None
    run.step(60, loss=1.0, non_finite_steps=20)  # all of the last ten
    assert run.monitor.decision.exit_code == 40


def test_a_reporter_that_counts_bad_reports_is_heard(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(window_steps=50))
    for number in range(4):
        assert run.monitor.decision is None
        run.step(50 * number, loss=NAN, non_finite_steps=number)
    assert run.monitor.decision.exit_code == 40


def test_zero_loss_beside_nan_norm_is_a_nan_in_disguise(run: Any) -> None:
    for step in range(1, 5):
        run.say(step, loss=0.0, gradient_norm=NAN)
    assert run.rules == [Rule.NON_FINITE]
    assert "disguise" in found(run).evidence
    assert run.monitor.decision.exit_code == 40


def test_scaler_overflow_is_mentioned_not_counted(run: Any) -> None:
    for step in range(1, 17):
        run.step(step, loss=2.0, gradient_norm=INF)
    assert found(run).severity is Severity.INFO
    assert run.monitor.verdict is Verdict.HEALTHY
    run.step(17, loss=2.0, gradient_norm=1.0)
    run.step(18, loss=2.0, gradient_norm=NAN)
    assert found(run).severity is Severity.INFO


def test_a_scaler_that_never_comes_down_is_a_fault(run: Any) -> None:
    for step in range(1, 25):
        run.step(step, loss=2.0, gradient_norm=INF)
    assert run.monitor.decision.exit_code == 40


def gated(run: Any, step: int, **fields: Any) -> None:
    run.step(step, gated=True, **fields)


def test_gated_steps_are_told_and_the_engine_acts(run: Any) -> None:
    gated(run, 10, loss=1.0, non_finite_steps=0)
    gated(run, 11, non_finite_steps=1, bad_step=10, bad_component="generator/kl", bad_module="flow")
    finding = found(run)
    assert (finding.severity, finding.action, finding.step) == (
        Severity.WARNING,
        Action.GATED,
        10,
    )
    assert "generator/kl" in finding.evidence
    assert "flow" in finding.evidence
    for step in range(12, 30):
        gated(run, step, non_finite_steps=step - 10, bad_step=step - 1)
    assert found(run).severity is Severity.CRITICAL
    assert found(run).action is Action.GATED
    assert found(run).step == 10
    assert run.monitor.decision is None


def test_a_dropped_datagram_loses_no_nan(run: Any) -> None:
    gated(run, 10, non_finite_steps=0)
    gated(run, 20, non_finite_steps=7, bad_step=16)
    assert found(run).severity is Severity.CRITICAL
    assert "7 non-finite" in found(run).evidence


def test_value_and_counter_of_the_same_step_count_once(run: Any) -> None:
    gated(run, 10, loss=NAN, non_finite_steps=0)
    gated(run, 11, loss=1.0, non_finite_steps=1, bad_step=10)
    assert "1 non-finite" in found(run).evidence


def test_roll_back_restores_the_budget_and_heals_after_the_window(run: Any) -> None:
    for step in range(101, 106):
        gated(run, step, non_finite_steps=step - 101, bad_step=step - 1, rollbacks=0)
    assert found(run).severity is Severity.CRITICAL
    gated(run, 51, non_finite_steps=4, rollbacks=1)
    assert (found(run).severity, found(run).action) == (Severity.WARNING, Action.ROLLED_BACK)
    assert run.monitor.verdict is Verdict.WARNING
    for step in range(52, 251):
        gated(run, step, non_finite_steps=4, rollbacks=1)
        assert found(run).status is FindingStatus.ACTIVE
    gated(run, 251, non_finite_steps=4, rollbacks=1)
    assert (found(run).status, found(run).step) == (FindingStatus.HEALED, 101)
    assert run.monitor.verdict is Verdict.HEALTHY


def test_engine_that_gives_up_is_critical(run: Any) -> None:
    gated(run, 10, non_finite_steps=4, bad_step=9)
    run.monitor.finish(run.now, 40)
    assert (found(run).severity, found(run).action) == (Severity.CRITICAL, Action.STOPPED)
    assert run.monitor.decision is None


def test_a_run_that_ends_on_nan_has_not_completed(run: Any) -> None:
    run.say(1, loss=1.0)
    run.say(2, loss=0.0, gradient_norm=NAN)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision.exit_code == 40


def test_a_run_that_recovered_completes(run: Any) -> None:
    run.say(1, loss=NAN)
    run.say(2, loss=1.0)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision is None


def test_warn_never_decides(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(on_exceeded=OnExceeded.WARN))
    for step in range(1, 50):
        run.step(step, loss=NAN)
    assert run.monitor.decision is None
    assert found(run).severity is Severity.WARNING


def test_notify_says_what_it_would_have_done(run_with: Callable[..., Any]) -> None:
    stranger, ours = run_with(mode=HealthMode.NOTIFY), run_with(mode=HealthMode.NOTIFY)
    for step in range(1, 6):
        stranger.step(step, loss=NAN)
        gated(ours, step, loss=NAN)
    assert stranger.monitor.decision is None
    assert found(stranger).action is Action.WOULD_STOP
    assert found(ours).action is Action.WOULD_ROLL_BACK


def test_overflow_bursts_are_counted_one_by_one(run: Any) -> None:
    for step in range(1, 100):
        run.step(step, loss=2.0, gradient_norm=1.0 if step % 16 == 0 else INF)
    assert found(run).severity is Severity.INFO


def test_after_a_roll_back_one_more_bad_step_is_within_budget(run: Any) -> None:
    gated(run, 100, non_finite_steps=4, bad_step=99, rollbacks=0)
    gated(run, 50, non_finite_steps=4, rollbacks=1)
    gated(run, 51, non_finite_steps=5, bad_step=50, rollbacks=1)
    assert found(run).severity is Severity.WARNING
    assert "1 non-finite" in found(run).evidence


def test_a_disguised_nan_never_counts_as_a_zero_loss(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(on_exceeded=OnExceeded.WARN))
    for step in range(1, 60):
        run.step(step, loss=0.0, gradient_norm=NAN)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision is None
    assert run.rules == [Rule.NON_FINITE]


def test_a_bar_drawn_again_is_the_same_bad_step(run: Any) -> None:
    for step in (1, 1, 1, 2, 2, 2):
        run.say(step, loss=NAN)
    assert "2 non-finite" in found(run).evidence
    assert run.monitor.decision is None


def test_a_scaler_that_never_finds_its_scale_is_named_at_the_twentieth_report(run: Any) -> None:
    for step in range(1, 20):
        run.step(step, loss=1.0 + step / 7, gradient_norm=math.inf)
    assert run.finding(Rule.NON_FINITE).severity is Severity.INFO
    run.step(20, loss=1.0, gradient_norm=math.inf)
    assert run.finding(Rule.NON_FINITE).severity is not Severity.INFO


def test_a_bad_norm_counts_at_once_where_bad_steps_are_counted(run: Any) -> None:
    run.step(1, loss=1.0, gradient_norm=math.nan, non_finite_steps=0)
    assert run.finding(Rule.NON_FINITE).severity is Severity.WARNING


def test_steps_in_a_row_are_counted_beyond_the_window(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(skip_budget=15, window_steps=10))
    run.step(10, loss=1.0, non_finite_steps=10)
    assert run.monitor.decision is None
    run.step(20, loss=1.0, non_finite_steps=20)
    assert run.monitor.decision.exit_code == 40


def test_an_overflow_after_a_bad_loss_does_not_make_it_an_aside(run: Any) -> None:
    run.step(1, loss=NAN)
    run.step(2, loss=1.0, gradient_norm=INF)
    assert found(run).severity is Severity.WARNING


def test_a_second_overflow_is_told_with_the_first(run: Any) -> None:
    run.step(1, loss=1.0, gradient_norm=INF)
    run.step(2, loss=1.1, gradient_norm=INF)
    assert "2 report(s) in a row up to step 2" in found(run).evidence


def test_an_infinite_norm_beside_a_loss_beyond_all_bounds_is_an_explosion(run: Any) -> None:
    for step in range(1, 31):
        run.step(step, loss=0.05 + step % 7 * 1e-3, gradient_norm=0.5)
    run.step(31, loss=5.3e22, gradient_norm=math.inf)
    finding = run.finding(Rule.NON_FINITE)
    assert (finding.severity, finding.step) == (Severity.WARNING, 31)
    assert "beside a loss of 5.3e+22" in finding.evidence
    assert "no overflow of a scaler" in finding.evidence
    for step in range(32, 35):
        run.step(step, loss=5.3e22, gradient_norm=math.inf)
    assert run.monitor.decision.exit_code == 40


@pytest.mark.parametrize("loss", [0.05, 40.0, math.inf, None])
def test_an_infinite_norm_beside_any_other_loss_is_as_before(run: Any, loss: float | None) -> None:
    for step in range(1, 31):
        run.step(step, loss=0.05 + step % 7 * 1e-3, gradient_norm=0.5)
    run.step(31, loss=loss, gradient_norm=math.inf)
    told = "loss 'loss' is inf" if loss == math.inf else "a loss scaler's overflow"
    assert told in run.finding(Rule.NON_FINITE).evidence


def test_before_a_level_is_known_nothing_is_called_an_explosion(run: Any) -> None:
    for step in range(1, 5):
        run.step(step, loss=0.01, gradient_norm=0.5)
    run.step(5, loss=1e9, gradient_norm=math.inf)
    assert run.finding(Rule.NON_FINITE).severity is Severity.INFO
