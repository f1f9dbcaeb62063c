"""Thresholds and run config: built right or refused with field and remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from speech_contract import course
from speech_contract import run_config as rc
from speech_contract import thresholds as t
from speech_contract.actions import OnExceeded, only
from speech_contract.codec import from_document, to_document
from speech_contract.errors import ContractError
from speech_contract.recipes import RecipeSpec, VitsRecipe


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: t.NonFinite(skip_budget=-1), "skipBudget"),
        (lambda: t.NonFinite(window_steps=0), "windowSteps"),
        (lambda: t.NonFinite(on_exceeded=t.OnExceeded.RESTART), "onExceeded"),
        (lambda: t.NonFinite(bad_evaluations=0), "badEvaluations"),
        (lambda: t.ZeroLoss(for_steps=0), "forSteps"),
        (lambda: t.ZeroLoss(on_exceeded=t.OnExceeded.ROLLBACK), "onExceeded"),
        (lambda: t.NoGradient(for_updates=0), "forUpdates"),
        (lambda: t.SkippedSamples(warn_ratio="0.5", max_ratio="0.1"), "warnRatio"),
        (lambda: t.SkippedSamples(max_ratio="nan"), "maxRatio"),
        (lambda: t.SkippedSamples(max_ratio="x"), "maxRatio"),
        (lambda: t.Stall(floor_seconds=0), "floorSeconds"),
        (lambda: t.LossSpike(z_score="-1"), "zScore"),
        (lambda: t.LossSpike(z_score="nan"), "zScore"),
        (lambda: t.LossSpike(factor="1"), "factor"),
        (lambda: t.LossSpike(window_steps=5), "windowSteps"),
        (lambda: t.LossSpike(on_exceeded=t.OnExceeded.STOP), "onExceeded"),
        (lambda: t.GradientSpike(for_steps=0), "forSteps"),
        (lambda: t.ConstantComponent(for_reports=1), "forReports"),
        (lambda: t.ConstantComponent(on_exceeded=t.OnExceeded.RESTART), "onExceeded"),
        (lambda: t.NotUpdating(min_updates=0), "minUpdates"),
        (lambda: t.NotUpdating(min_rate_sum="-1"), "minRateSum"),
        (lambda: t.NotUpdating(min_rate_sum="nan"), "minRateSum"),
        (lambda: t.NotUpdating(on_exceeded=t.OnExceeded.RESTART), "onExceeded"),
        (lambda: t.NotUpdating(zero_rate_reports=0), "zeroRateReports"),
        (lambda: t.NotUpdating(equal_evaluations=1), "equalEvaluations"),
        (lambda: course.Plateau(for_reports=15), "forReports"),
        (lambda: course.Plateau(on_exceeded=OnExceeded.STOP), "onExceeded"),
        (lambda: course.Slowdown(factor="1"), "factor"),
        (lambda: course.Slowdown(factor="nan"), "factor"),
        (lambda: course.Slowdown(for_reports=1), "forReports"),
        (lambda: course.Slowdown(on_exceeded=OnExceeded.RESTART), "onExceeded"),
        (lambda: only(t.Telemetry(), OnExceeded.STOP), "onExceeded"),
        (lambda: t.ScheduleMismatch(tolerance="0"), "tolerance"),
        (lambda: t.ScheduleMismatch(tolerance="nan"), "tolerance"),
        (lambda: t.ScheduleMismatch(for_reports=0), "forReports"),
        (lambda: t.ScheduleMismatch(on_exceeded=t.OnExceeded.RESTART), "onExceeded"),
        (lambda: t.MemoryGrowth(share="0"), "share"),
        (lambda: t.MemoryGrowth(window_seconds=0), "windowSeconds"),
        (lambda: t.MemoryGrowth(on_exceeded=t.OnExceeded.STOP), "onExceeded"),
        (lambda: t.CodebookCollapse(min_perplexity_share="1.5"), "minPerplexityShare"),
        (lambda: t.CodebookCollapse(max_dead_share="nan"), "maxDeadShare"),
        (lambda: t.CodebookCollapse(min_movement="-1"), "minMovement"),
        (lambda: t.CodebookCollapse(max_residual_ratio="0"), "maxResidualRatio"),
        (lambda: t.CodebookCollapse(stop_perplexity="1"), "stopPerplexity"),
        (lambda: t.CodebookCollapse(grace_steps=-1), "graceSteps"),
        (lambda: t.CodebookCollapse(for_steps=0), "forSteps"),
        (lambda: t.CodebookCollapse(on_exceeded=t.OnExceeded.RESTART), "onExceeded"),
        (lambda: t.Implausible(max_real_time_factor="0"), "maxRealTimeFactor"),
        (lambda: t.Implausible(window_seconds=0), "windowSeconds"),
        (lambda: t.Implausible(on_exceeded=t.OnExceeded.RESTART), "onExceeded"),
        (lambda: t.GoalUnreachable(max_parameters_per_second="0"), "maxParametersPerSecond"),
        (lambda: t.GoalUnreachable(worsening_ratio="nan"), "worseningRatio"),
        (lambda: t.GoalUnreachable(worsening_evaluations=0), "worseningEvaluations"),
        (lambda: t.GoalUnreachable(on_exceeded=t.OnExceeded.STOP), "onExceeded"),
        (lambda: t.RankDivergence(every_steps=0), "everySteps"),
        (lambda: t.RankDivergence(gradient_factor="1"), "gradientFactor"),
        (lambda: t.RankDivergence(gradient_factor="nan"), "gradientFactor"),
        (lambda: t.RankDivergence(wait_ratio="1.5"), "waitRatio"),
        (lambda: t.RankDivergence(wait_ratio="-0.1"), "waitRatio"),
        (lambda: t.RankDivergence(for_samples=0), "forSamples"),
        (lambda: t.RankDivergence(skew_steps=0), "skewSteps"),
        (lambda: t.RankDivergence(on_exceeded=t.OnExceeded.STOP), "onExceeded"),
        (lambda: t.Preflight(timeout_seconds=0), "timeoutSeconds"),
        (lambda: t.Telemetry(on_exceeded=t.OnExceeded.STOP), "onExceeded"),
        (lambda: rc.Training(max_steps=0), "maxSteps"),
        (lambda: rc.Training(global_batch_size=0), "globalBatchSize"),
        (lambda: rc.Training(seed=-1), "seed"),
        (lambda: rc.Checkpoint("x", keep_last=0), "keepLast"),
        (lambda: rc.Data(rc.DataSet("x"), max_samples=0), "maxSamples"),
        (lambda: rc.StrategicLogging(every_steps=0), "everySteps"),
        (lambda: VitsRecipe(learning_rate="inf"), "learningRate"),
        (lambda: VitsRecipe(adversarial_start_step=-1), "adversarialStartStep"),
    ],
)
def test_a_threshold_out_of_range_is_refused_by_name(
    build: Callable[[], object], field: str
) -> None:
    with pytest.raises(ContractError) as caught:
        build()
    assert caught.value.field == field
    assert caught.value.remedy


def test_defaults_are_the_designs() -> None:
    d = t.Thresholds()
    assert (d.non_finite.skip_budget, d.non_finite.window_steps) == (3, 200)
    assert (d.non_finite.confirm_steps, d.non_finite.max_rollbacks) == (100, 2)
    assert d.zero_loss.for_steps == 20
    assert d.loss_spike.window_steps < d.non_finite.confirm_steps
    assert (d.skipped_samples.warn_ratio, d.skipped_samples.max_ratio) == ("0.01", "0.05")
    assert (d.stall.step_multiplier, d.stall.floor_seconds, d.stall.startup_seconds) == (
        3,
        60,
        1800,
    )
    assert (d.telemetry.missing_seconds, d.telemetry.stale_seconds) == (300, 120)
    assert from_document(t.Thresholds, to_document(d)) == d


@pytest.mark.parametrize("health", t.HealthMode)
@pytest.mark.parametrize("preflight", t.HealthMode)
def test_the_weaker_mode_holds_for_the_preflight(
    health: t.HealthMode, preflight: t.HealthMode
) -> None:
    strength = [t.HealthMode.ENFORCE, t.HealthMode.NOTIFY, t.HealthMode.OFF]
    mode = t.Thresholds(mode=health, preflight=t.Preflight(mode=preflight)).preflight_mode
    assert strength.index(mode) == max(strength.index(health), strength.index(preflight))


def test_the_recipe_that_is_set_has_a_name() -> None:
    assert RecipeSpec(vits=VitsRecipe()).name == "vits"


def test_a_token_is_stable_and_tells_attempts_apart() -> None:
    # SHA-256 of "uid-1/2", first 32 hex digits
    assert rc.attempt_token("uid-1", 2) == rc.attempt_token("uid-1", 2)
    assert rc.attempt_token("uid-1", 2) != rc.attempt_token("uid-1", 3)
    assert len(rc.attempt_token("uid-1", 2)) == 32
