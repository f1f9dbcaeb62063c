"""A recipe in float64 whose every number can be checked by hand: what accumulation over ranks must come to.

Sample i is drawn from a generator seeded with i; `tokens` of sample i are 1 + i % 3, and with `per_token` the loss is
a mean over them. Nothing is drawn in a step, so that only the cut differs between runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import toy
from torch import Tensor, nn

from speech_contract.run_config import RunConfig
from speech_trainer.data.loader import Place, cut, micro_batches, rank_slice
from speech_trainer.engine.distributed import World
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import (
    BookRecord,
    Built,
    Evaluation,
    OptimizerPlan,
    RecipeContext,
    RunFacts,
    Section,
    StepRecord,
    unwrap,
)
from speech_trainer.engine.state import collect_tensors

WIDTH = 3


@dataclasses.dataclass(frozen=True)
class SumBatch:
    x: Tensor  # [B, WIDTH], a stand-in of zeros where there is no sample
    tokens: Tensor  # [B]
    positions: tuple[int, ...]
    per_token: bool
    weight: float

    @property
    def samples(self) -> int:
        return len(self.positions)

    @property
    def audio_seconds(self) -> float:
        return 0.5 * self.samples

    @property
    def count(self) -> int:
        if not self.samples:
            return 0
        return int(self.tokens.sum()) if self.per_token else self.samples

    def to(self, device: torch.device) -> SumBatch:
        return self


class SumStream:
    """`size` samples a step over all ranks, cut as `data.loader` cuts."""

    def __init__(self, size: int, place: Place, per_token: bool) -> None:
        self._size, self._place, self._per_token = size, place, per_token
        self.position, self.skipped = 0, {}
        self._ready: list[SumBatch] = []
        self.micro_batches = micro_batches(size, place)
        self.step_count = None  # the ranks add up

    def next_batch(self) -> SumBatch:
        if not self._ready:
            drawn = range(self.position, self.position + self._size)
            self.position += self._size
            shares = cut(rank_slice(drawn, self._place), self.micro_batches)
            self._ready = [self._batch(tuple(share)) for share in shares]
        return self._ready.pop(0)

    def _batch(self, positions: tuple[int, ...]) -> SumBatch:
        rows = [
            torch.randn(WIDTH, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
            for i in positions
        ] or [torch.zeros(WIDTH, dtype=torch.float64)]
        tokens = torch.tensor([1 + i % 3 for i in positions] or [1])
        weight = 1.0 if positions else 0.0
        return SumBatch(torch.stack(rows), tokens, positions, self._per_token, weight)

    def skip(self, windows: Sequence[tuple[int, int]]) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = int(state["position"])
        self._ready.clear()

    def close(self) -> None:
        pass


class SumRecipe:
    """Implements `speech_trainer.engine.recipe.Recipe`; `bad`: a position whose sample makes NaN."""

    name = "sums"

    def __init__(
        self,
        context: RecipeContext,
        size: int,
        *,
        per_token: bool = False,
        bad: int | None = None,
    ) -> None:
        training = context.config.training
        place = Place(context.rank, context.world_size, training.micro_batch_size)
        self.stream = SumStream(size, place, per_token)
        self._bad, self._size, self.seen = bad, size, 0

    def effective_config(self) -> dict[str, Any]:
        return {"recipe": self.name}

    def run_facts(self) -> RunFacts:
        return RunFacts(global_batch_size=self._size, log_every_steps=1)

    def data(self) -> SumStream:
        return self.stream

    def build(self) -> Built:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
        ema = {"bias": torch.zeros(1, dtype=torch.float64)}
        staged = {"seen": torch.zeros((), dtype=torch.float64)}
        return Built({"m": model}, {"m": OptimizerPlan(optimizer, {"m": model})}, staged, ema)

    def preflight_checks(self, built: Built) -> Expectations | None:
        return None

    def train_step(self, built: Built, batch: SumBatch, step: int) -> StepRecord:
        built.staged["seen"] += 1.0
        error = (built.models["m"](batch.x).squeeze(1) - batch.x.sum(1)).square()
        each = batch.tokens.double() if batch.per_token else torch.ones_like(error)
        loss = (error * each).sum() / each.sum() * batch.weight
        if self._bad in batch.positions:
            loss = loss * float("nan")
        loss.backward()
        codes = torch.tensor([i % 4 for i in batch.positions] or [0])
        usage = torch.bincount(codes, minlength=4).double()
        book = BookRecord(usage, residual=error.detach().mean())
        tokens = int(batch.tokens.sum()) if batch.samples else 0
        return StepRecord({"total": loss.detach()}, {"q0": book}, tokens)

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        built.ema["bias"].lerp_(unwrap(built.models["m"])[2].bias.detach(), 0.5)

    def evaluate(self, built: Built, step: int) -> Evaluation:
        return Evaluation({})

    def strategic_sections(self, built: Built, batch: SumBatch, step: int) -> list[Section]:
        return []

    def export(self, built: Built, directory: Path) -> None:
        pass


def train(
    config: RunConfig, size: int, world: World, **more: Any
) -> tuple[Engine, toy.Recorder, dict[str, list[float]]]:
    """A whole run; the engine, what it said, and every tensor it ended with."""
    context = RecipeContext(config, world.device, world.rank, world.size, Path(config.run_dir))
    said = toy.Recorder()
    engine = Engine(config, SumRecipe(context, size, **more), world, Outside(said, said))
    assert engine.run() == 0
    tensors = collect_tensors(engine.built)
    return engine, said, {name: t.flatten().tolist() for name, t in tensors.items()}
