"""What a rehearsal moved, whatever the recipe: one writer each, everything staged, the same on all ranks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speech_contract.preflight import CheckResult, Mark
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.layout import Replicated
from speech_trainer.engine.recipe import Built, OptimizerPlan
from speech_trainer.preflight.rehearsal import rehearse


def rows(built: Built, *moving: torch.Tensor) -> dict[str, CheckResult]:
    """Of a rehearsal that moves these tensors."""

    def act() -> list[CheckResult]:
        with torch.no_grad():
            for tensor in moving:
                tensor.add_(1.0)
        return []

    world = World(Ranks(), torch.device("cpu"))
    return {row.field: row for row in rehearse(built, act, world, Replicated())}


@pytest.fixture
def built() -> Built:
    net = nn.Linear(2, 2)
    for name in ("book", "loose"):
        net.register_buffer(name, torch.zeros(3), persistent=False)
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    staged = {"book": net.get_buffer("book")}
    return Built({"m": net}, {"m": OptimizerPlan(adam, {"net": net})}, staged)


def test_a_staged_buffer_may_move(built: Built) -> None:
    found = rows(built, built.staged["book"])
    assert {row.mark for row in found.values()} == {Mark.PASSED}
    assert found["staged"].measured == "all 1 that move"


def test_a_buffer_that_is_not_staged_is_named(built: Built) -> None:
    found = rows(built, built.models["m"].get_buffer("loose"))
    assert found["staged"].measured == "m.loose not"
    assert (found["staged"].mark, found["writers"].mark) == (Mark.FAILED, Mark.PASSED)


def test_what_an_optimizer_steps_as_well_has_two_writers(built: Built) -> None:
    found = rows(built, built.models["m"].bias)
    assert found["writers"].measured == "an optimizer steps m.bias"
    assert (found["staged"].mark, found["writers"].mark) == (Mark.PASSED, Mark.FAILED)


def test_nothing_moved_is_nothing_wrong(built: Built) -> None:
    assert all(row.mark is Mark.PASSED for row in rows(built).values())
