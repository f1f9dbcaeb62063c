"""Rule SkippedSamples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import OnExceeded, SkippedSamples
from speech_health.skipped_samples import by_chance

BATCH = 10


def batches(run: Any, number: int, bad: int, start: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Feed batches of ten samples asked for, `bad` of each skipped."""
    trained, skipped = start
    for _ in range(number):
        trained, skipped = trained + BATCH - bad, skipped + bad
        step = (trained + skipped) // BATCH
        run.step(step, loss=1.0, samples_total=trained, skipped={"DecodeError": skipped})
    return trained, skipped


def test_warns_above_one_per_cent_and_names_the_reason(run: Any) -> None:
    at = batches(run, 10, 1)
    assert run.rules == []
    batches(run, 1, 1, at)
    finding = run.finding(Rule.SKIPPED_SAMPLES)
    assert finding.severity is Severity.WARNING
    assert "11 of 1000" in finding.evidence
    assert "DecodeError 11" in finding.evidence
    assert run.monitor.decision is None


def test_stops_with_42_above_five_per_cent(run: Any) -> None:
    batches(run, 51, 1)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next) == (42, OnExceeded.STOP)


def test_steady_five_per_cent_mixed_with_good_batches_is_a_warning(run: Any) -> None:
    at = (0, 0)
    for _ in range(100):
        at = batches(run, 1, 1, batches(run, 1, 0, at))
    assert run.monitor.decision is None
    assert run.finding(Rule.SKIPPED_SAMPLES).severity is Severity.WARNING


def test_only_the_window_counts(run: Any) -> None:
    at = batches(run, 1000, 0)
    batches(run, 11, 2, at)
    assert run.finding(Rule.SKIPPED_SAMPLES).severity is Severity.WARNING
    assert "22 of 1000" in run.finding(Rule.SKIPPED_SAMPLES).evidence


def test_heals_when_the_ratio_is_half_of_the_threshold(run: Any) -> None:
    at = batches(run, 12, 1)
    batches(run, 200, 0, at)
    assert run.finding(Rule.SKIPPED_SAMPLES).status is FindingStatus.HEALED


def test_nothing_but_skips_at_the_start(run: Any) -> None:
    run.step(1, samples_total=0, skipped={"MissingFile": 7})
    assert run.monitor.decision is None
    run.step(2, samples_total=0, skipped={"MissingFile": 8})
    assert run.monitor.decision.exit_code == 42
    assert "MissingFile 8" in run.monitor.decision.finding.evidence


def test_one_bad_file_in_the_first_batch_is_no_fault(run: Any) -> None:
    run.step(1, samples_total=3, skipped={"DecodeError": 1})
    assert run.rules == []


def test_without_a_total_no_ratio_is_made_up(run: Any) -> None:
    for step in range(1, 200):
        run.step(step, loss=1.0, skipped={"DecodeError": step})
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_ranks_add_up(run: Any) -> None:
    run.step(1, rank=0, samples_total=500, skipped={"Silent": 30})
    assert run.monitor.decision is None
    run.step(1, rank=1, samples_total=500, skipped={"TooLong": 30})
    assert run.monitor.decision.exit_code == 42


def test_a_short_run_gets_its_real_ratio_at_exit(run: Any) -> None:
    batches(run, 5, 1)
    assert run.rules == []
    run.monitor.finish(run.now, 0)
    assert "5 of 50" in run.finding(Rule.SKIPPED_SAMPLES).evidence
    assert run.monitor.decision is None


@pytest.mark.parametrize("on_exceeded", [OnExceeded.WARN])
def test_warn_never_stops(run_with: Callable[..., Any], on_exceeded: OnExceeded) -> None:
    run = run_with(skipped_samples=SkippedSamples(on_exceeded=on_exceeded))
    batches(run, 200, 5)
    assert run.monitor.decision is None
    assert run.finding(Rule.SKIPPED_SAMPLES).severity is Severity.WARNING


def test_on_the_edge_it_does_not_flap(run: Any) -> None:
    at = batches(run, 12, 1)
    at = batches(run, 94, 0, at)
    assert run.finding(Rule.SKIPPED_SAMPLES).status is FindingStatus.ACTIVE  # 0.6 %
    batches(run, 1, 0, at)
    assert run.finding(Rule.SKIPPED_SAMPLES).status is FindingStatus.HEALED  # 0.5 %


@pytest.mark.parametrize(
    ("bad", "asked", "told"),
    [(1, 97, False), (2, 97, False), (4, 97, True), (1, 20, False), (2, 20, True), (3, 60, True)],
)
def test_at_exit_a_count_within_chance_says_nothing(
    run: Any, bad: int, asked: int, told: bool
) -> None:
    run.step(1, samples_total=asked - bad, skipped={"DecodeError": bad})
    run.monitor.finish(run.now, 0)
    assert (Rule.SKIPPED_SAMPLES in run.rules) == told


@pytest.mark.parametrize(
    ("skipped", "asked", "ratio", "chance"),
    [(0, 10, 0.1, 1.0), (1, 10, 0.1, 1 - 0.9**10), (10, 10, 0.1, 0.1**10), (2, 3, 0.5, 0.5)],
)
def test_how_often_chance_shows_so_many(
    skipped: int, asked: int, ratio: float, chance: float
) -> None:
    assert by_chance(skipped, asked, ratio) == pytest.approx(chance)
