"""Rule Stalled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus, RankRow, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.thresholds import HealthMode, OnExceeded, Stall


def train(run: Any, row: Any, steps: int, seconds: float = 1.0, **fields: Any) -> None:
    """Steps of our engine with a tick after each."""
    for step in range(1, steps + 1):
        run.step(step, after=seconds, gated=True, **fields)
        run.tick(0.0, row(step=step))


def test_a_hang_fires_after_the_floor_and_not_before(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 20)
    run.tick(60.0, row(step=20, phase_age=60.0))
    assert run.rules == []
    run.tick(1.0, row(step=20, phase_age=61.0))
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next) == (45, OnExceeded.RESTART)
    assert decision.want_stacks
    assert decision.finding.action is Action.RESTARTED
    assert decision.finding.step == 20
    assert "no step for 61 s, limit 60 s" in decision.finding.evidence
    assert run.monitor.verdict is Verdict.CRITICAL


def test_slow_steps_are_learned(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 10, seconds=50.0)
    run.tick(149.0, row(step=10, phase_age=149.0))
    assert run.rules == []
    run.tick(2.0, row(step=10, phase_age=151.0))
    assert run.rules == [Rule.STALLED]


def test_one_slow_step_of_the_engine_does_not_widen_the_limit(
    run: Any, row: Callable[..., Any]
) -> None:
    train(run, row, 10)
    run.step(11, after=55.0, gated=True)
    run.tick(0.0, row(step=11))
    run.tick(61.0, row(step=11, phase_age=61.0))
    assert run.rules == [Rule.STALLED]


# Of a rank: the step and the age of its stamp, and how long ago it reported step 4.
@pytest.mark.parametrize(
    ("ranks", "named", "step"),
    [
        ([(6, 62.0, 65.0), (5, 61.5, 64.0), (5, 63.5, 65.0)], 2, 5),
        ([(6, 90.0, 90.0), (5, 61.5, 64.0)], 1, 5),  # a lower step before an older sign
        ([(6, 90.0, 90.0), (None, 61.5, None), (5, 80.0, 80.0)], 1, None),  # none yet is the lowest
        ([(5, 99.0, 62.0), (5, 80.0, 80.0)], 1, 5),  # a report may be younger than its rank's stamp
        ([(None, 70.0, 80.0), (5, 61.5, 64.0)], 0, 4),  # a stamp without a step
    ],
)
def test_the_laggard_is_the_lowest_step_then_the_oldest_sign(
    run: Any, row: Callable[..., Any], ranks: list[Any], named: int, step: int | None
) -> None:
    for rank, (_, _, ago) in enumerate(ranks):
        if ago is not None:
            run.now = 100.0 - ago
            run.step(4, rank=rank, gated=True, after=0.0)
    run.now = 100.0
    run.tick(0.0, *(row(i, step=at, phase_age=age) for i, (at, age, _) in enumerate(ranks)))
    finding = run.monitor.decision.finding
    assert (finding.rank, finding.step) == (named, step)
    assert f"rank {named} lags: step {step or 'none yet'}, phase Training" in finding.evidence


def test_an_unregistered_rank_is_not_judged_where_work_cannot_be_seen(
    run: Any, row: Callable[..., Any]
) -> None:
    run.tick(10_000.0, row(registered=False, phase=Phase.STARTING, phase_age=10_000.0))
    assert Rule.STALLED not in run.rules


def test_a_rank_that_ended_is_not_judged(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 5)
    run.tick(1000.0, row(step=5, phase_age=1000.0, exit_code=0))
    assert run.rules == []


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.RENDEZVOUS, Phase.DATA, Phase.FIRST_STEP])
def test_each_start_up_phase_has_the_start_up_budget(
    run: Any, row: Callable[..., Any], phase: Phase
) -> None:
    run.tick(1.0, row(phase=phase, phase_age=0.0))
    run.tick(9.0, row(phase=phase, phase_age=9.0))
    run.tick(1.0, row(phase=Phase.RESTORING))  # that it took nine seconds once is no measure
    run.tick(1.0, row(phase=phase, phase_age=0.0))
    run.tick(1800.0, row(phase=phase, phase_age=1800.0))
    assert run.rules == []
    run.tick(1.0, row(phase=phase, phase_age=1801.0))
    assert run.rules == [Rule.STALLED]
    evidence = run.monitor.decision.finding.evidence
    assert evidence.startswith("no step for 1801 s, limit 1800 s (startupSeconds); rank 0 lags")
    assert evidence.endswith(f"step none yet, phase {phase.value}")


def test_a_start_up_phase_behind_a_report_is_a_pause(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 5)
    run.tick(1800.0, row(step=5, phase=Phase.RESTORING, phase_age=1800.0))
    assert run.rules == []
    run.tick(1.0, row(step=5, phase=Phase.RESTORING, phase_age=1801.0))
    assert "startupSeconds, for the first Restoring" in run.monitor.decision.finding.evidence


def test_training_without_a_report_has_the_floor(run: Any, row: Callable[..., Any]) -> None:
    run.tick(60.0, row(phase_age=60.0))
    assert run.rules == []
    run.tick(1.0, row(phase_age=61.0))
    assert run.rules == [Rule.STALLED]


def test_start_up_phases_that_move_on_never_stall(run: Any, row: Callable[..., Any]) -> None:
    for phase in (Phase.STARTING, Phase.RENDEZVOUS, Phase.DATA, Phase.FIRST_STEP):
        run.tick(1700.0, row(phase=phase, phase_age=1.0))
    assert run.rules == []


def test_a_rank_missing_at_the_rendezvous_is_named(run: Any, row: Callable[..., Any]) -> None:
    run.tick(1.0, row(0, phase=Phase.RENDEZVOUS), row(1, registered=False, phase=Phase.STARTING))
    run.tick(
        1801.0,
        row(0, phase=Phase.RENDEZVOUS, phase_age=1801.0),
        row(1, registered=False, phase=Phase.STARTING, phase_age=1802.0),
    )
    assert run.monitor.decision.finding.rank == 1


def test_evaluation_and_checkpoint_are_pauses(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 20)
    for age in range(0, 600, 10):
        run.tick(10.0, row(step=20, phase=Phase.EVALUATION, phase_age=float(age)))
    assert run.rules == []
    run.step(21, gated=True)
    run.tick(0.0, row(step=21))
    assert run.rules == []


def test_stamps_that_move_in_a_pause_are_life(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 5)
    for _ in range(100):
        run.tick(100.0, row(step=5, phase=Phase.EVALUATION, phase_age=2.0))
    assert run.rules == []


def test_a_hang_in_a_known_pause_is_found(run: Any, row: Callable[..., Any]) -> None:
    train(run, row, 5)
    run.tick(200.0, row(step=5, phase=Phase.CHECKPOINT, phase_age=200.0))
    run.step(6, gated=True)
    run.tick(0.0, row(step=6))
    run.tick(599.0, row(step=6, phase=Phase.CHECKPOINT, phase_age=599.0))
    assert run.rules == []
    run.tick(2.0, row(step=6, phase=Phase.CHECKPOINT, phase_age=601.0))
    assert "3 × 200 s, the longest Checkpoint" in run.monitor.decision.finding.evidence


def test_a_first_evaluation_of_a_script_that_only_prints_is_no_stall(
    run: Any, row: Callable[..., Any]
) -> None:
    silent = row(registered=False, phase=Phase.STARTING)
    for step in range(1, 50):
        run.say(step, after=0.5, loss=1.0 + 1.0 / step)
    run.tick(300.0, silent)  # it computes, and says nothing
    assert run.rules == []
    run.say(50, loss=1.0)
    run.tick(301.0, silent)
    assert run.rules == []  # three times the longest silence so far
    run.tick(1000.0, silent)
    assert run.rules == [Rule.STALLED]


def test_stdout_learns_its_longest_gap(run: Any, row: Callable[..., Any]) -> None:
    silent = row(registered=False, phase=Phase.STARTING)
    for step, gap in enumerate([5.0, 5.0, 100.0, 5.0, 5.0], start=1):
        run.say(step, after=gap, loss=1.0)
    run.tick(300.0, silent)
    assert run.rules == []
    run.tick(1.0, silent)
    assert run.monitor.decision.exit_code == 45
    assert "3 × 100 s" in run.monitor.decision.finding.evidence


def test_the_first_epoch_is_as_long_as_the_start(run: Any, row: Callable[..., Any]) -> None:
    silent = row(registered=False, phase=Phase.STARTING)
    run.say(1, after=600.0, loss=1.0)
    run.tick(1799.0, silent)
    assert run.rules == []
    run.tick(2.0, silent)
    assert run.rules == [Rule.STALLED]


def test_a_stdout_script_that_hangs(run_with: Callable[..., Any], row: Callable[..., Any]) -> None:
    run = run_with(stall=Stall(floor_seconds=5))
    for step in range(1, 30):
        run.say(step, after=0.2, loss=1.0)
    run.tick(24.9, row(registered=False, phase=Phase.STARTING))
    assert run.rules == []
    run.tick(0.2, row(registered=False, phase=Phase.STARTING))
    assert run.monitor.decision.want_stacks


def test_warning_heals_when_the_ranks_move_again(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(stall=Stall(on_exceeded=OnExceeded.WARN))
    train(run, row, 5)
    run.tick(100.0, row(step=5, phase_age=100.0))
    assert run.rules == [Rule.STALLED]
    run.step(6, gated=True)
    run.tick(0.0, row(step=6))
    assert run.finding(Rule.STALLED).status is FindingStatus.HEALED
    assert run.monitor.verdict is Verdict.HEALTHY


def test_notify_would_have_restarted(run_with: Callable[..., Any], row: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    train(run, row, 5)
    run.tick(100.0, row(step=5, phase_age=100.0))
    assert run.finding(Rule.STALLED).action is Action.WOULD_RESTART
    assert run.monitor.decision is None


def test_a_save_too_short_for_a_tick_is_learned_from_its_reports(
    run: Any, row: Callable[..., Any]
) -> None:
    train(run, row, 5)
    run.step(5, after=0.1, gated=True, phase=Phase.CHECKPOINT)
    run.step(6, after=0.3, gated=True)
    run.tick(0.6, row(step=6))  # the stamp was never seen elsewhere than in training
    run.step(6, after=0.1, gated=True, phase=Phase.CHECKPOINT)
    run.tick(299.0, row(step=6, phase=Phase.CHECKPOINT, phase_age=299.0))
    assert run.rules == []
    run.tick(2.0, row(step=6, phase=Phase.CHECKPOINT, phase_age=301.0))
    assert run.rules == [Rule.STALLED]
    assert "0.3 s, the longest Checkpoint so far" in run.monitor.decision.finding.evidence


def test_a_named_pause_does_not_widen_the_limit_of_a_step(
    run: Any, row: Callable[..., Any]
) -> None:
    for step in range(1, 6):
        run.step(step)
        run.tick(0.0, row(step=step))
    run.tick(300.0, row(step=5, phase=Phase.EVALUATION, phase_age=299.0))
    run.step(6)
    run.tick(0.0, row(step=6))
    run.tick(61.0, row(step=6, phase_age=61.0))
    assert run.rules == [Rule.STALLED]


def test_a_silent_start_may_take_all_of_its_seconds(run_with: Any) -> None:
    run = run_with(stall=Stall(startup_seconds=20))
    run.monitor.hear_line(0.0, 0)
    run.monitor.observe_work(0.0)
    run.tick(20.0, RankRow(0, 0))
    assert run.finding(Rule.STALLED) is None
    run.tick(0.5, RankRow(0, 0))
    assert run.finding(Rule.STALLED) is not None


@pytest.mark.parametrize("prints", [True, False])
def test_a_start_that_prints_or_computes_is_left_alone(run_with: Any, prints: bool) -> None:
    run = run_with(stall=Stall(startup_seconds=20))
    run.monitor.observe_work(0.0)
    for second in range(90):
        if prints:
            run.monitor.hear_line(float(second), 0)
        else:
            run.monitor.observe_work(float(second))
        run.tick(1.0, RankRow(0, 0))
    assert run.finding(Rule.STALLED) is None


@pytest.mark.parametrize(
    ("reported", "rows"),
    [
        (True, [RankRow(0, 0)]),
        (False, []),
        (False, [RankRow(0, 0, exit_code=0)]),
        (False, [RankRow(0, 0), RankRow(1, 0, phase=Phase.DATA, registered=True)]),
    ],
)
def test_a_start_is_over_with_a_report_a_registered_rank_or_all_ranks(
    run_with: Callable[..., Any], reported: bool, rows: list[RankRow]
) -> None:
    run = run_with(stall=Stall(startup_seconds=20))
    run.monitor.observe_work(0.0)
    if reported:
        run.say(1, loss=1.0)
    run.tick(30.0, *rows)
    assert run.rules == []


def test_a_silent_start_names_its_first_rank_until_that_prints(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(stall=Stall(startup_seconds=20, on_exceeded=OnExceeded.WARN))
    run.monitor.hear_line(1.0, 2)
    run.monitor.observe_work(2.0)
    for _ in range(25):
        run.tick(1.0, RankRow(2, 0), RankRow(3, 1))
    finding = run.finding(Rule.STALLED)
    assert (finding.rank, finding.step, finding.status) == (2, None, FindingStatus.ACTIVE)
    assert finding.evidence.startswith(
        "no step yet, and for 23 s neither a line nor work, limit 20 s"
    )
    run.monitor.hear_line(run.now, 3)
    run.tick(1.0, RankRow(2, 0))
    assert run.finding(Rule.STALLED).status is FindingStatus.HEALED


DONE = RankRow(0, 0, step=20, exit_code=0)


@pytest.mark.parametrize(
    ("every", "limit"), [(1.0, 15.0), (5.0, 15.0), (10.0, 30.0)], ids=["floor", "both", "pace"]
)
@pytest.mark.parametrize(("step", "said"), [(20, "20"), (None, "none yet")])
def test_a_rank_left_behind_by_one_that_ended_well_is_named(
    run_with: Callable[..., Any], every: float, limit: float, step: int | None, said: str
) -> None:
    run = run_with(stall=Stall(floor_seconds=3))
    for number in range(1, 21):
        run.say(number, loss=2.0 / number, after=every)
    late = RankRow(1, 1, step=step, phase=Phase.TRAINING)
    run.tick(0.0, DONE, late)
    run.tick(limit, DONE, dataclasses.replace(late, phase_age=limit))
    assert run.rules == []
    run.tick(1.0, DONE, dataclasses.replace(late, phase_age=limit + 1.0))
    finding = run.finding(Rule.STALLED)
    assert (finding.rank, finding.step) == (1, step)
    assert finding.evidence == (
        f"rank 1 neither ends nor shows a step for {limit + 1:.0f} s, limit {limit:.0f} s; ended: rank 0; rank 1 lags: "
        f"step {said}"
    )


@pytest.mark.parametrize(
    ("line", "step", "age", "told"),
    [
        (None, None, 1.0, True),  # the age of a stamp without a step says nothing
        (None, 3, 5.0, False),
        (None, 3, 90.0, True),
        (95.0, None, 90.0, False),
        (95.0, 3, 90.0, False),
        (10.0, 3, 5.0, False),
        (10.0, None, 90.0, True),
    ],
)
def test_a_line_or_a_step_is_a_sign_of_who_is_left_behind(
    run_with: Callable[..., Any], line: float | None, step: int | None, age: float, told: bool
) -> None:
    run = run_with(stall=Stall(floor_seconds=3))
    run.say(1, loss=1.0)
    run.tick(1.0, DONE, RankRow(1, 1))
    if line is not None:
        run.monitor.hear_line(line, 1)
    run.tick(98.0, DONE, RankRow(1, 1, step=step, phase_age=age))
    assert (run.rules == [Rule.STALLED]) is told


@pytest.mark.parametrize("work", [None, 0.0])
def test_a_rank_that_ended_before_its_first_step_leaves_others_behind_too(
    run_with: Callable[..., Any], row: Callable[..., Any], work: float | None
) -> None:
    run = run_with(stall=Stall(floor_seconds=3, on_exceeded=OnExceeded.WARN))
    if work is not None:
        run.monitor.observe_work(work)
    run.tick(1.0, row(0, phase=Phase.DATA), RankRow(1, 1))
    for _ in range(18):
        run.tick(1.0, DONE, RankRow(1, 1))
    assert run.finding(Rule.STALLED).status is FindingStatus.ACTIVE
    run.monitor.hear_line(run.now, 1)
    run.tick(1.0, DONE, RankRow(1, 1))
    assert run.finding(Rule.STALLED).status is FindingStatus.HEALED


def test_before_the_second_report_of_an_engine_the_floor_alone_counts(
    run_with: Callable[..., Any], row: Callable[..., Any]
) -> None:
    run = run_with(stall=Stall(floor_seconds=1))
    run.step(1, gated=True)
    run.tick(0.0, row(step=1))
    run.tick(2.0, row(step=1, phase_age=2.0))
    assert run.rules == [Rule.STALLED]
