"""GoalUnreachable, whatever the scores: never within a share, always at the third worse evaluation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.progress import Rule

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def evaluate(run: Any, *values: float) -> None:
    """An evaluation each 20 steps, no two alike; the loss falls by two per cent a step."""
    step = int(run.now)
    for exact in values:
        value = exact * (1.0 + 1e-9 * step)
        for _ in range(20):
            step += 1
            run.step(step, loss=100.0 * 0.98**step, evaluation={"dtw_mel": value})


@quick
@given(values=st.lists(st.floats(0.5, 0.599), min_size=1, max_size=40))
def test_never_while_scores_stay_within_their_share(
    run_with: Callable[..., Any], values: list[float]
) -> None:
    run = run_with()
    evaluate(run, *values)
    assert Rule.GOAL_UNREACHABLE not in run.rules


@quick
@given(
    level=st.floats(1e-3, 1e3),
    before=st.integers(3, 10),
    rises=st.lists(st.floats(1.21, 3.0), min_size=3, max_size=3),
)
def test_always_at_the_third_worse_evaluation(
    run_with: Callable[..., Any], level: float, before: int, rises: list[float]
) -> None:
    run = run_with()
    evaluate(run, *[level] * before)
    for value in list(itertools.accumulate(rises, lambda a, b: a * b))[:2]:
        evaluate(run, level * value)
        assert Rule.GOAL_UNREACHABLE not in run.rules
    evaluate(run, level * math.prod(rises))
    assert run.finding(Rule.GOAL_UNREACHABLE) is not None
