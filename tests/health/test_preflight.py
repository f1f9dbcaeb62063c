"""Rule Preflight: what the trainer's checks came to, as a finding."""

from __future__ import annotations

import pytest

from speech_contract import thresholds
from speech_contract.findings import Action
from speech_contract.preflight import Check, CheckResult, Mark, PreflightReport, PreflightVerdict
from speech_contract.progress import Severity
from speech_contract.thresholds import HealthMode
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.preflight import Preflight
from speech_health.samples import StepSample

ROW = CheckResult(Check.GRADIENTS, Mark.FAILED, "flow", "norm 0", "above 0", "look", rank=1)
OTHER = CheckResult(Check.LOSS_FALLS, Mark.FAILED, "total", "2 → 3", "lower", "look")


def fed(verdict: PreflightVerdict, *rows: CheckResult) -> Preflight:
    attempt = Attempt(HealthMode.ENFORCE, lambda: 5.0, Pace(0.0))
    rule = Preflight(thresholds.Preflight(), attempt)
    report = PreflightReport(verdict, 1.0, checks=9, results=rows)
    for step in (0, 1):
        rule.feed(StepSample(time=1.0, now=1.0, rank=1, step=step, preflight=report))
    return rule


@pytest.mark.parametrize(
    ("verdict", "severity", "action"),
    [
        (PreflightVerdict.FAILED, Severity.CRITICAL, Action.STOPPED),
        (PreflightVerdict.WOULD_HAVE_FAILED, Severity.WARNING, Action.WOULD_STOP),
    ],
)
def test_a_failed_preflight_is_a_finding_with_its_first_check(
    verdict: PreflightVerdict, severity: Severity, action: Action
) -> None:
    rule = fed(verdict, ROW, OTHER)
    assert rule.finding is not None
    assert (rule.finding.severity, rule.finding.action, rule.finding.rank) == (severity, action, 1)
    assert rule.finding.evidence == (
        "Gradients: rank 1: flow: norm 0, expected above 0; look (also failed: LossFalls)"
    )
    assert rule.decision is None  # the trainer ends itself


def test_one_that_passed_and_none_at_all_say_nothing() -> None:
    assert fed(PreflightVerdict.PASSED).finding is None
    attempt = Attempt(HealthMode.ENFORCE, lambda: 5.0, Pace(0.0))
    rule = Preflight(thresholds.Preflight(), attempt)
    rule.feed(StepSample(time=1.0, now=1.0, rank=0, step=1))
    assert rule.finding is None
