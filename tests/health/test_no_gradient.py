"""Rule NoGradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule
from speech_contract.thresholds import HealthMode, NoGradient, OnExceeded
from speech_health import no_gradient
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.samples import Source, StepSample, from_fields
from speech_health.stretch import stretch_of


@pytest.mark.parametrize("rate", [2e-5, None])
def test_two_zero_norms_stop_the_run(run: Any, rate: float | None) -> None:
    run.step(1, loss=4.2, gradient_norm=0.0, learning_rate=rate)
    assert run.rules == []
    run.step(2, loss=4.2, gradient_norm=0.0, learning_rate=rate)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.finding.rule) == (41, Rule.NO_GRADIENT)
    assert "2 report(s)" in decision.finding.evidence


@pytest.mark.parametrize(
    "fields",
    [
        {"gradient_norm": 0.0, "learning_rate": 0.0},
        {"gradient_norm": 1e-30, "learning_rate": 1e-3},
        {"learning_rate": 1e-3},
    ],
    ids=["warm-up at rate 0", "tiny norm", "norm never reported"],
)
def test_healthy_or_silent_runs_are_not_accused(run: Any, fields: dict[str, float]) -> None:
    for step in range(1, 30):
        run.step(step, loss=1.0, **fields)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_reports_without_a_norm_between_do_not_acquit(run: Any) -> None:
    for step in range(1, 12):
        run.step(step, gradient_norm=0.0 if step % 10 == 1 else None)
    assert run.monitor.decision.exit_code == 41


def test_the_same_step_again_is_no_second_update(run: Any) -> None:
    run.step(1, gradient_norm=0.0)
    run.step(1, gradient_norm=0.0)
    assert run.rules == []


def test_dead_modules_are_named_after_the_first_steps(run: Any) -> None:
    run.step(1, missing_gradients=["duration", "flow", "decoder"])
    run.step(2, missing_gradients=["flow", "duration"])
    assert run.rules == []
    run.step(3, missing_gradients=["duration", "flow", "encoder"])
    decision = run.monitor.decision
    assert decision.exit_code == 41
    assert decision.finding.evidence.endswith("duration, flow")


def test_modules_that_all_had_a_gradient_do_not_excuse_a_norm_of_0(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(no_gradient=NoGradient(on_exceeded=OnExceeded.WARN))
    for step in range(1, 5):
        run.step(step, gradient_norm=0.0, missing_gradients=[])
    assert run.finding(Rule.NO_GRADIENT).status is FindingStatus.ACTIVE


def test_a_module_that_got_one_gradient_is_alive(run: Any) -> None:
    run.step(1, missing_gradients=["flow"])
    run.step(2, missing_gradients=[])
    for step in range(3, 20):
        run.step(step, missing_gradients=["flow"])
    assert run.rules == []


def test_steps_without_updates_are_convicted_at_exit(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, loss=1.0, updates=0)
    assert run.rules == []
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision.exit_code == 41
    assert "5 steps and 0 optimizer updates" in run.monitor.decision.finding.evidence


@pytest.mark.parametrize("updates", [None, 1])
def test_updates_unknown_or_made_complete(run: Any, updates: int | None) -> None:
    for step in range(1, 6):
        run.step(step, loss=1.0, updates=updates)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_a_crash_is_not_judged(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, updates=0)
    run.monitor.finish(run.now, 1)
    assert run.rules == []


def test_warning_heals_with_a_gradient(run_with: Callable[..., Any]) -> None:
    run = run_with(no_gradient=NoGradient(on_exceeded=OnExceeded.WARN))
    for step in range(1, 4):
        run.step(step, gradient_norm=0.0)
    assert run.rules == [Rule.NO_GRADIENT]
    run.step(4, gradient_norm=0.7)
    assert run.finding(Rule.NO_GRADIENT).status is FindingStatus.HEALED


def test_batches_with_nothing_to_learn_from_are_left_to_zero_loss(run: Any) -> None:
    for step in range(1, 10):
        run.step(step, loss=1.0 + step / 7, gradient_norm=1.0)
    for step in range(10, 29):
        run.step(step, loss=0.0, gradient_norm=0.0)
    assert run.rules == []
    run.step(29, loss=0.0, gradient_norm=0.0)
    assert run.rules == [Rule.ZERO_LOSS]


def test_from_the_start_they_are_not(run: Any) -> None:
    for step in (1, 2):
        run.step(step, loss=0.0, gradient_norm=0.0)
    assert Rule.NO_GRADIENT in run.rules


@pytest.mark.parametrize(("steps", "stops"), [(1, False), (2, True)])
def test_a_run_that_never_updates_needs_as_many_steps_as_updates_are_asked_for(
    run_with: Callable[..., Any], steps: int, stops: bool
) -> None:
    """Two steps may end without an update of accumulated gradients only where two are a fault."""
    run = run_with(no_gradient=NoGradient(for_updates=2))
    for step in range(8, 8 + steps):
        run.step(step, loss=1.0 + step, updates=0)
    run.monitor.finish(run.now, 0)
    assert (run.monitor.decision is not None) is stops


def test_equal_rewards_leave_no_gradient_and_prove_nothing(run: Any) -> None:
    for step in range(1, 60):
        equal = step % 12 in (6, 7, 8)
        norm, spread = (0.0, 0.0) if equal else (0.7, 0.2)
        run.step(step, loss=0.002, gradient_norm=norm, reward=0.4, reward_spread=spread)
    assert run.rules == []


def test_zero_norms_behind_a_nan_are_left_to_non_finite(run: Any) -> None:
    run.step(1, loss=2.0, gradient_norm=1.0)
    for step in range(2, 12):
        run.step(step, loss=math.nan, gradient_norm=0.0)
    assert run.rules == [Rule.NON_FINITE]


def norms(run: Any, *values: float, first: int = 1, **fields: Any) -> None:
    for step, norm in enumerate(values, start=first):
        run.step(step, **{"loss": 2.0, "gradient_norm": norm} | fields)


@pytest.mark.parametrize(
    ("told", "fields", "fires"),
    [
        ([0.0, 1.0, 0.0], {}, False),
        ([1.0, 0.0, 0.0], {}, True),
        ([0.0, 0.0], {"learning_rate": 0.5}, True),
        ([0.0, 0.0], {"learning_rate": -0.5}, False),
        ([0.0, 0.0], {"reward": 0.4}, True),  # a policy that never had a gradient
        ([0.0, 0.0], {"reward_spread": 1.0}, True),
        ([0.0, 0.0], {"reward_spread": 0.0}, False),
        ([1.0, 0.0, 0.0], {"reward": 0.4}, False),
        ([1.0, 0.0, 0.0], {"reward_spread": 1.0}, False),
    ],
)
def test_which_zero_norms_accuse(
    run: Any, told: list[float], fields: dict[str, Any], fires: bool
) -> None:
    norms(run, *told, **fields)
    assert (run.rules == [Rule.NO_GRADIENT]) is fires


def test_it_tells_how_many_up_to_which_step_and_from_where(run: Any) -> None:
    norms(run, 1.0, 0.0, 0.0, first=8, rank=3, learning_rate=2e-5)
    finding = run.finding(Rule.NO_GRADIENT)
    assert (finding.rank, finding.step) == (3, 10)
    assert finding.evidence == (
        "gradient norm exactly 0 in 2 report(s) in a row up to step 10 at learning rate 2e-05, threshold 2"
    )


def test_a_step_that_is_told_again_at_0_counts_no_more_than_its_first_report(run: Any) -> None:
    norms(run, 1.0)
    norms(run, 0.0, 0.0)
    assert run.rules == []
    norms(run, 0.0, first=3)
    assert run.rules == [Rule.NO_GRADIENT]


@pytest.mark.parametrize(
    ("bad", "then", "fires_at"),
    [
        ({"loss": math.nan, "gradient_norm": 0.0}, [], 23),
        ({"loss": math.nan, "gradient_norm": 1.0}, [], 24),
        ({"loss": 2.0, "gradient_norm": math.nan}, [], 24),
        ({"loss": 2.0, "gradient_norm": math.nan}, [0.0, 1.0], 6),  # a sound norm ends it
    ],
)
def test_twenty_zero_norms_behind_a_bad_report_are_not_counted(
    run_with: Callable[..., Any], bad: dict[str, float], then: list[float], fires_at: int
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    run.step(1, loss=2.0, gradient_norm=1.0)
    run.step(2, **bad)
    norms(run, *then, first=3)
    step = 3 + len(then)
    while run.finding(Rule.NO_GRADIENT) is None:
        norms(run, 0.0, first=step)
        step += 1
    assert run.finding(Rule.NO_GRADIENT).step == fires_at


@pytest.mark.parametrize(
    ("steps", "for_updates", "told", "fires"),
    [
        ([0, 1], 2, [0, 0], True),
        ([0], 1, [0], False),  # not one step was made
        ([1], 1, [0], True),
        ([7, 8], 3, [0, 0], False),
        ([1, 2], 2, [0, None], True),
        ([1, 2], 2, [0, 1], False),
    ],
)
def test_which_runs_without_an_update_are_convicted_at_exit(
    run_with: Callable[..., Any],
    steps: list[int],
    for_updates: int,
    told: list[int | None],
    fires: bool,
) -> None:
    run = run_with(no_gradient=NoGradient(for_updates=for_updates))
    for step, updates in zip(steps, told, strict=True):
        run.step(step, rank=2, loss=1.0, updates=updates)
    run.monitor.finish(run.now, 0)
    finding = run.finding(Rule.NO_GRADIENT)
    assert (finding is not None) is fires
    if finding is not None:
        assert (finding.step, finding.rank) == (steps[-1], 2)


def dead(run: Any, step: int, *modules: str, **fields: Any) -> None:
    run.step(step, missing_gradients=list(modules), **fields)


def test_the_same_step_named_again_is_no_other_step(run: Any) -> None:
    for step in (1, 1, 2, 2):
        dead(run, step, "flow")
    assert run.rules == []
    dead(run, 3, "flow")
    assert run.finding(Rule.NO_GRADIENT).evidence == (
        "no gradient in 1 trainable module(s) in each of the first 3 step(s): flow"
    )


@pytest.mark.parametrize(
    ("number", "named"), [(8, ": a, b, c, d, e, f, g, h"), (9, ", g, h and 1 more")]
)
def test_eight_dead_modules_are_named(
    run_with: Callable[..., Any], number: int, named: str
) -> None:
    run = run_with(no_gradient=NoGradient(first_steps=1))
    dead(run, 1, *reversed("abcdefghi"[:number]))
    assert run.finding(Rule.NO_GRADIENT).evidence.endswith(named)


def test_dead_modules_heal_with_their_gradient_and_not_with_a_norm(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(no_gradient=NoGradient(first_steps=1, on_exceeded=OnExceeded.WARN))
    dead(run, 1, "flow", "decoder", gradient_norm=0.7)
    dead(run, 2, "flow", gradient_norm=0.7)
    assert run.finding(Rule.NO_GRADIENT).status is FindingStatus.ACTIVE
    dead(run, 3, gradient_norm=0.7)
    finding = run.finding(Rule.NO_GRADIENT)
    assert finding.status is FindingStatus.HEALED
    assert finding.evidence.endswith("flow; healed: every module had a gradient by step 3")
    dead(run, 4, gradient_norm=0.7)
    assert run.finding(Rule.NO_GRADIENT) == finding


def test_zero_norms_heal_when_no_rank_has_a_module_that_may_be_dead(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(no_gradient=NoGradient(on_exceeded=OnExceeded.WARN))
    norms(run, 0.0, 0.0)
    dead(run, 1, "flow", rank=1)
    norms(run, 0.7, first=3)
    assert run.finding(Rule.NO_GRADIENT).status is FindingStatus.ACTIVE
    dead(run, 2, rank=1)
    finding = run.finding(Rule.NO_GRADIENT)
    assert finding.status is FindingStatus.HEALED


def test_a_calm_stretch_is_passed_over_unless_there_is_a_finding() -> None:
    rule = no_gradient.NoGradient(NoGradient(), Attempt(HealthMode.NOTIFY, float, Pace(0.0)))
    stretch = stretch_of(
        [
            from_fields({"time": 0.0, "now": 0.0, "rank": 0, "step": step, "gradient_norm": 0.5})
            for step in range(2, 9)
        ]
    )
    assert stretch is not None
    zeros = [StepSample(0.0, 0.0, 0, step, gradient_norm=0.0) for step in (1, 8, 9, 10)]
    rule.feed(zeros[0])
    assert rule.pass_over(stretch)
    for zero in zeros[1:]:  # the first of them is the last of the stretch again
        assert not rule.active
        rule.feed(zero)
    assert rule.active
    assert not rule.pass_over(stretch)
    assert rule.active


@pytest.mark.parametrize(
    ("source", "loss", "told"),
    [
        (Source.STDOUT, 1.59, False),
        (Source.STDOUT, 1.6, True),
        (Source.STDOUT, 0.0, True),
        (Source.STDOUT, None, True),
        (Source.REPORTER, 1.0, True),
    ],
)
def test_a_printed_zero_beside_a_loss_that_fell_by_a_fifth_is_no_norm(
    run: Any, source: Source, loss: float | None, told: bool
) -> None:
    run.step(1, source=source, loss=2.0, gradient_norm=0.0)
    run.step(2, source=source, loss=loss, gradient_norm=0.0)
    assert (run.finding(Rule.NO_GRADIENT) is not None) is told
