"""The verbs that every rule is made of: raise, exceed, heal; and what becomes of the finding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.exit_codes import EXIT_ERROR, EXIT_NON_FINITE, EXIT_NOT_LEARNING
from speech_contract.findings import Action, Finding, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, OnExceeded
from speech_health.detector import Attempt, Decision, Detector
from speech_health.pace import Pace
from speech_health.samples import Source, StepSample


class Plain(Detector[None, list[int]]):
    """A rule that judges nothing by itself: its verbs are called from outside."""

    rule = Rule.ZERO_LOSS

    def warn(self, evidence: str = "bad", **more: Any) -> Finding:
        return self._warn(evidence, **more)

    def exceed(self, on_exceeded: OnExceeded, evidence: str = "bad", **more: Any) -> None:
        self._exceed(evidence, on_exceeded, **more)

    def heal(self) -> None:
        self._heal("better")

    def keep(self, source: Source, rank: int) -> None:
        self._streams[source, rank] = []

    @property
    def kept(self) -> list[tuple[Source, int]]:
        return list(self._streams)


Rules = Callable[..., tuple[Plain, list[float]]]


@pytest.fixture
def plain() -> Rules:
    """The rule, and its clock."""

    def build(mode: HealthMode = HealthMode.ENFORCE) -> tuple[Plain, list[float]]:
        clock = [100.0]
        return Plain(None, Attempt(mode, lambda: clock[0], Pace(0.0))), clock

    return build


def test_a_rule_that_overrides_nothing_says_nothing(plain: Rules) -> None:
    rule, _ = plain()
    rule.feed(StepSample(0.0, 0.0, 0, 1))
    rule.tick(1.0, [])
    rule.finish(2.0, 0)
    rule.heal()
    assert (rule.finding, rule.decision, rule.active) == (None, None, False)


def test_a_rule_takes_reports_one_by_one_unless_it_says_otherwise(plain: Rules) -> None:
    rule, _ = plain()
    stretch: Any = None
    assert not rule.pass_over(stretch)


def test_a_warning_is_whole_by_itself(plain: Rules) -> None:
    rule, _ = plain()
    assert rule.warn("bad", step=3, rank=1) is rule.finding
    assert rule.finding == Finding(
        rule=Rule.ZERO_LOSS,
        status=FindingStatus.ACTIVE,
        severity=Severity.WARNING,
        evidence="bad",
        action=Action.WARNED,
        remedy=Rule.ZERO_LOSS.record.remedy,
        step=3,
        rank=1,
        since=100.0,
    )
    assert rule.active
    assert rule.decision is None


@pytest.mark.parametrize(
    ("first", "then", "step"), [(3, 5, 3), (None, 5, 5), (3, None, 3), (0, 5, 0)]
)
def test_a_finding_that_is_sharpened_keeps_its_first_step_and_its_time(
    plain: Rules, first: int | None, then: int | None, step: int
) -> None:
    rule, clock = plain()
    rule.warn("bad", step=first, rank=1)
    clock[0] = 200.0
    rule.warn(
        "worse", step=then, rank=2, severity=Severity.CRITICAL, action=Action.GATED, remedy="this"
    )
    now = rule.finding
    assert now is not None
    assert (now.step, now.since) == (step, 100.0)
    assert (now.evidence, now.rank, now.severity) == ("worse", 2, Severity.CRITICAL)
    assert (now.action, now.remedy) == (Action.GATED, "this")


def test_a_healed_finding_stays_listed_and_the_next_one_is_new(plain: Rules) -> None:
    rule, clock = plain()
    rule.warn("bad", step=3)
    clock[0] = 200.0
    rule.heal()
    healed = rule.finding
    assert healed is not None
    assert not rule.active
    assert (healed.status, healed.step, healed.since) == (FindingStatus.HEALED, 3, 100.0)
    assert healed.evidence == "bad; healed: better"
    rule.heal()
    assert rule.finding is healed, "it heals once"
    rule.warn("bad again", step=9)
    again = rule.finding
    assert (again.status, again.step, again.since) == (FindingStatus.ACTIVE, 9, 200.0)


@pytest.mark.parametrize(
    ("mode", "on_exceeded", "severity", "action", "decides"),
    [
        (HealthMode.ENFORCE, OnExceeded.STOP, Severity.CRITICAL, Action.STOPPED, True),
        (HealthMode.ENFORCE, OnExceeded.RESTART, Severity.CRITICAL, Action.RESTARTED, True),
        (HealthMode.ENFORCE, OnExceeded.WARN, Severity.WARNING, Action.WARNED, False),
        (HealthMode.NOTIFY, OnExceeded.STOP, Severity.CRITICAL, Action.WOULD_STOP, False),
        (HealthMode.NOTIFY, OnExceeded.RESTART, Severity.CRITICAL, Action.WOULD_RESTART, False),
        (HealthMode.NOTIFY, OnExceeded.WARN, Severity.WARNING, Action.WARNED, False),
    ],
)
def test_what_is_exceeded_ends_the_attempt_where_it_may(
    plain: Rules,
    mode: HealthMode,
    on_exceeded: OnExceeded,
    severity: Severity,
    action: Action,
    decides: bool,
) -> None:
    rule, _ = plain(mode)
    rule.exceed(on_exceeded, step=3, rank=1)
    told = rule.finding
    assert told is not None
    assert (told.severity, told.action, told.step, told.rank) == (severity, action, 3, 1)
    assert rule.decision == (Decision(EXIT_NOT_LEARNING, told, on_exceeded) if decides else None)
    if rule.decision is not None:
        assert not rule.decision.want_stacks


def test_a_rule_may_ask_for_stacks_and_for_another_exit_code(plain: Rules) -> None:
    rule, _ = plain()
    rule.exceed(OnExceeded.RESTART, want_stacks=True, code=EXIT_ERROR)
    assert rule.decision is not None
    assert (rule.decision.exit_code, rule.decision.want_stacks) == (EXIT_ERROR, True)


def test_the_first_decision_stays_and_nothing_heals_after_it(plain: Rules) -> None:
    rule, _ = plain()
    rule.exceed(OnExceeded.STOP)
    first = rule.decision
    rule.exceed(OnExceeded.RESTART, "worse", code=EXIT_NON_FINITE)
    assert rule.decision is first
    rule.heal()
    assert rule.active


def test_what_stdout_said_is_forgotten_and_nothing_else(plain: Rules) -> None:
    rule, _ = plain()
    for source in (Source.STDOUT, Source.REPORTER):
        for rank in (0, 1):
            rule.keep(source, rank)
    rule.forget_stdout()
    assert rule.kept == [(Source.REPORTER, 0), (Source.REPORTER, 1)]


def _slow(run: Any) -> None:
    for step in range(1, 151):
        run.say(step, loss=2.0 + step % 7, step_seconds=0.5 if step <= 100 else 2.5)


def _off_plan(run: Any) -> None:
    for step in range(1, 151):
        run.say(step, loss=2.0 + step % 7, learning_rate=1e-4, planned_rate=1e-3)


@pytest.mark.parametrize(
    ("shown", "rule"), [(_slow, Rule.SLOWDOWN), (_off_plan, Rule.SCHEDULE_MISMATCH)]
)
def test_what_stdout_showed_is_over_when_a_reporter_speaks_that_need_not_send_it(
    run_with: Callable[..., Any], shown: Callable[[Any], None], rule: Rule
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    shown(run)
    assert run.finding(rule).status is FindingStatus.ACTIVE
    run.step(151, loss=2.0)
    assert run.finding(rule).status is FindingStatus.HEALED
    assert run.finding(rule).evidence.endswith("healed: the script reports by itself")
