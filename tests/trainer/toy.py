"""A toy recipe for tests of the engine: a GAN of two small MLPs with EMA weights and a staged codebook.

Its stream is a pure function of the sampler position, so a replay can be compared bit for bit. `Faults` puts NaN
into chosen positions or losses.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.recipes import CustomRecipe, RecipeSpec
from speech_contract.run_config import Checkpoint, Device, RunConfig, StrategicLogging, Training
from speech_contract.thresholds import NonFinite, Thresholds
from speech_contract.wire import Datagram
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.files import Files
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import (
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
from speech_trainer.engine.subject import Preflight, unchecked

WIDTH = 8
BATCH = 4  # samples per rank and step


def make_config(run_dir: Path, **changes: Any) -> RunConfig:
    """A run config of a small toy run; `training`, `checkpoint`, `non_finite` take mappings."""
    training = {
        "max_steps": 12,
        "seed": 3,
        "log_every_steps": 1,
        "device": Device.CPU,
        **changes.pop("training", {}),
    }
    checkpoint = {"uri": str(run_dir), "every_steps": 5, **changes.pop("checkpoint", {})}
    non_finite = {"confirm_steps": 3, **changes.pop("non_finite", {})}
    health = changes.pop("health", {})
    fields: dict[str, Any] = {
        "namespace": "default",
        "name": "toy",
        "uid": "u1",
        "attempt": 1,
        "token": "t",
        "num_nodes": 1,
        "ranks_per_node": 1,
        "master_address": "127.0.0.1",
        "master_port": 1,
        "supervisor_addresses": [],
        "run_dir": str(run_dir),
        "recipe": RecipeSpec(custom=CustomRecipe()),
        "training": Training(**training),
        "checkpoint": Checkpoint(**checkpoint),
        "health": Thresholds(non_finite=NonFinite(**non_finite), **health),
        "strategic_logging": StrategicLogging(enabled=True, every_steps=100),
    }
    return RunConfig(**{**fields, **changes})


@dataclasses.dataclass(frozen=True)
class Faults:
    """NaN where asked. `positions`: half-open ranges of sampler positions; `component` is the loss they enter."""

    positions: tuple[tuple[int, int], ...] = ()
    component: str = "g/adversarial"
    learning_rate: float = 1e-3
    dead: bool = False  # the mapper gets no gradient

    def hit(self, positions: Sequence[int]) -> bool:
        return any(first <= p < last for p in positions for first, last in self.positions)


@dataclasses.dataclass(frozen=True)
class ToyBatch:
    x: Tensor
    positions: tuple[int, ...]
    weight: float = 1.0
    samples: int = BATCH
    audio_seconds: float = 0.5

    @property
    def count(self) -> int:
        return self.samples

    def to(self, device: torch.device) -> ToyBatch:
        return dataclasses.replace(self, x=self.x.to(device, non_blocking=True))


class ToyStream:
    """Sample i is drawn from a generator seeded with i."""

    micro_batches = 1

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank, self._world_size = rank, world_size
        self.position = 0
        self.skipped: dict[str, int] = {}
        self.closed = False
        self.trained: list[int] = []
        self._windows: list[tuple[int, int]] = []

    @property
    def step_count(self) -> int:
        return BATCH * self._world_size

    def next_batch(self) -> ToyBatch:
        drawn = [self._draw() for _ in range(BATCH * self._world_size)]
        mine = tuple(drawn[self._rank :: self._world_size])
        self.trained.extend(mine)
        samples = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(i)) for i in mine]
        return ToyBatch(torch.stack(samples), mine)

    def _draw(self) -> int:
        for first, last in sorted(self._windows):
            if first <= self.position < last:
                self.position = last
        self.position += 1
        return self.position - 1

    def skip(self, windows: Sequence[tuple[int, int]]) -> None:
        self._windows = [(first, last) for first, last in windows]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = int(state["position"])

    def close(self) -> None:
        self.closed = True


class Generator(nn.Module):
    """`mapper` then `decoder`, with dropout so that generators matter."""

    def __init__(self) -> None:
        super().__init__()
        self.mapper = nn.Linear(WIDTH, WIDTH)
        self.decoder = nn.Sequential(nn.Tanh(), nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.mapper(x)
        return self.decoder(code), code


class ToyRecipe:
    """Implements `speech_trainer.engine.recipe.Recipe`."""

    name = "toy"

    def __init__(self, context: RecipeContext, faults: Faults | None = None) -> None:
        self.context, self.faults = context, faults or Faults()
        self.stream = ToyStream(context.rank, context.world_size)
        self.exported: Path | None = None

    def effective_config(self) -> dict[str, Any]:
        return {"recipe": "toy", "learningRate": self.faults.learning_rate}

    def run_facts(self) -> RunFacts:
        return RunFacts(log_every_steps=1)

    def build(self) -> Built:
        generator, judge = (
            Generator(),
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 1)),
        )
        lr = self.faults.learning_rate
        g = torch.optim.AdamW(generator.parameters(), lr=lr, fused=True)
        d = torch.optim.AdamW(judge.parameters(), lr=lr, fused=True)
        plans = {
            "g": OptimizerPlan(
                g,
                {"mapper": generator.mapper, "decoder": generator.decoder},
                torch.optim.lr_scheduler.LambdaLR(g, lambda k: 1 / (1 + k / 10)),
                clip_norm=5.0,
            ),
            "d": OptimizerPlan(d, {"judge": judge}, active_from=3),
        }
        ema = {name: p.detach().clone() for name, p in generator.named_parameters()}
        codebook = torch.zeros(WIDTH)
        return Built({"g": generator, "d": judge}, plans, {"codebook": codebook}, ema)

    def data(self) -> ToyStream:
        return self.stream

    def preflight_checks(self, built: Built) -> Expectations | None:
        return None

    def train_step(self, built: Built, batch: ToyBatch, step: int) -> StepRecord:
        losses: dict[str, Tensor] = {}
        nan = {self.faults.component} if self.faults.hit(batch.positions) else set()
        noise = batch.x + 0.1 * torch.randn_like(batch.x)
        fake, code = built.models["g"](noise)
        built.staged["codebook"].lerp_(self._mean_over_ranks(code.detach().mean(0)), 0.1)
        judge = unwrap(built.models["d"])
        if step >= built.optimizers["d"].active_from:
            scores = built.models["d"](torch.cat([batch.x, fake.detach()]))
            real, false = scores.chunk(2)
            losses["d/total"] = poison(
                (real - 1).square().mean() + false.square().mean(), "d/total", nan
            )
            losses["d/total"].backward()
        judge.requires_grad_(False)
        adversarial = poison((judge(fake) - 1).square().mean(), "g/adversarial", nan)
        kl = code.exp().mean() - code.mean()
        if self.faults.dead:
            adversarial, kl = self._dead(judge, batch, fake), kl.detach()
        (adversarial + 0.01 * kl).backward()
        judge.requires_grad_(True)
        losses |= {"g/adversarial": adversarial, "g/kl": kl, "total": adversarial + 0.01 * kl}
        return StepRecord({name: value.detach() for name, value in losses.items()})

    def _mean_over_ranks(self, mean: Tensor) -> Tensor:
        if self.context.world_size > 1:
            dist.all_reduce(mean)
        return mean / self.context.world_size

    @staticmethod
    def _dead(judge: nn.Module, batch: ToyBatch, fake: Tensor) -> Tensor:
        return (fake - fake.detach() + judge(batch.x).detach().mean()).square().mean() * 0

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        for name, parameter in unwrap(built.models["g"]).named_parameters():
            built.ema[name].lerp_(parameter.detach(), 0.01)

    def evaluate(self, built: Built, step: int) -> Evaluation:
        torch.randn(7)  # must not disturb training
        unwrap(built.models["g"]).eval()
        sample = self.context.run_dir / "samples" / f"step-{step}.txt"
        sample.parent.mkdir(parents=True, exist_ok=True)
        sample.write_text("la la la")
        return Evaluation({"distance": 0.5}, {"constant": {"distance": 1.0}}, (sample,))

    def strategic_sections(self, built: Built, batch: ToyBatch, step: int) -> list[Section]:
        torch.randn(3)
        unwrap(built.models["g"])(batch.x)
        return [Section("Input", {"positions": list(batch.positions)})]

    def export(self, built: Built, directory: Path) -> None:
        (directory / "config.json").write_text(json.dumps({"id": str(uuid.uuid4())}))
        self.exported = directory


class Recorder:
    """Telemetry and log events, remembered."""

    def __init__(self) -> None:
        self.datagrams: list[Datagram] = []
        self.phases: list[tuple[int, Phase]] = []
        self.events: list[tuple[Event, dict[str, Any]]] = []
        self.sections: list[tuple[int, Sequence[Section]]] = []

    def send(self, datagram: Datagram, /) -> None:
        self.datagrams.append(datagram)

    def stamp(self, step: int, phase: Phase, /) -> None:
        self.phases.append((step, phase))

    def emit(self, event: Event, /, **fields: Any) -> None:
        self.events.append((event, fields))

    def write(self, step: int, sections: Sequence[Section], /) -> None:
        self.sections.append((step, sections))

    def steps_of(self, event: Event) -> list[int]:
        return [fields["step"] for name, fields in self.events if name is event]

    @property
    def last(self) -> Datagram:
        return self.datagrams[-1]


@dataclasses.dataclass
class Toy:
    """An engine on a toy recipe with everything it said."""

    engine: Engine
    recipe: ToyRecipe
    said: Recorder

    def run(self) -> int:
        return self.engine.run()

    @property
    def tensors(self) -> dict[str, Tensor]:
        return collect_tensors(self.engine.built)


def make(
    config: RunConfig,
    faults: Faults | None = None,
    *,
    world: World | None = None,
    files: Files | None = None,
    recipe: type[ToyRecipe] | None = None,
    preflight: Preflight = unchecked,
) -> Toy:
    """An engine on a toy recipe, on the CPU."""
    world = world or World(Ranks(), torch.device("cpu"))
    context = RecipeContext(config, world.device, world.rank, world.size, Path(config.run_dir))
    built, said = (recipe or ToyRecipe)(context, faults), Recorder()
    outside = Outside(said, said, said, files, preflight=preflight)
    return Toy(Engine(config, built, world, outside), built, said)


def poison(loss: Tensor, name: str, names: set[str]) -> Tensor:
    """NaN that reaches the gradients too."""
    return loss * float("nan") if name in names else loss
