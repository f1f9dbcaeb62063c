"""NotUpdating: bit-identical checkpoints, by module, and plans that cannot move a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import Action, FindingStatus
from speech_contract.outcome import EXIT_NOT_LEARNING
from speech_contract.progress import Rule, Severity
from speech_contract.report import Plan, Weights
from speech_contract.thresholds import HealthMode, NotUpdating, OnExceeded

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def save(run: Any, step: int, unchanged: Mapping[str, float], updates: int = 10) -> None:
    """A report that follows a checkpoint of `step`."""
    weights = Weights(step, step - updates, updates, dict(unchanged), {}, 1e-3)
    run.step(step + 1, loss=1.0, gradient_norm=1.0, weights=weights)


def test_every_module_still_stops_the_run(run: Any) -> None:
    save(run, 100, {"flow": 1.0, "decoder": 1.0}, updates=100)
    decision = run.monitor.decision
    assert decision.exit_code == EXIT_NOT_LEARNING
    assert decision.finding.rule is Rule.NOT_UPDATING
    assert (
        "every weight is bit-identical over 100 updates, from step 0" in decision.finding.evidence
    )
    assert "add up to 0.001" in decision.finding.evidence


def test_short_distances_add_up_while_nothing_moves(run: Any) -> None:
    save(run, 5, {"flow": 1.0}, updates=5)
    assert run.rules == []
    save(run, 10, {"flow": 1.0}, updates=5)
    assert run.monitor.decision is not None
    assert run.finding(Rule.NOT_UPDATING).step == 0


def test_a_module_that_moves_in_between_starts_over(run: Any) -> None:
    for step, share in ((5, 1.0), (10, 0.3), (15, 1.0), (20, 0.0)):
        save(run, step, {"flow": share}, updates=5)
    assert run.rules == []


def test_one_module_still_is_a_warning_and_heals(run: Any) -> None:
    save(run, 10, {"flow": 1.0, "decoder": 0.1})
    finding = run.finding(Rule.NOT_UPDATING)
    assert finding.severity is Severity.WARNING
    assert "1 of 2 modules are bit-identical" in finding.evidence
    assert finding.evidence.endswith("flow")
    save(run, 20, {"flow": 0.5, "decoder": 0.1})
    assert run.finding(Rule.NOT_UPDATING).status is FindingStatus.HEALED
    assert run.monitor.decision is None


def test_the_same_comparison_told_twice_counts_once(run: Any) -> None:
    for _ in range(3):
        save(run, 5, {"flow": 1.0}, updates=5)
    assert run.rules == []


def test_without_an_update_between_nothing_is_said(run: Any) -> None:
    save(run, 10, {"flow": 1.0}, updates=0)
    save(run, 20, {}, updates=10)
    assert run.rules == []


@pytest.mark.parametrize(
    ("mode", "action"),
    [(HealthMode.NOTIFY, Action.WOULD_STOP), (HealthMode.ENFORCE, Action.STOPPED)],
)
def test_notify_says_what_it_would_have_done(
    run_with: Callable[..., Any], mode: HealthMode, action: Action
) -> None:
    run = run_with(mode=mode)
    save(run, 10, {"flow": 1.0})
    assert run.finding(Rule.NOT_UPDATING).action is action
    assert (run.monitor.decision is None) == (mode is HealthMode.NOTIFY)


def test_warn_never_ends_the_run(run_with: Callable[..., Any]) -> None:
    run = run_with(not_updating=NotUpdating(on_exceeded=OnExceeded.WARN))
    save(run, 10, {"flow": 1.0})
    assert run.finding(Rule.NOT_UPDATING).severity is Severity.WARNING
    assert run.monitor.decision is None


@pytest.mark.parametrize(
    ("plan", "fires"),
    [
        (Plan(300, 300 * 1e-5, fresh=True), True),  # 33 files, 300 steps, 1e-5: cannot learn
        (Plan(300, 300 * 1e-5, fresh=False), False),  # the same adapts a pretrained model
        (Plan(300, 300 * 1e-7, fresh=False), True),
        (Plan(1000, 1.0, fresh=True), False),
        (Plan(20000, 0.2, fresh=True), False),
        (Plan(10, 1e-4, fresh=True), False),  # a trial
        (Plan(None, 1e-5, fresh=True), False),
        (Plan(300, None, fresh=True), False),
        (Plan(300, 0.0, fresh=None), True),
        (Plan(300, float("nan"), fresh=True), False),
    ],
)
def test_a_plan_that_moves_nothing_is_a_warning_at_the_start(
    run: Any, plan: Plan, fires: bool
) -> None:
    run.step(1, loss=1.0, plan=plan)
    assert (run.rules == [Rule.NOT_UPDATING]) == fires
    assert run.monitor.decision is None
    save(run, 100, {"flow": 0.0})
    active = [f for f in run.monitor.findings if f.status is FindingStatus.ACTIVE]
    assert bool(active) == fires  # that weights move does not mend the plan


def test_a_missing_gradient_pages_alone(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in (1, 2):
        run.step(step, loss=1.0, gradient_norm=0.0)
    save_with_zero = Weights(12, 2, 10, {"flow": 1.0}, {})
    run.step(13, loss=1.0, gradient_norm=0.0, weights=save_with_zero)
    assert run.rules == [Rule.NO_GRADIENT]


modules = st.sampled_from(["flow", "decoder", "text_encoder"])
moved = st.dictionaries(modules, st.floats(0.0, 1.0, exclude_max=True), min_size=1)


@quick
@given(saves=st.lists(st.tuples(st.integers(1, 500), moved), max_size=20))
def test_never_while_every_module_moves(run_with: Callable[..., Any], saves: Any) -> None:
    run = run_with()
    step = 0
    for updates, shares in saves:
        step += updates
        save(run, step, shares, updates=updates)
    assert run.rules == []


@quick
@given(
    before=st.lists(st.tuples(st.integers(1, 50), moved), max_size=5),
    every=st.integers(1, 40),
    limit=st.integers(1, 60),
    names=st.sets(modules, min_size=1),
)
def test_always_at_the_save_that_completes_the_updates(
    run_with: Callable[..., Any], before: Any, every: int, limit: int, names: set[str]
) -> None:
    run = run_with(not_updating=NotUpdating(min_updates=limit))
    step = 0
    for updates, shares in before:
        step += updates
        save(run, step, shares, updates=updates)
    for number in range(1, -(-limit // every) + 1):
        assert run.monitor.decision is None
        save(run, step + number * every, dict.fromkeys(names, 1.0), updates=every)
    assert run.monitor.decision.finding.step == step
