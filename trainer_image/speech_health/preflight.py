"""Rule Preflight: the trainer's checks before step 1 failed, or would have.

The trainer judges and ends itself with 44 (`speech_trainer.preflight`); here its word becomes a finding, so that
it reads as every other fault does. It never heals: whatever trains after it in mode Notify was started broken.
"""

from __future__ import annotations

from speech_contract import thresholds
from speech_contract.findings import Action
from speech_contract.preflight import PreflightVerdict, summary
from speech_contract.rules import Rule, Severity
from speech_health.detector import Detector
from speech_health.samples import StepSample


class Preflight(Detector[thresholds.Preflight, None]):
    """Repeats what the report says."""

    rule = Rule.PREFLIGHT
    feeds_on = ("preflight",)

    def feed(self, sample: StepSample) -> None:
        """Raise the finding once."""
        report = sample.preflight
        if report is None or self.finding is not None or not report.failed:
            return
        failed = report.verdict is PreflightVerdict.FAILED
        self._warn(
            summary(report.failed),
            severity=Severity.CRITICAL if failed else Severity.WARNING,
            action=Action.STOPPED if failed else Action.WOULD_STOP,
            rank=report.failed[0].rank,
        )
