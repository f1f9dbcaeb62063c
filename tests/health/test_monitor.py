"""All rules together: precedence, order, verdict, modes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.report import Match, Memory
from speech_contract.stated import LogPattern
from speech_contract.thresholds import (
    HealthMode,
    NonFinite,
    OnExceeded,
    SkippedSamples,
    Stall,
    ZeroLoss,
)
from speech_health.monitor import detector_of
from speech_health.samples import StepSample, from_fields

GIB = 2**30
SLOW = LogPattern("slow", "slow")


def test_before_any_sample_nothing_is_healthy(run: Any) -> None:
    assert run.monitor.verdict is Verdict.UNKNOWN
    run.step(1, loss=1.0)
    assert run.monitor.verdict is Verdict.HEALTHY


def test_what_a_worker_says_after_the_end_does_not_soften_the_last_word(run: Any) -> None:
    run.step(1, loss=1.0, gated=True, non_finite_steps=0)
    run.step(2, gated=True, non_finite_steps=1, bad_step=2, bad_component="total")
    run.monitor.finish(run.now, 40)
    assert run.monitor.verdict is Verdict.CRITICAL
    told = run.finding(Rule.NON_FINITE)
    run.step(3, rank=1, gated=True, non_finite_steps=2, bad_step=3, bad_component="total")
    run.tick(1.0)
    assert run.monitor.verdict is Verdict.CRITICAL
    assert run.finding(Rule.NON_FINITE) == told


def test_off_judges_nothing_and_claims_nothing(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.OFF)
    for step in range(1, 50):
        run.step(step, loss=math.nan)
    run.tick(10_000.0)
    run.monitor.finish(run.now, 0)
    assert run.rules == []
    assert run.monitor.decision is None
    assert run.monitor.verdict is Verdict.UNKNOWN


def test_off_says_nothing_of_a_run_that_told_nothing(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.OFF)
    run.monitor.finish(9.0, 0)
    assert run.rules == []


def test_the_first_decision_stays_and_ends_the_judging(run: Any) -> None:
    for step in range(1, 30):
        run.step(step, loss=0.0)
    first = run.monitor.decision
    for step in range(30, 60):
        run.step(step, loss=math.nan)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision is first
    assert run.rules == [Rule.ZERO_LOSS]


def test_non_finite_beats_zero_loss(run_with: Callable[..., Any]) -> None:
    run = run_with(zero_loss=ZeroLoss(for_steps=3, on_exceeded=OnExceeded.WARN))
    for step in range(1, 6):
        run.step(step, loss=0.0)
    assert run.rules == [Rule.ZERO_LOSS]
    run.step(6, losses={"loss": 0.0, "mel": math.nan})
    assert run.rules == [Rule.NON_FINITE]


def test_a_stall_beats_the_staleness_of_another_rank(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in range(1, 6):
        run.step(step, rank=0, gated=True)
        run.step(step, rank=1, gated=True)
    for age in range(1, 131):
        rows = row(0, step=5 + age, phase_age=0.1), row(1, step=5, phase_age=float(age))
        run.tick(1.0, *rows)
    assert run.rules == [Rule.STALLED]
    assert run.finding(Rule.STALLED).rank == 1


def test_findings_come_active_first_then_by_severity(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(
        mode=HealthMode.NOTIFY,
        stall=Stall(floor_seconds=5),
        skipped_samples=SkippedSamples(on_exceeded=OnExceeded.WARN),
    )
    run.step(1, loss=1.0, gradient_norm=math.inf)
    run.step(2, loss=1.0, samples_total=980, skipped={"Silent": 20})
    run.tick(9.0, row(step=2, phase_age=9.0))
    assert run.rules == [Rule.STALLED, Rule.SKIPPED_SAMPLES, Rule.NON_FINITE]
    run.step(3, loss=1.0)
    run.tick(0.0, row(step=3))
    assert run.rules == [Rule.SKIPPED_SAMPLES, Rule.NON_FINITE, Rule.STALLED]


def test_of_two_as_severe_the_older_one_comes_first(run_with: Callable[..., Any]) -> None:
    run = run_with(
        skipped_samples=SkippedSamples(on_exceeded=OnExceeded.WARN), log_patterns=(SLOW,)
    )
    run.step(1, loss=1.0)
    run.monitor.observe_matches(0, {"slow": Match(1, "slow", 0, 1)})
    run.step(2, loss=1.0, samples_total=980, skipped={"Silent": 20})
    assert run.rules == [Rule.LOG_PATTERN, Rule.SKIPPED_SAMPLES]


@pytest.mark.parametrize("healed", [True, False])
def test_what_is_healed_or_mere_information_pages_for_nothing_else(
    run_with: Callable[..., Any], healed: bool
) -> None:
    """Zero losses give way to a NaN that is there: not to one that was, nor to a score of which nobody knows."""
    run = run_with(mode=HealthMode.NOTIFY, non_finite=NonFinite(window_steps=100))
    run.step(1, loss=math.nan if healed else 1.0)
    for step in range(2, 151):
        score = 1.0 if healed else math.nan
        run.step(step, loss=1.0 + math.sin(step) / 9, evaluation={"auc": score}, evaluated=True)
    found = run.finding(Rule.NON_FINITE)
    assert (found.status is FindingStatus.HEALED) is healed
    assert (found.severity is Severity.INFO) is not healed
    for step in range(151, 171):
        assert run.rules == [Rule.NON_FINITE]
        run.step(step, loss=0.0)
    assert run.rules == [Rule.ZERO_LOSS, Rule.NON_FINITE]


def listening(run: Any) -> None:
    """Readings of memory and matches of lines; no reports."""
    for seconds in range(5, 605, 5):
        memory = Memory(seconds * GIB // 40, GIB * (20 - seconds // 40))
        run.monitor.observe_memory(run.now + seconds, 0, memory)
    run.monitor.observe_matches(0, {"slow": Match(1, "slow", 0, 1)})


def test_memory_and_lines_are_listened_to_until_the_end(run_with: Callable[..., Any]) -> None:
    lives, ended, off = (
        run_with(log_patterns=(SLOW,)),
        run_with(log_patterns=(SLOW,)),
        run_with(log_patterns=(SLOW,), mode=HealthMode.OFF),
    )
    for run in (lives, ended, off):
        run.step(1, loss=1.0)
        if run is ended:
            run.monitor.finish(run.now, 0)
        listening(run)
    assert lives.rules == [Rule.MEMORY_GROWTH, Rule.LOG_PATTERN]
    assert (ended.rules, off.rules) == ([], [])


@pytest.mark.parametrize(
    ("fields", "speaks"), [({}, False), ({"gated": True}, True), ({"losses": {}}, True)]
)
def test_a_reporter_speaks_when_it_has_losses_or_acts_by_itself(
    run: Any, fields: dict[str, Any], speaks: bool
) -> None:
    run.say(1, loss=1.0)
    assert not run.monitor.reporter_speaks
    run.step(1, **fields)
    assert run.monitor.reporter_speaks is speaks


def test_the_revision_grows_by_one_with_each_changed_finding(run: Any) -> None:
    revisions = [run.monitor.revision]
    for step, loss in enumerate((1.0, math.nan, 1.0, math.inf), start=1):
        run.step(step, loss=loss)
        revisions.append(run.monitor.revision)
    assert revisions == [0, 0, 1, 1, 2]
    assert run.monitor.non_finite_steps == 2


@pytest.mark.parametrize(
    ("on_exceeded", "would"),
    [
        (OnExceeded.STOP, "; mode Notify: would have stopped the run"),
        (OnExceeded.RESTART, "; mode Notify: would have restarted from a checkpoint"),
        (OnExceeded.WARN, ""),
    ],
)
def test_in_mode_notify_the_evidence_says_what_was_not_done(
    run_with: Callable[..., Any], on_exceeded: OnExceeded, would: str
) -> None:
    pattern = LogPattern("slow", "slow", action=on_exceeded)
    run = run_with(mode=HealthMode.NOTIFY, log_patterns=(pattern,))
    run.monitor.observe_matches(0, {"slow": Match(1, "slow", 0, 7)})
    told = run.finding(Rule.LOG_PATTERN).evidence
    assert told == f"pattern 'slow': 1 line of rank 0 at step 7: 'slow'{would}"


def test_a_gate_that_would_have_rolled_back_says_so(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY, non_finite=NonFinite(max_rollbacks=3))
    for step in range(1, 12):
        run.step(step, loss=1.0 / step, gated=True, non_finite_steps=step, bad_step=step)
    told = run.finding(Rule.NON_FINITE).evidence
    assert told.endswith("; mode Notify: would have rolled back to the last confirmed checkpoint")


def reports(first: int, last: int, height: float = 0.0) -> list[StepSample]:
    """A part of a file in which the loss moves calmly, at a height."""
    return [
        from_fields({"time": 0.0, "now": float(n), "rank": 0, "step": n, "losses": {"loss": loss}})
        for n in range(first, last + 1)
        for loss in [2.0 + height + math.sin(n) / 9]
    ]


def test_a_batch_is_judged_as_its_reports_are_and_calm_ones_are_not_looked_at_singly(
    run_with: Callable[..., Any],
) -> None:
    at_once, singly = run_with(mode=HealthMode.NOTIFY), run_with(mode=HealthMode.NOTIFY)
    odd = [StepSample(0.0, 261.0, 0, 261, losses={"loss": math.nan})]
    looked_at, rules = [], []
    for batch in (reports(1, 100), reports(101, 200), reports(201, 260, height=40.0), odd):
        yielded = []
        for sample in at_once.monitor.feed_batch(batch):
            assert at_once.monitor.findings == singly.monitor.findings, "it is not yet judged"
            singly.monitor.feed(sample)
            yielded.append(sample)
        looked_at.append(len(yielded))
        if not yielded:
            for sample in batch:
                singly.monitor.feed(sample)
        assert at_once.monitor.findings == singly.monitor.findings
        rules.append(at_once.rules)
    assert looked_at == [100, 0, 60, 1]
    assert rules == [[], [], [Rule.LOSS_SPIKE], [Rule.NON_FINITE]]


def test_one_finding_a_rule_with_its_time(run: Any) -> None:
    run.step(1, loss=math.nan)
    since = run.monitor.findings[0].since
    assert since == 1_700_000_001.0
    run.step(2, loss=math.nan)
    assert [f.since for f in run.monitor.findings] == [since]


def test_every_rule_but_the_operators_own_has_a_detector() -> None:
    own = [rule for rule in Rule if detector_of(rule) is None]
    assert own == [Rule.TELEMETRY_UNREACHABLE, Rule.NOT_STARTING]


def test_a_reporter_that_tells_steps_alone_does_not_silence_stdout(run: Any) -> None:
    for step in range(1, 6):
        run.step(step)
        run.say(step, loss=math.nan)
    assert run.rules == [Rule.NON_FINITE]


def test_what_the_attempt_ends_for_stands_before_what_was_critical_earlier(run: Any) -> None:
    for step in range(1, 8):
        run.step(step, loss=1.0 / step, gradient_norm=1.0, gated=True, non_finite_steps=step)
    assert run.rules == [Rule.NON_FINITE]
    for step in (8, 9):
        run.step(step, loss=1.0 / step, gradient_norm=0.0, gated=True, non_finite_steps=7)
    assert run.rules == [Rule.NO_GRADIENT, Rule.NON_FINITE]


def test_a_reporter_with_losses_silences_stdout(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, loss=1.0 / step)
        run.say(step, loss=math.nan)
    assert run.rules == []


def test_a_nan_that_only_stdout_showed_heals_when_the_reporter_was_finite_for_as_long(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=50))
    run.say(1, loss=math.nan)
    for step in range(2, 52):
        run.step(step, loss=1.0 + math.sin(step) / 9)
        assert run.finding(Rule.NON_FINITE).status is FindingStatus.ACTIVE
    run.step(52, loss=1.0)
    assert run.finding(Rule.NON_FINITE).status is FindingStatus.HEALED
