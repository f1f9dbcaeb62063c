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
WILD: dict[str, Any] = {"gradient_norms": [1.0, 1.1, 42.0]}
SLOW: dict[str, Any] = {"wait_ratios": [0.5, 0.02, 0.5]}
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
        ([[0], [1], [2]], [1.0, 90.0, 1.0], Vote((0, 1, 2), 1, 0)),
        ([], [], Vote((), None, 0)),
    ],
)
def test_a_majority_votes_else_the_gradient_leans(
    groups: Sequence[Sequence[int]], deviations: Sequence[float], expected: Vote
) -> None:
    assert vote(groups, deviations) == expected


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


@pytest.mark.parametrize(
    ("values", "factor", "found"),
    [
        ([2.0, 2.0, 200.0], 20.0, (2, 100.0)),
        ([2.0, 2.0, 0.02], 20.0, (2, 100.0)),
        ([1.0, 20.0, 1.0], 20.0, (1, 20.0)),  # at the factor
        ([1.0, 19.9, 1.0], 20.0, None),
        # Of three ranks the others are two, and the one far off is among them: by their mean it would be rank 0.
        ([1.0, 4.0, 100.0], 20.0, (2, 50.0)),
        ([100.0, 25.0, 1.0], 20.0, (2, 50.0)),
        ([1.0, 1.0, 4.0, 4.0, 100.0], 20.0, (4, 50.0)),
        ([], 20.0, None),
        ([1.0], 20.0, None),
        ([1.0, 99.0], 20.0, None),
        ([0.0, 1.0, 99.0], 20.0, None),
        ([math.nan] * 3, 20.0, None),
        ([1.0, 1.6, 1.0], 1.5, (1, 1.6)),
        ([1.0, 0.0, 1.0, 50.0], 20.0, (3, 50.0)),
        ([1.0, math.nan, 1.0, math.nan], 20.0, (1, math.inf)),  # the first of those
    ],
)
def test_an_outlier_is_told_by_how_many_times_it_is_off(
    values: list[float], factor: float, found: tuple[int, float] | None
) -> None:
    assert outlier(values, factor) == pytest.approx(found)


@pytest.mark.parametrize(
    ("waits", "found"),
    [
        ([0.5, 0.05], (1, 0.45)),
        ([0.4, 0.4, 0.02, 0.4], (2, 0.38)),
        ([0.4, 0.4, 0.4], None),  # a slow network slows all
        ([0.2, 0.0], None),
        ([0.5, 0.2], (1, 0.3)),  # at the ratio
        ([0.1], None),
        ([], None),
        ([math.nan, 0.5], None),
    ],
)
def test_the_slow_rank_is_the_one_that_does_not_wait(
    waits: list[float], found: tuple[int, float] | None
) -> None:
    assert laggard(waits, 0.3) == pytest.approx(found)


def test_one_rank_that_differs_ends_the_attempt_by_name(run: Any) -> None:
    run.step(100, peers=peers(100))
    run.step(200, peers=peers(200, [[0, 1], [2]], differs="decoder"))
    decision = run.monitor.decision
    assert (decision.exit_code, decision.finding.rank) == (EXIT_RANK_DISAGREES, 2)
    assert decision.next is OnExceeded.RESTART
    finding = run.finding(RULE)
    assert (finding.severity, finding.action) == (Severity.CRITICAL, Action.RESTARTED)
    assert finding.step == 200
    for words in ("first in decoder", "rank 2 against 2 others", "agreed at step 100", "outvoted"):
        assert words in finding.evidence


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


@pytest.mark.parametrize(
    ("groups", "norms", "told"),
    [
        ([[0], [1]], [1.0] * 2, "step 400, first in weights; rank 0 against rank 1; they agreed"),
        ([[0], [1]], [1.0] * 2, "cannot vote, and no gradient norm is off, so no node is left out"),
        ([[0], [1], [2]], [1.0, 50.0, 1.0], "; rank 1 is suspected, for its own gradient norm"),
        ([[0, 1, 2], [3], [4]], [1.0] * 5, "; several ranks are off, so no node is left out"),
        ([[0, 1, 2], [3], [4]], [1.0] * 4 + [50.0], "ranks 3, 4 against 3 others; they agreed"),
        ([[0, 1, 2], [3], [4]], [1.0] * 4 + [50.0], "; rank 4 is suspected, for its own gradi"),
        ([[n] for n in range(10)], [1.0] * 10, "against rank 6 against rank 7; they agreed"),
        ([[*range(20)], [*range(20, 28)]], [1.0] * 28, "ranks 20, 21, 22, 23, 24, 25, 26, 27 aga"),
        ([[*range(20)], [*range(20, 29)]], [1.0] * 29, "25, 26, 27 and 1 more against 20 others"),
    ],
)
def test_the_evidence_names_the_sides_and_the_suspect(
    run: Any, groups: list[list[int]], norms: list[float], told: str
) -> None:
    world = len(norms)
    for step in (100, 200, 300):
        run.step(step, peers=peers(step, world=world))
    run.step(400, peers=peers(400, groups, world=world, gradient_norms=norms))
    assert told in run.finding(RULE).evidence


@pytest.mark.parametrize(
    ("history", "newest", "suspect"),
    [
        ([[1.0, 1.0]] * 2, [1.0, 70.0], None),  # three samples are the least
        ([[1.0, 1.0]] * 3, [1.0, 70.0], 1),
        ([[0.5, 0.5]] * 3, [0.5, 35.0], 1),
        ([], [1.0, 70.0], None),
        ([[1.0, 1.0]] * 2 + [[0.0, 1.0]], [1.0, 70.0], None),  # neither is kept
        ([[1.0, 1.0]] * 2 + [[1.0, math.nan]], [1.0, 70.0], None),
        ([[1.0, 1.0]] * 11 + [[1.0, 100.0]] * 10, [1.0, 60.0], None),  # of twenty samples
        ([[1.0, 1.0]] * 12 + [[1.0, 100.0]] * 9, [1.0, 60.0], 1),
        ([[1.0, 1.0, math.nan]] * 3, [70.0, 1.0, 1.0], None),  # one has no history
        ([[1.0, 1.0], [1.0, 70.0]], [], None),
        ([[2.0, 1.0]] * 3 + [[2.0, 60.0]], [], 1),  # before a save: by the newest sample
        ([[1.0, 1.0]] * 3, [0.0, 1.0], None),
        ([[1.0, 1.0]] * 3, [0.0, 4.0], 1),  # an empty batch is beside its history
        ([[1.0, 1.0]] * 3, [0.0, math.nan], 1),
        ([[1.0, 1.0, 1.0]] * 3, [70.0, 1.0, 1.0], 0),
    ],
)
def test_a_norm_leans_the_vote_by_its_own_newest_history(
    run: Any, history: list[list[float]], newest: list[float], suspect: int | None
) -> None:
    world = len(newest or history[0])
    for step, norms in enumerate(history, start=1):
        run.step(step, peers=peers(step, world=world, gradient_norms=norms))
    apart = [[rank] for rank in range(world)]
    run.step(99, peers=peers(99, apart, world=world, gradient_norms=newest))
    assert run.finding(RULE).rank == suspect


def test_a_slow_rank_is_a_warning_after_three_samples_and_heals(run: Any) -> None:
    for number in (1, 2):
        run.step(100 * number, peers=peers(100 * number, **SLOW))
    assert run.finding(RULE) is None
    run.step(300, peers=peers(300, **SLOW))
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


def test_a_gradient_far_off_is_a_warning_that_names_the_rank_and_heals(run: Any) -> None:
    for number in (1, 2, 3, 4):
        assert (run.finding(RULE) is None) is (number < 4)
        run.step(100 * number, peers=peers(100 * number, **WILD))
    finding = run.finding(RULE)
    assert (finding.severity, finding.rank, finding.step) == (Severity.WARNING, 2, 300)
    assert finding.evidence == (
        "rank 2's own gradient norm 42 is 40 times off its peers' in 3 samples in a row up to step 300, threshold 20"
    )
    run.step(500, peers=peers(500, gradient_norms=[]))  # nothing was sampled
    assert run.finding(RULE).status is FindingStatus.ACTIVE
    run.step(600, peers=peers(600))
    assert run.finding(RULE).evidence.endswith("healed: gradient norms are alike at step 600")


@pytest.mark.parametrize("off", [WILD, SLOW])
def test_a_sample_in_which_nobody_is_off_ends_the_row(run: Any, off: dict[str, Any]) -> None:
    for number in (1, 2, 4, 5):
        run.step(100 * number, peers=peers(100 * number, **off))
        run.step(100 * number, peers=peers(100 * number, **off))  # said twice, counted once
        if number == 2:
            run.step(300, peers=peers(300))
    assert run.finding(RULE) is None
    run.step(600, peers=peers(600, **off))
    assert run.finding(RULE) is not None


def test_what_was_told_first_stays_until_it_heals_and_may_come_again(run: Any) -> None:
    for step in (1, 2, 3):
        run.step(step, peers=peers(step, **SLOW))
    for step in (4, 5, 6):
        run.step(step, peers=peers(step, **SLOW, **WILD))
    assert run.finding(RULE).rank == 1
    run.step(7, peers=peers(7, **WILD))  # nobody waits any more
    assert run.finding(RULE).status is FindingStatus.HEALED
    run.step(8, peers=peers(8, **WILD))
    finding = run.finding(RULE)
    assert (finding.status, finding.rank, finding.step) == (FindingStatus.ACTIVE, 2, 8)
    run.step(9, peers=peers(9))
    for step in (10, 11, 12):
        run.step(step, peers=peers(step, **WILD))
    assert (run.finding(RULE).status, run.finding(RULE).step) == (FindingStatus.ACTIVE, 12)


def test_a_warning_becomes_critical_when_the_weights_differ(run: Any) -> None:
    for number in (1, 2, 3):
        run.step(100 * number, peers=peers(100 * number, **SLOW))
    run.step(400, peers=peers(400, [[0, 1], [2]], **SLOW))
    assert (run.finding(RULE).severity, run.finding(RULE).rank) == (Severity.CRITICAL, 2)


def rows(*steps: int) -> list[RankRow]:
    return [RankRow(r, r, s, Phase.TRAINING, registered=True) for r, s in enumerate(steps)]


@pytest.mark.parametrize(
    ("steps", "rank", "usual"),
    [
        ((500, 500, 100), 2, 500),
        ((500, 90), 1, 500),
        ((90, 500), 0, 500),
        ((100, 100, 500), 2, 100),
        ((100, 500, 500), 0, 500),
        ((500, 500, 100, 100), 0, 100),
        ((500, 399, 500), 1, 500),
        ((500, 100, 500, 700, 500), 1, 500),  # of two the farther one
    ],
)
def test_a_step_counter_far_off_for_long_is_a_warning(
    run: Any, steps: tuple[int, ...], rank: int, usual: int
) -> None:
    run.step(500)
    run.tick(1.0, *rows(*steps))
    run.tick(29.5, *rows(*steps))
    assert run.finding(RULE) is None
    run.tick(0.5, *rows(*steps))
    finding = run.finding(RULE)
    assert (finding.severity, finding.rank, finding.step) == (Severity.WARNING, rank, steps[rank])
    assert finding.evidence == (
        f"rank {rank} is at step {steps[rank]}, its peers at {usual}, for 30 s and more; threshold 100 steps"
    )
    run.tick(1.0, *rows(*([600] * len(steps))))
    assert run.finding(RULE).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    "ranks",
    [
        [],
        rows(500),
        rows(500, 400),
        rows(500, 500, 400),
        [*rows(500, 500), RankRow(2, 2, phase=Phase.TRAINING)],
        [*rows(500, 500), RankRow(2, 2, step=100, phase=Phase.STARTING)],
        [*rows(500, 500), RankRow(2, 2, step=100, phase=Phase.TRAINING, exit_code=0)],
    ],
)
def test_where_no_rank_in_training_is_far_off_none_is(run: Any, ranks: list[RankRow]) -> None:
    run.step(500)
    for _ in range(3):
        run.tick(31.0, *ranks)
    assert run.finding(RULE) is None


def test_the_rank_that_is_named_is_the_one_farthest_behind_now(run: Any) -> None:
    run.step(500)
    for _ in range(2):
        run.tick(31.0, *rows(500, 300, 500, 500, 500))
    assert run.finding(RULE).rank == 1
    run.tick(1.0, *rows(500, 500, 500, 100, 500))  # another one, not for long
    assert (run.finding(RULE).rank, run.finding(RULE).status) == (1, FindingStatus.ACTIVE)
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
@given(world=st.integers(2, 8), quiet=st.integers(0, 20), data=st.data())
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
