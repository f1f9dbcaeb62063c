"""Rates come from the manifest, progress from the checkpoint: for any schedule, any pattern of bad steps."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as lr
from torch.optim.lr_scheduler import LRScheduler

from speech_trainer.engine.recipe import OptimizerPlan
from speech_trainer.engine.schedules import LateSchedules

Make = Callable[[Optimizer], LRScheduler | None]

SCHEDULES: dict[str, Make] = {
    "none": lambda o: None,
    "lambda": lambda o: lr.LambdaLR(o, lambda n: 1 / (n + 1)),
    "exponential": lambda o: lr.ExponentialLR(o, 0.9),
    "cosine": lambda o: lr.CosineAnnealingLR(o, 20),
    "milestones": lambda o: lr.MultiStepLR(o, [3, 7]),
    "warm-up": lambda o: lr.SequentialLR(
        o, [lr.LinearLR(o, 0.1, total_iters=4), lr.ExponentialLR(o, 0.8)], [4]
    ),
}


def late(make: Make, rate: float) -> LateSchedules:
    """A fresh run of one optimizer."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, fused=True)
    plan = OptimizerPlan(optimizer, {"m": model}, make(optimizer))
    optimizer.step()  # else torch warns that the schedule came first
    return LateSchedules({"main": plan}, torch.device("cpu"))


def train(schedules: LateSchedules, pattern: list[bool]) -> None:
    for bad in pattern:
        schedules.advance(["main"], torch.tensor(bad))
        schedules.settle(bad=bad)


patterns = st.lists(st.booleans(), max_size=25)


@given(kind=st.sampled_from(sorted(SCHEDULES)), before=patterns, after=patterns)
def test_a_resumed_run_has_the_rates_of_one_that_was_never_cut(
    kind: str, before: list[bool], after: list[bool]
) -> None:
    whole, cut = late(SCHEDULES[kind], 0.3), late(SCHEDULES[kind], 0.3)
    train(whole, before)
    state = json.loads(json.dumps(whole.state_dict()))
    train(cut, after)  # rolled back in this very process: where it stands must not count
    cut.load_state_dict(state)
    assert cut.state_dict() == whole.state_dict()
    train(whole, after)
    train(cut, after)
    assert cut.state_dict() == whole.state_dict()
    assert cut.rate("main").item() == whole.rate("main").item()


@given(kind=st.sampled_from(sorted(SCHEDULES)), updates=st.integers(0, 25))
def test_a_lower_rate_is_followed_from_where_the_run_stands(kind: str, updates: int) -> None:
    old, new = late(SCHEDULES[kind], 0.4), late(SCHEDULES[kind], 0.1)
    train(old, [False] * updates)
    new.run_ahead("main", 30)
    new.load_state_dict(old.state_dict())
    told = late(SCHEDULES[kind], 0.1)
    train(told, [False] * updates)
    assert new.state_dict() == told.state_dict()
    assert new.rate("main").item() == pytest.approx(new.planned("main"))  # so no ScheduleMismatch


def test_a_longer_plan_is_computed_anew_at_the_restored_count() -> None:
    def cosine(length: int) -> Make:
        return lambda o: lr.CosineAnnealingLR(o, length)

    short, longer = late(cosine(10), 1.0), late(cosine(20), 1.0)
    train(short, [False] * 10)
    longer.load_state_dict(short.state_dict())
    assert short.rate("main").item() == pytest.approx(0, abs=1e-7)
    assert longer.rate("main").item() == pytest.approx(0.5)


def test_updates_of_a_checkpoint_that_kept_the_schedule_itself_are_understood() -> None:
    schedules = late(SCHEDULES["lambda"], 1.0)
    schedules.load_state_dict({"main": {"rates": [9.0], "schedule": {"last_epoch": 4}}})
    assert schedules.state_dict()["main"] == {"updates": 4, "rates": [0.2]}
