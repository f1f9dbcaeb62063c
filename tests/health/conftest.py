"""A run to judge: a monitor with its clocks, fed and ticked by short calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import Finding, RankRow
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import Source, StepSample

EPOCH = 1_700_000_000.0


class Run:
    """One attempt that starts at monotonic 0."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.now = 0.0
        self.monitor = Monitor(
            thresholds or Thresholds(), started=0.0, wall=lambda: EPOCH + self.now
        )

    def step(self, step: int, **fields: Any) -> None:
        """A report, one second after the last event."""
        self.now += fields.pop("after", 1.0)
        loss = fields.pop("loss", None)
        if loss is not None:
            fields["losses"] = {"loss": loss}
        fields.setdefault("rank", 0)
        self.monitor.feed(StepSample(time=EPOCH + self.now, now=self.now, step=step, **fields))

    def say(self, step: int, **fields: Any) -> None:
        """The same, read off stdout."""
        self.step(step, source=Source.STDOUT, **fields)

    def tick(self, seconds: float = 1.0, *rows: RankRow) -> None:
        """Let time pass, then look."""
        self.now += seconds
        self.monitor.tick(self.now, rows)

    def finding(self, rule: Rule) -> Finding | None:
        return next((f for f in self.monitor.findings if f.rule is rule), None)

    @property
    def rules(self) -> list[Rule]:
        return [finding.rule for finding in self.monitor.findings]

    @property
    def alarms(self) -> list[Rule]:
        """Rules that spoke louder than an info."""
        return [f.rule for f in self.monitor.findings if f.severity is not Severity.INFO]


@pytest.fixture
def run() -> Run:
    """A run under default thresholds."""
    return Run()


@pytest.fixture
def run_with() -> Callable[..., Run]:
    """A run whose named rules have other limits: `run_with(mode=…, stall=Stall(...))`."""
    return lambda **rules: Run(dataclasses.replace(Thresholds(), **rules))


@pytest.fixture
def row() -> Callable[..., RankRow]:
    """A registered rank in training."""

    def build(rank: int = 0, **fields: Any) -> RankRow:
        base = RankRow(rank, 0, phase=Phase.TRAINING, registered=True)
        return dataclasses.replace(base, **fields)

    return build
