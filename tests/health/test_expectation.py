"""Expectation: a component outside of the range that a person stated, whatever they call it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.exit_codes import EXIT_DIVERGED
from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.stated import Expectation
from speech_contract.thresholds import OnExceeded
from speech_health.expectation import WHOLE, folded

BOUND = Expectation(max="2.0", for_reports=3)


@pytest.fixture
def expecting(run_with: Callable[..., Any]) -> Callable[..., Any]:
    """A run with expectations by name."""
    return lambda **stated: run_with(expect=stated)


def follow(run: Any, *values: float, name: str = "vq_loss", first: int = 1) -> None:
    """Reports in which the whole loss moves, so that nothing else has a word."""
    for step, value in enumerate(values, start=first):
        run.step(step, losses={"loss": 1.0 + 0.01 * step, name: value})


def test_outside_for_three_reports_is_a_warning_that_heals_inside(
    expecting: Callable[..., Any],
) -> None:
    run = expecting(vqLoss=BOUND)
    follow(run, 1.9, 2.0, 2.1, 2.2)
    assert run.rules == []
    follow(run, 2.25, first=5)
    finding = run.finding(Rule.EXPECTATION)
    assert (finding.severity, finding.action, finding.step) == (
        Severity.WARNING,
        Action.WARNED,
        3,
    )
    assert finding.evidence == (
        "loss component 'vq_loss' is 2.25 at step 5, expected max 2.0: outside in 3 report(s) in a row since step 3"
    )
    assert run.monitor.verdict is Verdict.WARNING
    follow(run, 2.0, first=6)
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.HEALED


def test_a_report_inside_starts_the_count_anew(expecting: Callable[..., Any]) -> None:
    run = expecting(vqLoss=BOUND)
    follow(run, *[3.0, 3.1, 1.0] * 10)
    assert run.rules == []


def test_a_least_value_and_a_first_step(expecting: Callable[..., Any]) -> None:
    run = expecting(kl=Expectation(min="0.1", from_step=10, for_reports=2))
    follow(run, *[0.01 + 0.001 * k for k in range(10)], name="kl")
    assert run.rules == []
    follow(run, 0.05, name="kl", first=11)
    assert "expected min 0.1" in run.finding(Rule.EXPECTATION).evidence


def test_stop_ends_the_attempt_as_diverged(expecting: Callable[..., Any]) -> None:
    run = expecting(vqLoss=Expectation(max="2.0", for_reports=1, on_exceeded=OnExceeded.STOP))
    follow(run, 5.0)
    assert run.monitor.decision.exit_code == EXIT_DIVERGED


@pytest.mark.parametrize(
    "name", ["vq_loss", "VQ loss", "vqLoss", "loss/vq", "train/vq_loss", "losses/gen/vq", "vq"]
)
def test_names_match_without_case_signs_and_the_word_loss(
    expecting: Callable[..., Any], name: str
) -> None:
    run = expecting(vqLoss=Expectation(max="2.0", for_reports=1))
    follow(run, 5.0, name=name)
    assert run.rules == [Rule.EXPECTATION]


@pytest.mark.parametrize("name", ["vq2_loss", "commit", "loss_vqq", "vq_loss/mean"])
def test_another_component_is_another(expecting: Callable[..., Any], name: str) -> None:
    run = expecting(vqLoss=Expectation(max="2.0", for_reports=1))
    follow(run, 5.0, name=name)
    assert run.rules == []


@pytest.mark.parametrize("stated", ["loss", "total", "totalLoss", "train_loss"])
def test_the_whole_loss_has_a_range_too(expecting: Callable[..., Any], stated: str) -> None:
    assert folded(stated) == WHOLE
    run = expecting(**{stated: Expectation(max="1.005", for_reports=1)})
    follow(run, 1.0)
    assert run.rules == [Rule.EXPECTATION]


def test_what_is_not_finite_is_another_rules(expecting: Callable[..., Any]) -> None:
    run = expecting(vqLoss=Expectation(max="2.0", for_reports=1))
    follow(run, math.nan, math.inf)
    assert run.rules == [Rule.NON_FINITE]


def test_components_that_a_script_prints_beside_its_loss_are_looked_at(
    expecting: Callable[..., Any],
) -> None:
    run = expecting(vqLoss=BOUND)
    for step in range(1, 4):
        run.say(step, loss=1.0 + step, parts={"vq_loss": 3.0})
    assert run.rules == [Rule.EXPECTATION]
    run.step(4, losses={"loss": 1.0, "vq": 1.0})  # the script's own reporter knows better
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.HEALED


def test_a_name_that_no_report_has_is_told_and_no_warning(expecting: Callable[..., Any]) -> None:
    run = expecting(wqLoss=BOUND)
    follow(run, *[1.0 + 0.01 * k for k in range(99)])
    assert run.rules == []
    follow(run, 1.0, first=100)
    finding = run.finding(Rule.EXPECTATION)
    assert (finding.severity, finding.action) == (Severity.INFO, Action.NONE)
    assert "'wqLoss'" in finding.evidence
    assert finding.evidence.endswith("reported: loss, vq_loss")
    assert run.monitor.verdict is Verdict.HEALTHY
    follow(run, 1.0, name="wq", first=101)
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.HEALED


def test_a_name_that_the_reporter_does_not_have_either_is_told_again(
    expecting: Callable[..., Any],
) -> None:
    """What stdout lacked is forgotten when the reporter speaks, and the reporter is given as long."""
    run = expecting(wq=BOUND)
    for step in range(1, 101):
        assert run.finding(Rule.EXPECTATION) is None
        run.say(step, loss=1.0 + 0.01 * step)
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.ACTIVE
    for step in range(101, 200):
        run.step(step, loss=1.0 + 0.01 * step)
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.HEALED
    run.step(200, loss=1.0)
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.ACTIVE


def test_a_short_run_tells_it_at_its_end(expecting: Callable[..., Any]) -> None:
    run = expecting(wqLoss=BOUND)
    follow(run, 1.0, 1.1)
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.EXPECTATION).severity is Severity.INFO


def test_of_many_components_eight_are_named_by_the_alphabet(expecting: Callable[..., Any]) -> None:
    run = expecting(wqLoss=BOUND)
    run.step(1, losses={name: 1.0 for name in "jihgfedcba"})
    run.monitor.finish(run.now, 0)
    finding = run.finding(Rule.EXPECTATION)
    assert finding.evidence.endswith("; reported: a, b, c, d, e, f, g, h")
    assert (finding.rank, finding.step) == (None, None)


@pytest.mark.parametrize("losses", [{}, {"loss": 1.0, "vq": 1.0}])
def test_at_the_end_of_a_run_that_shows_all_names_or_no_losses_nothing_is_missed(
    expecting: Callable[..., Any], losses: dict[str, float]
) -> None:
    run = expecting(vqLoss=BOUND)
    for step in range(1, 121):
        moved = {name: value + 0.001 * step for name, value in losses.items()}
        run.step(step, losses=moved)
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.EXPECTATION) is None


def test_what_was_told_of_names_is_not_told_again_at_the_end(expecting: Callable[..., Any]) -> None:
    run = expecting(wq=BOUND, xq=BOUND)
    follow(run, *[1.0 + 0.01 * k for k in range(100)])
    told = run.finding(Rule.EXPECTATION)
    assert "component 'wq', 'xq', expected" in told.evidence
    follow(run, 1.0, first=101)
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.EXPECTATION) is told


def test_a_finding_stays_as_it_is_while_nothing_new_is_to_be_said(
    expecting: Callable[..., Any],
) -> None:
    run = expecting(vq=BOUND)
    for step in (1, 2, 3):
        run.step(step, rank=1, losses={"loss": 1.0 + 0.01 * step, "vq": 3.0})
    told = run.finding(Rule.EXPECTATION)
    assert told.rank == 1
    run.step(3, rank=0, losses={"loss": 1.0, "vq": 3.0})
    run.step(4, rank=0, losses={"loss": 1.1, "vq": 1.0})
    assert run.finding(Rule.EXPECTATION) is told


def test_two_components_that_leave_one_after_the_other_began_with_the_first(
    expecting: Callable[..., Any],
) -> None:
    run = expecting(kl=Expectation(max="2", for_reports=5), vq=Expectation(max="2", for_reports=2))
    for step in range(1, 7):
        run.step(
            step, losses={"loss": 1.0 + 0.01 * step, "kl": 3.0, "vq": 3.0 if step > 3 else 1.0}
        )
    finding = run.finding(Rule.EXPECTATION)
    assert "'kl' is 3 at step 6" in finding.evidence
    assert finding.evidence.index("since step 1") < finding.evidence.index("since step 4")


def test_two_components_are_one_finding_with_both(expecting: Callable[..., Any]) -> None:
    run = expecting(vq=Expectation(max="2", for_reports=1), kl=Expectation(min="1", for_reports=1))
    run.step(1, losses={"loss": 1.0, "vq": 3.0, "kl": 0.5})
    evidence = run.finding(Rule.EXPECTATION).evidence
    assert "'vq' is 3" in evidence
    assert "'kl' is 0.5" in evidence
    run.step(2, losses={"loss": 1.1, "vq": 1.0, "kl": 0.6})
    assert run.finding(Rule.EXPECTATION).status is FindingStatus.ACTIVE


def test_without_a_statement_nothing_is_judged(run: Any) -> None:
    follow(run, *[float(10 * k) for k in range(1, 9)])
    run.monitor.observe_matches(0, {})
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.EXPECTATION) is None
