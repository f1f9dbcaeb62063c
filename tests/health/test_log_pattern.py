"""LogPattern: lines that a person described, over the pods of a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.exit_codes import EXIT_DO_NOT_CONTINUE, EXIT_ERROR
from speech_contract.findings import Action, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.report import Match
from speech_contract.stated import MAX_LINE, LogPattern
from speech_contract.thresholds import HealthMode, OnExceeded
from speech_health.log_pattern import PatternReader

FELL_BACK = LogPattern("fell-back", r"falling back to (cpu|eager)")
LINE = "WARNING: falling back to cpu"


class Script:
    """A pod whose ranks print, and the monitor that hears of it."""

    def __init__(self, run: Any, *patterns: LogPattern) -> None:
        self.run = run
        self.patterns = patterns
        self.readers: dict[int, PatternReader] = {}

    def print(self, line: str, rank: int = 0, step: int | None = 1, host: int = 0) -> None:
        reader = self.readers.setdefault(host, PatternReader(self.patterns))
        if reader.feed(rank, step, line):
            self.run.monitor.observe_matches(host, dict(reader.matches))

    @property
    def finding(self) -> Any:
        return self.run.finding(Rule.LOG_PATTERN)


@pytest.fixture
def script(run_with: Callable[..., Any]) -> Callable[..., Script]:
    """A script under these patterns."""
    return lambda *patterns, **more: Script(run_with(log_patterns=patterns, **more), *patterns)


def test_a_line_is_a_finding_with_name_rank_step_and_words(
    script: Callable[..., Script],
) -> None:
    said = script(FELL_BACK)
    said.print("step 1 loss=1.0")
    assert said.finding is None
    said.print(f"{LINE}\n", rank=3, step=7)
    finding = said.finding
    assert (finding.severity, finding.action) == (Severity.WARNING, Action.WARNED)
    assert (finding.step, finding.rank) == (7, 3)
    assert finding.evidence == f"pattern 'fell-back': 1 line of rank 3 at step 7: {LINE!r}"
    said.print(LINE, rank=4, step=None)
    assert "2 lines, the first of rank 3 at step 7" in said.finding.evidence


def test_lines_of_all_pods_are_counted_together(script: Callable[..., Script]) -> None:
    said = script(LogPattern("slow", "slow", times=3))
    for host, rank in ((0, 0), (1, 1)):
        said.print("slow", rank=rank, host=host, step=None)
    assert said.finding is None
    said.print("slow", rank=1, host=1)
    assert "3 lines, the first of rank 0 before the first step" in said.finding.evidence


def test_before_the_first_step_is_first_whoever_tells_of_it(script: Callable[..., Script]) -> None:
    said = script(LogPattern("slow", "slow"))
    said.print("slow", rank=0, host=0, step=5)
    said.print("slow", rank=1, host=1, step=None)
    said.print("slow", rank=2, host=2, step=3)
    said.run.monitor.tick(said.run.now, [])
    assert "3 lines, the first of rank 1 before the first step" in said.finding.evidence


@pytest.mark.parametrize(
    ("action", "code"),
    [(OnExceeded.STOP, EXIT_DO_NOT_CONTINUE), (OnExceeded.RESTART, EXIT_ERROR)],
)
def test_an_action_ends_the_attempt(
    script: Callable[..., Script], action: OnExceeded, code: int
) -> None:
    said = script(FELL_BACK, LogPattern("ecc", "ECC error", action=action))
    said.print(LINE)
    assert said.run.monitor.decision is None
    said.print("uncorrectable ECC error")
    decision = said.run.monitor.decision
    assert (decision.exit_code, decision.next) == (code, action)
    assert said.finding.evidence.startswith("pattern 'ecc': 1 line")
    assert "pattern 'fell-back'" in said.finding.evidence


def test_notify_does_nothing(script: Callable[..., Script]) -> None:
    said = script(LogPattern("ecc", "ECC", action=OnExceeded.RESTART), mode=HealthMode.NOTIFY)
    said.print("ECC")
    assert said.run.monitor.decision is None
    assert said.finding.action is Action.WOULD_RESTART


@pytest.mark.parametrize(
    ("severity", "action", "verdict"),
    [
        (Severity.INFO, Action.NONE, Verdict.HEALTHY),
        (Severity.WARNING, Action.WARNED, Verdict.WARNING),
        (Severity.CRITICAL, Action.WARNED, Verdict.CRITICAL),
    ],
)
def test_the_severity_is_the_users(
    script: Callable[..., Script], severity: Severity, action: Action, verdict: Verdict
) -> None:
    said = script(LogPattern("note", "note", severity=severity))
    said.run.step(1, loss=1.0)
    said.print("note")
    assert (said.finding.severity, said.finding.action) == (severity, action)
    assert said.run.monitor.verdict is verdict


def test_ten_lines_are_told_at_once_and_more_with_the_next_tick(
    script: Callable[..., Script],
) -> None:
    said = script(FELL_BACK)
    for _ in range(15):
        said.print(LINE)
    assert "10 lines" in said.finding.evidence
    said.run.tick()
    told = said.finding
    assert "15 lines" in told.evidence
    said.run.tick()
    assert said.finding is told, "without another line nothing is told anew"
    said.print(LINE)
    said.run.monitor.finish(said.run.now, 0)
    assert "16 lines" in said.finding.evidence


@pytest.mark.parametrize(
    ("steps", "first", "at"),
    [
        ((5, 3, 4), 1, "at step 3"),
        ((1, 0, 2), 1, "at step 0"),
        ((None, 0, 1), 0, "before the first step"),
        ((0, None, 1), 1, "before the first step"),
        ((7, 7, 8), 0, "at step 7"),
    ],
)
def test_the_line_of_the_earliest_step_is_quoted_whichever_pod_tells_of_it(
    script: Callable[..., Script], steps: tuple[int | None, ...], first: int, at: str
) -> None:
    said = script(LogPattern("slow", "slow"))
    for host, step in enumerate(steps):
        said.print(f"slow {host}", rank=host, host=host, step=step)
    assert f"the first of rank {first} {at}: 'slow {first}'" in said.finding.evidence


def test_what_acts_is_told_first_then_the_most_severe(script: Callable[..., Script]) -> None:
    levels = {"a": Severity.INFO, "b": Severity.CRITICAL, "c": Severity.WARNING}
    patterns = [LogPattern(name, name, severity=level) for name, level in levels.items()]
    ends = LogPattern("d", "d", severity=Severity.INFO, action=OnExceeded.STOP)
    said = script(*patterns, ends, mode=HealthMode.NOTIFY)
    for step, name in enumerate("acb", start=1):
        said.print(name, step=step, rank=step)
    told = said.finding
    assert [part.split("'")[1] for part in told.evidence.split("; ")] == ["b", "c", "a"]
    assert (told.severity, told.action, told.rank) == (Severity.CRITICAL, Action.WARNED, 3)
    said.print("d", step=4, rank=4)
    assert said.finding.evidence.startswith("pattern 'd'")
    assert (said.finding.action, said.finding.rank) == (Action.WOULD_STOP, 4)


def test_what_was_counted_before_is_not_counted_again(script: Callable[..., Script]) -> None:
    """A worker repeats its counts with every summary."""
    said = script(LogPattern("slow", "slow", times=2))
    for _ in range(5):
        said.run.monitor.observe_matches(1, {"slow": Match(1, "slow", 1)})
    assert said.finding is None


def test_a_line_is_looked_at_to_a_bound_and_quoted_to_another() -> None:
    reader = PatternReader([LogPattern("end", "end$"), LogPattern("a", "^a")])
    assert not reader.feed(0, 1, "x" * MAX_LINE + " end")
    assert reader.feed(0, 1, "a" * 5000)
    assert reader.matches["a"].line == "a" * 160
