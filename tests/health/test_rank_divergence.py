"""RankDivergence: who is off, by which sign, and what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import Action, FindingStatus, RankRow
from speech_contract.outcome import EXIT_RANK_DISAGREES
from speech_contract.phases import Phase
from speech_contract.progress import Rule, Severity
from speech_contract.report import Peers
from speech_contract.thresholds import HealthMode, OnExceeded, RankDivergence
from speech_health.rank_divergence import Vote, laggard, outlier, vote

RULE = Rule.RANK_DIVERGENCE
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def peers(step: int, groups: list[list[int]] | None = None, world: int = 3, **more: Any) -> Peers:
    """A comparison; everything alike unless said otherwise."""
    groups = groups or [list(range(world))]
    more.setdefault("gradient_norms", [1.0] * world)
    more.setdefault("wait_ratios", [0.1] * world)
    more.setdefault("agreed_step", step if len(groups) == 1 else step - 100)
    return Peers(step=step, groups=groups, **more)


@pytest.mark.parametrize(
    ("groups", "deviations", "expected"),
    [
        ([[0, 1], [2]], [], Vote((2,), 2, 2)),
        ([[1, 2, 3], [0]], [], Vote((0,), 0, 3)),
        ([[0, 1, 2], [3], [4]], [], Vote((3, 4), None, 3)),
        ([[0, 1, 2], [3], [4]], [1, 1, 1, 50, 1], Vote((3, 4), 3, 3)),
        ([[0], [1]], [], Vote((0, 1), None, 0)),
        ([[0], [1]], [1.2, 90.0], Vote((0, 1), 1, 0)),
        ([[0], [1]], [40.0, 90.0], Vote((0, 1), None, 0)),  # both left their history
        ([[0], [1]], [1.0, 3.9], Vote((0, 1), None, 0)),
        ([[0], [1]], [1.0, 4.0], Vote((0, 1), 1, 0)),
        ([[0], [1]], [2.0, 8.0], Vote((0, 1), 1, 0)),
        ([[0], [1]], [2.0, 7.9], Vote((0, 1), None, 0)),
        ([[0], [1]], [1.0, math.inf], Vote((0, 1), 1, 0)),
        ([[0, 1], [2, 3]], [1, 1, 1, 1], Vote((0, 1, 2, 3), None, 0)),
        ([[0], [1], [2]], [], Vote((0, 1, 2), None, 0)),
    ],
)
def test_a_majority_votes_else_the_gradient_leans(
    groups: Sequence[Sequence[int]], deviations: Sequence[float], expected: Vote
) -> None:
    assert vote(groups, deviations) == expected


@given(world=st.integers(3, 64), data=st.data())
def test_one_rank_alone_is_named_in_every_world(world: int, data: st.DataObject) -> None:
    off = data.draw(st.integers(0, world - 1))
    found = vote([[r for r in range(world) if r != off], [off]])
    assert (found.suspect, found.suspects) == (off, (off,))


@given(st.lists(st.floats(0.1, 1.9), min_size=1, max_size=64))
def test_alike_values_have_no_outlier(values: list[float]) -> None:
    assert outlier(values, 20.0) is None


@given(world=st.integers(3, 64), times=st.sampled_from([21.0, 1e-3, math.inf]), data=st.data())
def test_one_value_far_off_is_found(world: int, times: float, data: st.DataObject) -> None:
    off = data.draw(st.integers(0, world - 1))
    values = [times if rank == off else 1.0 for rank in range(world)]
    found = outlier(values, 20.0)
    assert found is not None
    assert found[0] == off


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 99.0], [0.0, 1.0, 99.0], [math.nan] * 3])
def test_where_none_can_be_off_none_is(values: list[float]) -> None:
    assert outlier(values, 20.0) is None


@pytest.mark.parametrize(
    ("waits", "found"),
    [
        ([0.5, 0.05], (1, 0.45)),
        ([0.4, 0.4, 0.02, 0.4], (2, 0.38)),
        ([0.4, 0.4, 0.4], None),  # a slow network slows all
        ([0.2, 0.0], None),
        ([], None),
        ([math.nan, 0.5], None),
    ],
)
def test_the_slow_rank_is_the_one_that_does_not_wait(
    waits: list[float], found: tuple[int, float] | None
) -> None:
    seen = laggard(waits, 0.3)
    assert seen == (found and (found[0], pytest.approx(found[1])))


def test_one_rank_that_differs_ends_the_attempt_by_name(run: Any) -> None:
    run.step(100, peers=peers(100))
    run.step(200, peers=peers(200, [[0, 1], [2]], differs="decoder"))
    decision = run.monitor.decision
    assert (decision.exit_code, decision.finding.rank) == (EXIT_RANK_DISAGREES, 2)
    assert decision.next is OnExceeded.RESTART
    finding = run.finding(RULE)
    assert (finding.severity, finding.action, finding.step) == (
        Severity.CRITICAL,
        Action.RESTARTED,
        200,
    )
    for words in ("first in decoder", "rank 2 against 2 others", "agreed at step 100", "outvoted"):
        assert words in finding.evidence


def test_two_ranks_cannot_vote_and_the_evidence_says_so(run: Any) -> None:
    for step in (100, 200, 300):
        run.step(step, peers=peers(step, world=2))
    run.step(400, peers=peers(400, [[0], [1]], world=2, agreed_step=300))
    finding = run.finding(RULE)
    assert finding.rank is None
    assert "rank 0 against rank 1" in finding.evidence
    assert "cannot vote" in finding.evidence
    assert run.monitor.decision.exit_code == EXIT_RANK_DISAGREES


def test_two_ranks_lean_on_the_gradient_that_left_its_history(run: Any) -> None:
    for step in (100, 200, 300):
        run.step(step, peers=peers(step, world=2, gradient_norms=[2.0, 1.0]))
    run.step(400, peers=peers(400, [[0], [1]], world=2, gradient_norms=[2.1, 70.0]))
    assert run.finding(RULE).rank == 1
    assert "suspected" in run.finding(RULE).evidence


@pytest.mark.parametrize(("norm", "suspect"), [(1.0, None), (3.9, None), (4.0, 1), (math.nan, 1)])
def test_a_rank_with_an_empty_batch_is_beside_its_history(
    run: Any, norm: float, suspect: int | None
) -> None:
    for step in (100, 200, 300):
        run.step(step, peers=peers(step, world=2))
    run.step(400, peers=peers(400, [[0], [1]], world=2, gradient_norms=[0.0, norm]))
    assert run.finding(RULE).rank == suspect


def test_a_comparison_before_a_save_leans_on_the_newest_sample(run: Any) -> None:
    norms = [[2.0, 1.0]] * 3 + [[2.0, 60.0]]
    for number, both in enumerate(norms, start=1):
        run.step(100 * number, peers=peers(100 * number, world=2, gradient_norms=both))
    saved = peers(450, [[0], [1]], world=2, gradient_norms=[], wait_ratios=[])
    run.step(450, peers=saved)
    assert run.finding(RULE).rank == 1


def test_a_step_counter_that_differs_is_no_weight(run: Any) -> None:
    run.step(100, peers=peers(100, [[0, 1], [2]], differs="step counter", agreed_step=None))
    assert run.finding(RULE).evidence.startswith("step counters differ at step 100;")
    assert "never agreed" in run.finding(RULE).evidence


@pytest.mark.parametrize(
    ("health", "action"),
    [
        ({"mode": HealthMode.NOTIFY}, Action.WOULD_RESTART),
        ({"rank_divergence": RankDivergence(on_exceeded=OnExceeded.WARN)}, Action.WARNED),
    ],
)
def test_told_and_not_acted_upon_it_heals_when_they_agree(
    run_with: Callable[..., Any], health: dict[str, Any], action: Action
) -> None:
    run = run_with(**health)
    differ = peers(100, [[0, 1], [2]])
    for step in range(100, 110):  # at every step while they disagree
        run.step(step, peers=differ)
    assert (run.finding(RULE).action, run.monitor.decision) == (action, None)
    run.step(200, peers=peers(200))
    assert run.finding(RULE).status is FindingStatus.HEALED


def test_a_slow_rank_is_a_warning_after_three_samples_and_heals(run: Any) -> None:
    for number in (1, 2):
        run.step(100 * number, peers=peers(100 * number, wait_ratios=[0.5, 0.02, 0.5]))
    assert run.finding(RULE) is None
    run.step(300, peers=peers(300, wait_ratios=[0.5, 0.02, 0.5]))
    finding = run.finding(RULE)
    assert (finding.severity, finding.rank) == (Severity.WARNING, 1)
    assert "48%" in finding.evidence
    assert run.monitor.decision is None
    run.step(400, peers=peers(400))
    assert run.finding(RULE).status is FindingStatus.HEALED


def test_waits_that_move_from_rank_to_rank_are_no_slow_rank(run: Any) -> None:
    for number in range(1, 30):
        waits = [0.5, 0.5, 0.5]
        waits[number % 3] = 0.0
        run.step(100 * number, peers=peers(100 * number, wait_ratios=waits))
    assert run.finding(RULE) is None


def test_a_gradient_far_off_is_a_warning_that_names_the_rank(run: Any) -> None:
    for number in (1, 2, 3):
        run.step(100 * number, peers=peers(100 * number, gradient_norms=[1.0, 1.1, 40.0]))
    finding = run.finding(RULE)
    assert (finding.severity, finding.rank) == (Severity.WARNING, 2)


def test_a_warning_becomes_critical_when_the_weights_differ(run: Any) -> None:
    for number in (1, 2, 3):
        run.step(100 * number, peers=peers(100 * number, wait_ratios=[0.5, 0.02, 0.5]))
    run.step(400, peers=peers(400, [[0, 1], [2]], wait_ratios=[0.5, 0.02, 0.5]))
    assert (run.finding(RULE).severity, run.finding(RULE).rank) == (Severity.CRITICAL, 2)


def rows(*steps: int, phase: Phase = Phase.TRAINING) -> list[RankRow]:
    return [RankRow(r, r, step=s, phase=phase, registered=True) for r, s in enumerate(steps)]


@pytest.mark.parametrize(("steps", "rank"), [((500, 500, 100), 2), ((500, 90), 1)])
def test_a_step_counter_far_behind_for_long_is_a_warning(
    run: Any, steps: tuple[int, ...], rank: int
) -> None:
    run.step(500)
    run.tick(1.0, *rows(*steps))
    assert run.finding(RULE) is None
    run.tick(31.0, *rows(*steps))
    assert (run.finding(RULE).severity, run.finding(RULE).rank) == (Severity.WARNING, rank)
    run.tick(1.0, *rows(*([600] * len(steps))))
    assert run.finding(RULE).status is FindingStatus.HEALED


def test_the_rank_that_is_named_is_the_one_farthest_behind_now(run: Any) -> None:
    run.step(500)
    run.tick(1.0, *rows(500, 300, 500, 500, 500))
    run.tick(31.0, *rows(500, 300, 500, 500, 500))
    assert run.finding(RULE).rank == 1
    run.tick(1.0, *rows(500, 300, 500, 100, 500))
    run.tick(31.0, *rows(500, 300, 500, 100, 500))
    assert run.finding(RULE).rank == 3


def test_a_late_summary_is_no_skew(run: Any) -> None:
    for second in range(60):
        lag = 150 if second % 2 else 20
        run.tick(1.0, *rows(1000 + second, 1000 + second - lag, 1000 + second))
    assert run.finding(RULE) is None


@quick
@given(
    world=st.integers(2, 8),
    table=st.lists(
        st.tuples(st.floats(0.2, 3.0), st.floats(0.0, 0.25), st.floats(-5.0, 5.0)),
        min_size=1,
        max_size=30,
    ),
    data=st.data(),
)
def test_ranks_that_agree_raise_nothing(
    run_with: Callable[..., Any], world: int, table: list[Any], data: st.DataObject
) -> None:
    run = run_with()
    order = data.draw(st.permutations(range(world)))
    for number, (norm, wait, loss) in enumerate(table, start=1):
        told = peers(
            100 * number,
            world=world,
            gradient_norms=[norm * (1 + 0.1 * r) for r in order],
            wait_ratios=[wait * (1 + r / world) / 2 for r in order],
            losses=[loss] * world,
        )
        run.step(100 * number, peers=told)
    assert run.finding(RULE) is None


@quick
@given(
    world=st.integers(2, 8),
    quiet=st.integers(0, 20),
    data=st.data(),
)
def test_a_difference_is_heard_at_its_comparison_wherever_it_comes(
    run_with: Callable[..., Any], world: int, quiet: int, data: st.DataObject
) -> None:
    run = run_with()
    off = data.draw(st.integers(0, world - 1))
    for number in range(1, quiet + 1):
        run.step(100 * number, peers=peers(100 * number, world=world))
    step = 100 * (quiet + 1)
    groups = sorted([[r for r in range(world) if r != off], [off]], key=lambda g: (-len(g), g[0]))
    run.step(step, peers=peers(step, groups, world=world))
    assert run.monitor.decision.exit_code == EXIT_RANK_DISAGREES
    assert run.finding(RULE).rank == (off if world > 2 else None)


@pytest.mark.parametrize(
    ("values", "times"), [([2.0, 2.0, 200.0], 100.0), ([2.0, 2.0, 0.02], 100.0)]
)
def test_an_outlier_is_told_by_how_many_times_it_is_off(values: list[float], times: float) -> None:
    found = outlier(values, 20.0)
    assert found is not None
    assert found == (2, pytest.approx(times))
