"""GoalUnreachable: plans that cannot succeed, and scores that fall behind the loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.report import Plan
from speech_contract.scores import Better, ScoreSpec

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def evaluate(
    run: Any,
    *values: float,
    name: str = "dtw_mel",
    falls: bool = True,
    spec: ScoreSpec | None = None,
) -> None:
    """An evaluation each 20 steps, no two alike; the loss falls or rises by two per cent a step."""
    step = int(run.now)
    for exact in values:
        value = exact * (1.0 + 1e-9 * step)
        for _ in range(20):
            step += 1
            loss = 100.0 * (0.98 if falls else 1.02) ** step
            specs = None if spec is None else {name: spec}
            run.step(step, loss=loss, evaluation={name: value}, score_specs=specs)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (
            Plan(300, fresh=True, parameters=74_700_000, audio_seconds=165.0),
            "74700000 weights from random values on 165 s of audio: 4.53e+05 a second",
        ),
        (
            Plan(20_000, goal_snr=30.0, bits_per_second=6000.0),
            "a goal of 30 dB at 6 kbit/s, where no codec of speech exceeds 20.2 dB",
        ),
        (
            Plan(300, fresh=True, samples=33, batch_samples=16),
            "33 samples in batches of 16: an epoch has 2 steps, threshold 4",
        ),
        (Plan(300, fresh=True, held_out=3), "3 held-out samples, threshold 4"),
    ],
)
def test_a_plan_that_cannot_succeed_is_told_at_the_start(run: Any, plan: Plan, told: str) -> None:
    run.step(1, loss=1.0, plan=plan)
    finding = run.finding(Rule.GOAL_UNREACHABLE)
    assert finding.severity is Severity.WARNING
    assert told in finding.evidence
    evaluate(run, 1.0, 0.9, 0.8, 0.7)
    assert run.finding(Rule.GOAL_UNREACHABLE).status is FindingStatus.ACTIVE
    assert run.monitor.decision is None


@pytest.mark.parametrize(
    "plan",
    [
        Plan(800, fresh=True, parameters=955_669, audio_seconds=250.0),  # the quickstart
        Plan(20_000, fresh=True, parameters=83_000_000, audio_seconds=3600.0),
        Plan(300, fresh=False, parameters=83_000_000, audio_seconds=60.0),  # adapts
        Plan(40, fresh=True, parameters=955_669, audio_seconds=3.0),  # a trial
        Plan(800, fresh=True, parameters=955_669),
        Plan(800, fresh=True, parameters=955_669, audio_seconds=0.0),
        Plan(800, goal_snr=8.0, bits_per_second=6000.0),
        Plan(800, goal_snr=30.0),
        Plan(800, fresh=True, samples=64, batch_samples=16, held_out=4),
        Plan(800, fresh=True, held_out=0),
        Plan(800, fresh=False, samples=8, batch_samples=8, held_out=1),  # adapts
        Plan(199, fresh=True, samples=8, batch_samples=8, held_out=1),  # a trial
        Plan(),
    ],
)
def test_plans_that_may_succeed(run: Any, plan: Plan) -> None:
    run.step(1, loss=1.0, plan=plan)
    assert run.rules == []


def test_a_score_that_falls_behind_the_loss_is_told_and_heals(run: Any) -> None:
    evaluate(run, 1.5, 1.2, 1.0, 1.0, 1.0, 1.3, 1.4)
    assert run.rules == []
    evaluate(run, 1.6)
    finding = run.finding(Rule.GOAL_UNREACHABLE)
    assert "held-out dtw_mel went from 1 at step 61 to 1.6, worse in 3 eval" in finding.evidence
    evaluate(run, 1.5)
    assert run.finding(Rule.GOAL_UNREACHABLE).status is FindingStatus.HEALED


def test_a_score_that_should_rise_is_read_the_other_way(run: Any) -> None:
    evaluate(run, 5.0, 8.0, 8.0, 8.0, 6.0, 5.0, 4.0, name="si_snr")
    assert run.finding(Rule.GOAL_UNREACHABLE) is not None


@pytest.mark.parametrize(
    ("values", "name", "spec"),
    [
        ((5.0, 8.0, 8.0, 8.0, 6.0, 5.0, 4.0), "quality", ScoreSpec(Better.HIGHER)),
        ((5.0, 4.0, 4.0, 4.0, 6.0, 7.0, 8.0), "quality", ScoreSpec(Better.LOWER)),
        (
            (5.0, 4.0, 4.0, 4.0, 6.0, 7.0, 8.0),
            "accuracy",
            ScoreSpec(Better.LOWER),
        ),  # said, not guessed
        ((0.9, 1.0, 1.0, 1.0, 0.7, 1.4, 0.5), "length_ratio", ScoreSpec(Better.TARGET)),
    ],
)
def test_a_told_direction_is_used_whatever_the_name(
    run: Any, values: tuple[float, ...], name: str, spec: ScoreSpec
) -> None:
    evaluate(run, *values, name=name, spec=spec)
    assert f"held-out {name} went from {values[2]:g}" in run.finding(Rule.GOAL_UNREACHABLE).evidence


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        ((5.0, 8.0, 8.0, 8.0, 6.0, 5.0, 4.0), ScoreSpec(Better.LOWER)),
        ((5.0, 4.0, 4.0, 4.0, 6.0, 7.0, 8.0), ScoreSpec()),
        ((0.9, 1.0, 1.0, 1.0, 0.99, 1.02, 0.97), ScoreSpec(Better.TARGET)),
    ],
)
def test_a_told_direction_is_no_reason_to_warn_of_what_gets_better(
    run: Any, values: tuple[float, ...], spec: ScoreSpec
) -> None:
    evaluate(run, *values, name="dtw_mel", spec=spec)
    assert Rule.GOAL_UNREACHABLE not in run.rules


@pytest.mark.parametrize(
    ("values", "name", "falls"),
    [
        ((1.0, 1.0, 1.0, 2.0, 3.0, 4.0), "length_ratio", True),  # which way is better?
        ((1.0, 1.0, 1.0, 2.0, 3.0, 4.0), "eval_samples_per_second", True),
        ((1.0, 1.0, 1.0, 2.0, 3.0, 4.0), "dtw_mel", False),  # the loss rises with it
        ((1.0, 1.0, 1.0, 1.02, 1.04, 1.06), "dtw_mel", True),
        ((1.0, 1.0, 1.0, 1.5, 1.4, 1.5, 1.4), "dtw_mel", True),
        ((1.0, 0.5, 1.0, 1.01, 1.02, 1.03), "dtw_mel", True),  # one lucky evaluation
        ((1.0, 1.0, 1.0, math.nan, 2.0, 3.0), "dtw_mel", True),
    ],
)
def test_what_is_no_falling_behind(
    run: Any, values: tuple[float, ...], name: str, falls: bool
) -> None:
    evaluate(run, *values, name=name, falls=falls)
    assert Rule.GOAL_UNREACHABLE not in run.rules


LOSS = "codes/cross_entropy"
NATS = {"cross_entropy": ScoreSpec(Better.LOWER, "nat/code")}


def compare(run: Any, trained: float, *held_out: float, specs: Any = NATS) -> None:
    """An evaluation each 20 steps, no two alike, beside a training loss that hardly moves."""
    step = int(run.now)
    for value in held_out:
        scores = {"cross_entropy": value + 1e-9 * step}
        for _ in range(20):
            step += 1
            losses = {"total": trained + 1e-6 * step, LOSS: trained + 1e-6 * step}
            run.step(step, losses=losses, evaluation=scores, score_specs=specs)


def test_a_loss_far_below_the_held_out_one_is_told_and_heals(run: Any) -> None:
    compare(run, 0.9, 4.0, 4.0)
    compare(run, 0.9, 4.0)
    assert run.alarms == []
    compare(run, 0.9, 4.0)  # the first one began to watch the component
    assert run.alarms == [Rule.GOAL_UNREACHABLE]
    finding = run.finding(Rule.GOAL_UNREACHABLE)
    assert f"{LOSS} is 0.9001 in training and 4 held out, below 0.25 of it in 3" in finding.evidence
    compare(run, 2.0, 4.0, 4.0)
    assert run.finding(Rule.GOAL_UNREACHABLE).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    ("trained", "specs"),
    [(1.1, NATS), (0.9, None), (0.9, {"cross_entropy": ScoreSpec(Better.HIGHER)})],
    ids=["not far", "a stranger's", "no loss"],
)
def test_what_is_not_far_below(run: Any, trained: float, specs: Any) -> None:
    compare(run, trained, *[4.0] * 6, specs=specs)
    assert Rule.GOAL_UNREACHABLE not in run.alarms


def test_an_evaluation_that_is_no_worse_than_the_one_before_ends_the_row(run: Any) -> None:
    for step, value in enumerate((1.0, 1.0, 1.0, 1.5, 1.5, 1.6), start=1):
        scores = {"dtw_mel": value, "length_ratio": step / 7}  # the other tells evaluations apart
        run.step(step, loss=1.0 / step, evaluation=scores)
    assert run.rules == []


@quick
@given(values=st.lists(st.floats(0.5, 0.599), min_size=1, max_size=40))
def test_never_while_scores_stay_within_their_share(
    run_with: Callable[..., Any], values: list[float]
) -> None:
    run = run_with()
    evaluate(run, *values)
    assert Rule.GOAL_UNREACHABLE not in run.rules


@quick
@given(
    level=st.floats(1e-3, 1e3),
    before=st.integers(3, 10),
    rises=st.lists(st.floats(1.21, 3.0), min_size=3, max_size=3),
)
def test_always_at_the_third_worse_evaluation(
    run_with: Callable[..., Any], level: float, before: int, rises: list[float]
) -> None:
    run = run_with()
    evaluate(run, *[level] * before)
    for value in list(itertools.accumulate(rises, lambda a, b: a * b))[:2]:
        evaluate(run, level * value)
        assert Rule.GOAL_UNREACHABLE not in run.rules
    evaluate(run, level * math.prod(rises))
    assert run.finding(Rule.GOAL_UNREACHABLE) is not None
