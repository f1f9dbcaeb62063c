"""Gate, schedules and budget on one rank, close up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from speech_contract.thresholds import HealthMode, NonFinite, OnExceeded
from speech_trainer.engine.budget import Decision, NonFiniteBudget
from speech_trainer.engine.flags import LateFlags, StepFlags
from speech_trainer.engine.gate import Gate, check_plans
from speech_trainer.engine.recipe import Built, OptimizerPlan, RecipeContext
from speech_trainer.engine.schedules import LateSchedules
from speech_trainer.engine.state import collect_tensors
from speech_trainer.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize("component", ["d/total", "g/adversarial"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_bad_step_changes_no_tensor(tmp_path: Path, component: str, clip: float | None) -> None:
    recipe = toy.ToyRecipe(RecipeContext(toy.make_config(tmp_path), CPU, 0, 1, tmp_path))
    built = recipe.build()
    for plan in built.optimizers.values():
        plan.clip_norm = clip
    gate = Gate(built, CPU, 0, 1)
    flags = LateFlags()
    for step in range(1, 8):
        bad = step == 6
        recipe.faults = toy.Faults(((0, 1000),) if bad else (), component)
        before = collect_tensors(built)
        gate.begin()
        losses = recipe.train_step(built, recipe.stream.next_batch(), step).losses
        judgement = gate.judge(losses, step, interrupt=False)
        gate.commit(judgement, lambda g, at=step: recipe.after_update(built, at, g))
        flags.push(step, (0, 0), judgement)
        (read,) = flags.take()
        after = collect_tensors(built)
        same = [n for n in after if n in before and torch.equal(before[n], after[n])]
        assert read.bad is bad
        waits = [n for n in after if n.startswith("models/d/") and step < 3]  # it starts at step 3
        assert same == (list(after) if bad else waits)


@pytest.mark.parametrize(
    ("optimizer", "part"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1, fused=True), "SGD cannot be gated"),
        (lambda p: torch.optim.AdamW(p, lr=0.1), "with fused=True"),
    ],
)
def test_optimizers_that_cannot_be_gated_are_refused(optimizer: object, part: str) -> None:
    model = nn.Linear(2, 2)
    plan = OptimizerPlan(optimizer(model.parameters()), {"m": model})  # type: ignore[operator]
    with pytest.raises(ConfigError, match=part):
        check_plans({"main": plan})


def test_plans_that_could_not_name_a_fault_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with pytest.raises(ConfigError, match="2 parameters of the optimizer belong to no named"):
        check_plans({"main": OptimizerPlan(optimizer, {"first": model[0]})})
    twice = {n: OptimizerPlan(optimizer, {"m": model}) for n in "ab"}
    with pytest.raises(ConfigError, match="m named twice"):
        check_plans(twice)


@given(st.lists(st.booleans(), max_size=30))
def test_the_rate_on_the_device_follows_commits_for_any_pattern(pattern: list[bool]) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 / (n + 1))
    late = LateSchedules({"main": OptimizerPlan(optimizer, {"m": model}, schedule)}, CPU)
    optimizer.step()
    commits, previous = 0, None
    for bad in pattern:
        assert late.rate("main").item() == pytest.approx(1 / (commits + 1))
        if previous is not None:
            late.settle(bad=previous)  # one step late, as the loop does
        late.advance(["main"], torch.tensor(bad))
        commits, previous = commits + (not bad), bad
    if previous is not None:
        late.settle(bad=previous)
    assert late.state_dict()["main"]["rates"] == pytest.approx([1 / (commits + 1)])


def flags(step: int, bad: bool) -> StepFlags:
    return StepFlags(step, (step * 4, step * 4 + 4), bad, False, not bad)


@pytest.mark.parametrize(
    ("pattern", "limits", "mode", "expected"),
    [
        ("...", {}, HealthMode.ENFORCE, Decision.GO_ON),
        ("xxx", {}, HealthMode.ENFORCE, Decision.GO_ON),
        ("xxxx", {}, HealthMode.ENFORCE, Decision.ROLL_BACK),
        ("xxxx", {}, HealthMode.NOTIFY, Decision.GO_ON),
        ("xxxx", {"on_exceeded": OnExceeded.WARN}, HealthMode.ENFORCE, Decision.GO_ON),
        ("xxxx", {"on_exceeded": OnExceeded.STOP}, HealthMode.ENFORCE, Decision.STOP),
        ("xxxx", {"max_rollbacks": 0}, HealthMode.ENFORCE, Decision.STOP),
        ("x.x.x.x", {}, HealthMode.ENFORCE, Decision.ROLL_BACK),  # 4 of the last 200
        ("x.x.x" + "." * 200 + "x", {}, HealthMode.ENFORCE, Decision.GO_ON),
        ("x.x.x.x", {"window_steps": 1000}, HealthMode.ENFORCE, Decision.GO_ON),  # 1 % is 10
        ("x", {"skip_budget": 0}, HealthMode.ENFORCE, Decision.ROLL_BACK),
    ],
)
def test_what_follows_from_bad_steps(
    pattern: str, limits: dict[str, object], mode: HealthMode, expected: Decision
) -> None:
    budget = NonFiniteBudget(NonFinite(**limits), mode)  # type: ignore[arg-type]
    decisions = [budget.feed(flags(i, mark == "x")) for i, mark in enumerate(pattern)]
    assert decisions[-1] is expected


def test_only_bad_windows_since_the_checkpoint_are_passed_over() -> None:
    budget = NonFiniteBudget(NonFinite())
    for step, mark in enumerate("x..xx.x"):
        budget.feed(flags(step, mark == "x"))
    assert budget.windows_since(4) == [(12, 20), (24, 28)]


def test_a_model_without_optimizer_or_losses_is_judged_too() -> None:
    gate = Gate(Built({}, {}), CPU, 0, 1)
    gate.begin()
    assert not gate.judge({}, 1, interrupt=False).gate
