"""What a foreign Trainer plans: real schedules of torch, added up beforehand as they then go, and left as they were."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as lrs

from speech_telemetry import planned
from speech_telemetry.planned import plan_of, rate_sum

STEPS = 60
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "lambda": lambda o: lrs.LambdaLR(o, [lambda k: min(1.0, k / 20), lambda k: 0.5]),
    "cosine": lambda o: lrs.CosineAnnealingLR(o, STEPS),
    "one cycle": lambda o: lrs.OneCycleLR(o, [1e-3, 2e-3], STEPS),
    "warm-up, then cosine": lambda o: lrs.SequentialLR(
        o, [lrs.LinearLR(o, 0.1, 1.0, 10), lrs.CosineAnnealingLR(o, STEPS - 10)], [10]
    ),
    "chained": lambda o: lrs.ChainedScheduler([lrs.ConstantLR(o), lrs.ExponentialLR(o, 0.9)]),
    "a factor a step": lambda o: lrs.MultiplicativeLR(o, lambda k: 0.9),
}


@pytest.fixture
def optimizer() -> torch.optim.AdamW:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(3))], "lr": lr} for lr in (1e-3, 2e-3)]
    return torch.optim.AdamW(groups)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_sum_is_what_the_run_then_has(optimizer: torch.optim.AdamW, name: str) -> None:
    scheduler = SCHEDULES[name](optimizer)
    before = [dict(group, params=None) for group in optimizer.param_groups]
    expected = rate_sum(optimizer, scheduler, STEPS)
    assert [dict(group, params=None) for group in optimizer.param_groups] == before
    sums = [0.0, 0.0]
    for _ in range(STEPS):
        rates = [group["lr"] for group in optimizer.param_groups]
        sums = [s + rate for s, rate in zip(sums, rates, strict=True)]
        optimizer.step()
        scheduler.step()
    assert expected == pytest.approx(max(sums))


def test_without_a_schedule_or_on_a_plateau_the_rate_stays(optimizer: torch.optim.AdamW) -> None:
    assert rate_sum(optimizer, None, 100) == pytest.approx(0.2)
    assert rate_sum(optimizer, lrs.ReduceLROnPlateau(optimizer), 100) == pytest.approx(0.2)


def test_a_rate_that_is_a_tensor_is_left_as_it_is() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))], lr=torch.tensor(1e-3))
    scheduler = lrs.ExponentialLR(optimizer, 0.5)
    assert rate_sum(optimizer, scheduler, 3) == pytest.approx(1.75e-3)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(1e-3)


def test_a_formula_of_a_long_run_is_asked_now_and_then(optimizer: torch.optim.AdamW) -> None:
    steps = 40 * planned.FARTHEST
    scheduler = lrs.LambdaLR(optimizer, lambda k: 1.0 - k / steps)
    assert rate_sum(optimizer, scheduler, steps) == pytest.approx(2e-3 * steps / 2, rel=1e-3)


def test_what_cannot_be_known_is_unknown(optimizer: torch.optim.AdamW) -> None:
    def broken(step: int) -> float:
        return 1.0 if step == 0 else {}["no such rate"]  # type: ignore[index]

    weights = [torch.nn.Parameter(torch.zeros(3))]
    resumed = lrs.CosineAnnealingLR(optimizer, STEPS)
    resumed.last_epoch = 30
    assert rate_sum(optimizer, resumed, STEPS) is None
    assert rate_sum(optimizer, lrs.LambdaLR(optimizer, broken), STEPS) is None
    assert rate_sum(optimizer, lrs.StepLR(optimizer, 5), planned.FARTHEST + 1) is None
    assert rate_sum(torch.optim.SGD(weights, lr=1e-3), None, STEPS) is None
    assert rate_sum(optimizer, None, 0) is None
    assert rate_sum(None, None, STEPS) is None


def test_what_accelerate_wraps_is_taken_out(optimizer: torch.optim.AdamW) -> None:
    wrapped = SimpleNamespace(optimizer=SimpleNamespace(optimizer=optimizer, param_groups=[]))
    scheduler = SimpleNamespace(scheduler=lrs.LambdaLR(optimizer, lambda k: 1.0))
    assert rate_sum(wrapped, scheduler, 10) == pytest.approx(0.02)


def test_weights_and_samples_are_counted() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad = False
    plan = plan_of(model, 100, 0.5, SimpleNamespace(dataset=range(40)))
    assert (plan.total_steps, plan.rate_sum, plan.parameters, plan.samples) == (100, 0.5, 6, 40)
    assert plan.fresh is None
    stream = plan_of(None, 100, None, SimpleNamespace(dataset=iter(())))
    assert (stream.parameters, stream.samples) == (None, None)
