"""NotUpdating, whatever the checkpoints: never while every module moves, always once none moved for long enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.report import Weights
from speech_contract.thresholds import NotUpdating

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def save(run: Any, step: int, unchanged: Mapping[str, float], updates: int = 10) -> None:
    """A report that follows a checkpoint of `step`."""
    weights = Weights(step, step - updates, updates, dict(unchanged), {}, 1e-3)
    run.step(step + 1, loss=1.0, gradient_norm=1.0, weights=weights)


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
