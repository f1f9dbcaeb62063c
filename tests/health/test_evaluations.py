"""Held-out scores that say nothing: not finite (NonFinite), or the same to the bit (NotUpdating)."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_health.evaluations import BadScores, Evaluations, same
from speech_health.samples import StepSample

NAN = math.nan
EXACT = 3.1234567891234


def evaluate(run: Any, first: int, last: int, **scores: float) -> None:
    """A file's rows: in each a report and an evaluation."""
    for step in range(first, last + 1):
        run.step(step, loss=2.0 + math.sin(step) / 9, evaluation=dict(scores), evaluated=True)


def test_a_held_out_loss_that_is_not_finite_is_a_warning_and_heals(run: Any) -> None:
    evaluate(run, 1, 1, eval_loss=NAN)
    assert run.alarms == []
    evaluate(run, 2, 300, eval_loss=NAN)
    finding = run.finding(Rule.NON_FINITE)
    assert (finding.severity, finding.step) == (Severity.WARNING, 1)
    assert "'eval_loss' is not finite in 300 evaluations in a row since step 1" in finding.evidence
    assert "held-out data" in finding.remedy
    assert run.monitor.decision is None
    evaluate(run, 301, 301, eval_loss=1.5)
    assert run.finding(Rule.NON_FINITE).status is FindingStatus.HEALED


def test_training_that_is_not_finite_speaks_first(run: Any) -> None:
    evaluate(run, 1, 3, eval_loss=NAN)
    run.step(4, loss=NAN)
    assert "loss 'loss' is nan" in run.finding(Rule.NON_FINITE).evidence
    evaluate(run, 5, 8, eval_loss=NAN)
    assert "loss 'loss' is nan" in run.finding(Rule.NON_FINITE).evidence
    for step in range(9, 14):
        run.step(step, loss=NAN)
    assert run.finding(Rule.NON_FINITE).severity is Severity.CRITICAL


def test_a_score_that_was_never_finite_is_information(run: Any) -> None:
    evaluate(run, 1, 9, eval_auc=NAN, eval_loss=1.0)
    assert run.alarms == []
    assert run.finding(Rule.NON_FINITE).severity is Severity.INFO


def test_a_score_that_was_finite_is_a_warning(run: Any) -> None:
    evaluate(run, 1, 1, eval_wer=0.5)
    evaluate(run, 2, 3, eval_wer=NAN)
    assert run.alarms == [Rule.NON_FINITE]


def test_a_report_that_repeats_the_newest_scores_is_no_evaluation(run: Any) -> None:
    for step in range(1, 50):
        run.step(step, loss=2.0 + math.sin(step), evaluation={"eval_loss": NAN, "wer": EXACT})
    assert run.alarms == []


@pytest.mark.parametrize("name", ["eval_loss", "cross_entropy", "val-NLL"])
def test_a_held_out_loss_that_stands_still_to_the_bit_is_told(run: Any, name: str) -> None:
    evaluate(run, 1, 3, **{name: EXACT})
    assert run.alarms == []
    evaluate(run, 4, 4, **{name: EXACT})
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding.severity, finding.step) == (Severity.WARNING, 1)
    assert f"exactly {EXACT} in 4 evaluations in a row, steps 1 to 4" in finding.evidence
    evaluate(run, 5, 5, **{name: EXACT + 1e-9})
    assert run.finding(Rule.NOT_UPDATING).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    "scores",
    [
        {"eval_loss": 0.6931},  # rounded
        {"eval_loss": 0.0},
        {"eval_accuracy": 17 / 132},  # counted
        {"eval_wer": 1.0},
        {"eval_perplexity": math.exp(20)},  # cut off
    ],
)
def test_what_may_repeat_is_no_fault(run: Any, scores: dict[str, float]) -> None:
    evaluate(run, 1, 20, **scores)
    assert run.alarms == []


def test_while_the_rate_is_0_nothing_has_to_move(run: Any) -> None:
    for step in range(1, 30):
        loss = {"eval_loss": EXACT}
        run.step(step, loss=2.0, learning_rate=0.0, evaluation=loss, evaluated=True)
    assert run.alarms == []


def test_the_last_evaluation_once_more_is_none() -> None:
    def report(step: int, scores: dict[str, float], phase: Phase = Phase.TRAINING) -> StepSample:
        return StepSample(time=0.0, now=0.0, rank=0, step=step, phase=phase, evaluation=scores)

    seen = Evaluations()
    assert seen.fresh(report(10, {"loss": 1.0}, Phase.EVALUATION))
    assert not seen.fresh(report(10, {"loss": 1.0}, Phase.EVALUATION))
    assert not seen.fresh(report(11, {"loss": 1.0}))
    assert seen.fresh(report(20, {"loss": 1.0}, Phase.EVALUATION))
    assert seen.fresh(report(20, {"loss": 0.9}, Phase.EVALUATION))


@pytest.mark.parametrize("scores", [None, {}])
def test_a_report_without_scores_is_no_evaluation(scores: dict[str, float] | None) -> None:
    seen = Evaluations()
    report = StepSample(0.0, 0.0, 0, 1, evaluation=scores, evaluated=True, phase=Phase.EVALUATION)
    assert not seen.fresh(report)
    assert (seen.step, seen.scores) == (None, None)


def test_a_row_of_bad_scores_begins_anew_behind_a_finite_one() -> None:
    bad = BadScores()
    for step, value in enumerate((NAN, NAN, 0.5, NAN), start=1):
        bad.take({"wer": value}, step)
    assert bad.worst(2) is None
    bad.take({"wer": NAN}, 5)
    assert bad.worst(2) == ("wer", 2, 4, True)


def test_the_longest_row_is_told_and_a_sure_fault_before_it() -> None:
    bad = BadScores()
    for step in range(1, 6):
        late = {"auc": NAN} if step > 2 else {}
        bad.take({"pesq": NAN, **late}, step)
    assert bad.worst(2) == ("pesq", 5, 1, False)
    for step in (6, 7):
        bad.take({"eval_loss": NAN}, step)
    assert bad.worst(2) == ("eval_loss", 2, 6, True)


def test_nan_is_the_same_as_nan() -> None:
    assert same({"loss": NAN, "wer": 1.0}, {"loss": float("nan"), "wer": 1.0})
    assert not same({"loss": NAN}, {"loss": 1.0})
    assert not same({"loss": 1.0}, {"wer": 1.0})


def test_a_score_beside_a_nan_is_not_counted_anew_with_each_report(run: Any) -> None:
    """A live run repeats its newest scores; NaN differs from itself, an evaluation does not."""
    for step in range(1, 200):
        loss = 2.0 if step < 3 else 2.0 + math.sin(step) / 9
        error = 0.5 if step < 3 else 0.9
        run.step(step, loss=loss, evaluation={"auc": float("nan"), "wer": error})
    assert run.finding(Rule.GOAL_UNREACHABLE) is None
