"""A toy recipe with sharded weights: a frozen bfloat16 base, float32 adapters in it, and no line that says FSDP.

Stream and batches are those of `toy`. Sizes are odd on purpose: no parameter splits evenly, and some ranks hold
nothing of some of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import toy
from safetensors.torch import save_file
from torch import Tensor, nn

from speech_contract.recipes import CustomRecipe, RecipeSpec
from speech_contract.run_config import RunConfig
from speech_trainer.engine.expectations import Expectations, Range, Setting
from speech_trainer.engine.recipe import (
    Built,
    Evaluation,
    OptimizerPlan,
    Section,
    Sharding,
    StepRecord,
)

RANK = 2  # of the adapters
LEARNING_RATE = 1e-2


def make_config(run_dir: Path, **changes: Any) -> RunConfig:
    """As `toy.make_config`, of a recipe of another name."""
    return toy.make_config(run_dir, recipe=RecipeSpec(custom=CustomRecipe()), **changes)


class Adapted(nn.Module):
    """A frozen linear layer with a low-rank adapter below the same prefix."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = (
            nn.Linear(inputs, outputs).to(torch.bfloat16).requires_grad_(requires_grad=False)
        )
        self.down = nn.Linear(inputs, RANK, bias=False)
        self.up = nn.Linear(RANK, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        frozen: Tensor = self.base(x.to(torch.bfloat16)).to(x.dtype)
        return frozen + self.up(self.down(x))


class Network(nn.Module):
    """Two adapted layers and a scale, with dropout so that generators matter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Adapted(toy.WIDTH, 7)
        self.second = Adapted(7, toy.WIDTH)
        self.norm = nn.LayerNorm(toy.WIDTH)
        self.again = self.norm  # tied: one set of weights under two names
        self.dropout = nn.Dropout(0.1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.second(self.dropout(torch.tanh(self.first(x)))))
        return out


class ShardedToy(toy.ToyRecipe):
    """Implements `speech_trainer.engine.recipe.Recipe`."""

    name = "sharded toy"

    def effective_config(self) -> dict[str, Any]:
        return {"recipe": self.name, "learningRate": LEARNING_RATE}

    def build(self) -> Built:
        net = Network()
        adapters = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(adapters, lr=LEARNING_RATE, fused=True)
        modules = {"first": net.first, "second": net.second, "norm": net.norm}
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + k / 10))
        return Built(
            {"net": net},
            {"net": OptimizerPlan(optimizer, modules, schedule, clip_norm=0.5)},
            {"seen": net.seen},
            {n: p.detach().clone() for n, p in net.named_parameters() if p.requires_grad},
            Sharding(blocks=(net.first, net.second)),
        )

    def preflight_checks(self, built: Built) -> Expectations | None:
        return Expectations(
            components={"total": Range(0.0, 100.0, "squares of numbers near 1")},
            weights={"total": 1.0},
            objectives={"net": "total"},
            learning_rates={"net": Setting("learningRate", LEARNING_RATE)},
            data=list,
            inputs=lambda batches: [],
            frozen=[f"net.{m}.base.{p}" for m in ("first", "second") for p in ("weight", "bias")],
        )

    def train_step(self, built: Built, batch: Any, step: int) -> StepRecord:
        total = (built.models["net"](batch.x) - batch.x.roll(1, dims=1)).square().mean()
        built.staged["seen"] += self._mean_over_ranks(torch.tensor(float(batch.samples)))
        if self.faults.hit(batch.positions):
            total = total * float("nan")
        total.backward()
        return StepRecord({"total": total.detach()})

    def _mean_over_ranks(self, mean: Tensor) -> Tensor:
        if self.context.world_size > 1:
            dist.all_reduce(mean)
        return mean / self.context.world_size

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        for name, parameter in built.models["net"].named_parameters():
            if parameter.requires_grad:
                built.ema[name].lerp_(whole(parameter), 0.1)

    def evaluate(self, built: Built, step: int) -> Evaluation:
        net = built.models["net"].eval()
        x = torch.ones(2, toy.WIDTH)
        return Evaluation({"distance": float((net(x) - x).square().mean())})

    def strategic_sections(self, built: Built, batch: Any, step: int) -> list[Section]:
        return [Section("Output", {"mean": float(built.models["net"](batch.x).mean())})]

    def export(self, built: Built, directory: Path) -> None:
        weights = built.models["net"].state_dict()
        own = {name: value for name, value in weights.items() if not name.startswith("again.")}
        save_file(own, directory / "model.safetensors")
        self.exported = directory


def whole(tensor: Tensor) -> Tensor:
    """A parameter, gathered where it is split."""
    full: Tensor = getattr(tensor, "full_tensor", lambda: tensor)()
    return full.detach()
