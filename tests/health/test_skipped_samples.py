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
    assert run.rules == []
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
    assert run.finding(Rule.SKIPPED_SAMPLES).severity is Severity.WARNING
    run.step(1, rank=1, samples_total=500, skipped={"TooLong": 30})
    assert run.monitor.decision.exit_code == 42


def test_a_short_run_gets_its_real_ratio_at_exit(run: Any) -> None:
    batches(run, 5, 1)
    assert run.rules == []
    run.monitor.finish(run.now, 0)
    assert "5 of 50 samples skipped (10.0%; " in run.finding(Rule.SKIPPED_SAMPLES).evidence
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


def test_a_process_that_begins_anew_without_a_bad_sample_heals(run: Any) -> None:
    batches(run, 2, 9)
    assert run.finding(Rule.SKIPPED_SAMPLES).status is FindingStatus.ACTIVE
    run.step(3, samples_total=10, skipped={})
    finding = run.finding(Rule.SKIPPED_SAMPLES)
    assert finding.evidence.endswith("; healed: 0 of 1000 samples at step 3")


def test_a_crash_gets_no_ratio_at_exit(run: Any) -> None:
    batches(run, 5, 1)
    run.monitor.finish(run.now, 1)
    assert run.rules == []


def test_a_warning_that_stands_is_not_said_anew_at_exit(run_with: Callable[..., Any]) -> None:
    run = run_with(skipped_samples=SkippedSamples(on_exceeded=OnExceeded.WARN))
    batches(run, 6, 9)
    before = run.finding(Rule.SKIPPED_SAMPLES)
    assert before.evidence.startswith("54 of 1000")
    run.monitor.finish(run.now, 0)
    assert run.finding(Rule.SKIPPED_SAMPLES) == before


@pytest.mark.parametrize(
    ("reports", "evidence"),
    [
        ([(1880, 30)], "30 of 1910 samples skipped (1.6%; warnRatio 0.01, maxRatio 0.05)"),
        ([(1000, 0), (3000, 0), (1880, 30)], "30 of 1910 "),  # a counter that went back begins anew
        ([(900, 0), (880, 30)], "30 of 1000 "),
        ([(2990, 10), (1880, 30)], "30 of 1910 "),
        ([(990, 9), (1990, 10), (2990, 30)], "20 of 1020 "),  # the older ones are out of the window
        # A reason with no sample yet.
        ([(1000, 0), (2000, 0), (2000, None), (2480, 20)], "20 of 1500 "),
    ],
)
def test_what_is_set_against_what(
    run: Any, reports: list[tuple[int, int | None]], evidence: str
) -> None:
    for step, (trained, bad) in enumerate(reports, start=1):
        run.step(step, samples_total=trained, skipped={"Silent": bad or 0} if bad != 0 else {})
    finding = run.finding(Rule.SKIPPED_SAMPLES)
    assert finding.evidence.startswith(evidence)
    assert (finding.step, finding.severity) == (len(reports), Severity.WARNING)


@pytest.mark.parametrize(
    ("limits", "trained", "bad", "stops"),
    [
        (SkippedSamples(in_a_row_at_start=1), 0, 1, True),
        (SkippedSamples(in_a_row_at_start=1), 1, 1, False),
        (SkippedSamples(window_samples=10), 9, 1, True),  # a tenth, with the first one
    ],
)
def test_the_first_bad_sample_may_be_enough(
    run_with: Callable[..., Any], limits: SkippedSamples, trained: int, bad: int, stops: bool
) -> None:
    run = run_with(skipped_samples=limits)
    run.step(4, rank=2, samples_total=trained, skipped={"Silent": bad})
    assert (run.monitor.decision is not None) is stops
    if stops:
        finding = run.finding(Rule.SKIPPED_SAMPLES)
        assert (finding.step, finding.rank) == (4, 2)


def test_the_four_commonest_reasons_of_all_ranks_are_named(run: Any) -> None:
    run.step(1, samples_total=10, skipped={"A": 3, "B": 1, "C": 4, "D": 0})
    run.step(1, rank=1, samples_total=10, skipped={"A": 3, "E": 2, "F": 5})
    assert run.finding(Rule.SKIPPED_SAMPLES).evidence.endswith(
        "; since the start: A 6, F 5, C 4, E 2"
    )


def test_a_reason_without_a_sample_is_not_named(run: Any) -> None:
    run.step(1, samples_total=10, skipped={"A": 20, "B": 0})
    assert run.finding(Rule.SKIPPED_SAMPLES).evidence.endswith("; since the start: A 20")


@pytest.mark.parametrize(
    ("skipped", "asked", "ratio", "chance"),
    [(0, 10, 0.1, 1.0), (1, 10, 0.1, 1 - 0.9**10), (10, 10, 0.1, 0.1**10), (2, 3, 0.5, 0.5)],
)
def test_how_often_chance_shows_so_many(
    skipped: int, asked: int, ratio: float, chance: float
) -> None:
    assert by_chance(skipped, asked, ratio) == pytest.approx(chance)
