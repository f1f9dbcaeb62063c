"""What a recipe is to the engine: it builds, steps, evaluates and exports; the engine owns everything else.

Implemented by each package below `speech_trainer.recipes`; called by `engine.loop` and nobody else.

The path of a step: the engine calls `train_step` once for each micro-batch, which runs every forward **and**
backward and steps no optimizer; the engine then takes the norms, clips, agrees with the other ranks on one gate
and steps every optimizer under it, once.

What a loss counts (samples; tokens, for a recipe that says so in `Batch.count`) may differ between ranks and
micro-batches. The engine sets `Batch.weight` so that the mean over ranks of the sum over micro-batches of
weight × mean loss is the mean over everything that the global batch counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from speech_contract.pictures import Pictures
from speech_contract.run_config import Precision, RunConfig
from speech_contract.scores import ScoreSpec
from speech_trainer.engine.expectations import Expectations

# Flat `group/name` → detached scalar on the device; "total" is the headline.
Losses = Mapping[str, Tensor]
T = TypeVar("T")


class Lead(Protocol):
    """Do something on rank 0 while the others wait; all get its value, or raise its TrainerError."""

    def __call__(self, act: Callable[[], T]) -> T: ...


def alone(act: Callable[[], T]) -> T:
    """`Lead` in a world of one."""
    return act()


@dataclasses.dataclass(frozen=True)
class RecipeContext:
    """What a recipe may know when it builds. `run_dir` is the run directory (checkpoint.uri)."""

    config: RunConfig
    device: torch.device
    rank: int
    world_size: int
    run_dir: Path
    lead: Lead = alone  # for what ranks must see alike, such as the files of a folder

    def autocast(self) -> torch.autocast:
        """What forward passes run in: bfloat16 under `precision: BF16`, else nothing."""
        wanted = self.config.training.precision is Precision.BF16
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)


@dataclasses.dataclass
class OptimizerPlan:
    """One optimizer with the modules it updates.

    `modules` maps the name used in findings ("text_encoder") to the module; together they hold every parameter
    of `optimizer`. `active_from`: first step at which this part trains (a discriminator that starts late); before
    it the engine neither steps the optimizer nor expects gradients. `clip_norm` None = do not clip.
    """

    # Fused AdamW or another that honours `found_inf`; others are refused.
    optimizer: torch.optim.Optimizer
    modules: dict[str, nn.Module]
    schedule: torch.optim.lr_scheduler.LRScheduler | None = (
        None  # stepped once per committed update
    )
    clip_norm: float | None = None
    active_from: int = 1


@dataclasses.dataclass(frozen=True)
class Sharding:
    """Weights, gradients and optimizer state split over the ranks (FSDP2): for models too large to replicate.

    `blocks`: modules that are gathered whole for their own forward and backward, inner ones first: usually the
    layers of a transformer, so that one layer's weights travel while another one computes. Every model is a block.
    `training.precision: BF16` gathers weights in bfloat16; what is stored and stepped stays as the recipe built it.
    With one rank nothing is split; checkpoints are written in the same format all the same.
    """

    blocks: tuple[nn.Module, ...] = ()


@dataclasses.dataclass
class Built:
    """Everything the engine has to carry, gate, save and restore.

    `models`: what DDP wraps; when the world is larger than 1 the engine replaces the entries by their wrapped
    form before the first step, so a recipe reads them from here at each step and uses `unwrap` for a forward
    whose parameters are frozen for the moment (not where weights are sharded). Parameters may be frozen, and those
    of any type; what trains is float32 and in one optimizer. `optimizers`: by name, the first is the main one (its
    learning rate is reported). `staged`: buffers that change in forward (EMA codebooks, k-means, running
    statistics), the same on every rank: a recipe reduces its own statistics, rank 0's copy is what a checkpoint
    keeps. The engine keeps a copy from before the step and commits by `torch.where(gate, old, new)`. `ema`: shadow
    weights (name → tensor), committed the same way and moved by the recipe in `after_update`. Both are changed in
    place: the engine holds on to the tensors that `build` returned.

    `sharding` asks for split weights (`engine.layout`). Then, between `build` and the first step, the parameters of
    `models` become DTensors, and the optimizers hold those. `train_step` and `after_update` run on all ranks, so a
    forward or `parameter.full_tensor()` is fine there; shadows in `ema` stay whole on every rank. What runs on rank 0
    alone gets whole, plain copies of the models in `built.models`, so it is written as if nothing were split.
    """

    models: dict[str, nn.Module]
    optimizers: dict[str, OptimizerPlan]
    staged: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    ema: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    sharding: Sharding | None = None  # None: replicated, every rank holds all weights (DDP)


@dataclasses.dataclass(frozen=True)
class BookRecord:
    """One level of a quantiser in one micro-batch. Tensors are detached and on the device; None: not measured.

    `usage` [K]: how often each code was chosen by real (not padded) vectors, float; the engine adds it up over
    micro-batches and ranks and takes perplexity and size from the sum. The others are scalars that mean what
    `report.Codebook` says, averaged by the batches' weights: `dead` and `movement` come from the recipe's own memory
    of many steps, `residual` from this batch. `age`, on the host and the same everywhere: updates since k-means, or
    whatever gave the codes data to begin with; None where they began at random.
    """

    usage: Tensor
    dead: Tensor | None = None
    movement: Tensor | None = None
    residual: Tensor | None = None
    age: int | None = None


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """What one `train_step` came to. Every loss is multiplied by `batch.weight`, as what is backpropagated is.

    `codebooks`: name → record, the same names at every step and on every rank (a stand-in batch too), or None
    without a quantiser. `tokens`: how many were trained on, known to the host; None: this recipe counts none.
    """

    losses: Losses
    codebooks: Mapping[str, BookRecord] | None = None
    tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class RunFacts:
    """What the engine and the preflight need to know of a run. None: not known, or does not apply.

    `fresh`: from random weights; False: a pretrained model is adapted. `samples`, `audio_seconds`: of the training
    data; `held_out`: samples that are scored. `log_every_steps`: where the job does not say. `best_score`: the score of
    `Evaluation` that tells which checkpoint is the best; empty: none does. `goal_snr` (dB) and `bits_per_second`: of a
    codec.
    """

    global_batch_size: int | None = None
    log_every_steps: int = 10
    fresh: bool = True
    samples: int | None = None
    audio_seconds: float | None = None
    held_out: int | None = None
    best_score: str = ""
    goal_snr: float | None = None
    bits_per_second: float | None = None


class Batch(Protocol):
    """What one rank takes through the model at once. A frozen dataclass: the engine replaces `weight`.

    Built with weight 1, or 0 when it is a stand-in without samples (all were bad, or none was this rank's share).
    Whatever it is in the end, every loss must be multiplied by it. `count`: what the mean loss is taken over.
    """

    @property
    def weight(self) -> float:
        """Factor of every loss of this batch."""
        ...

    @property
    def samples(self) -> int:
        """Samples in it."""
        ...

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio in it, padding left out."""
        ...

    @property
    def count(self) -> int:
        """Samples, or tokens where the mean loss is one over tokens; 0 for a stand-in."""
        ...

    def to(self, device: torch.device) -> Self:
        """Move to the device, non-blocking."""
        ...


class DataStream(Protocol):
    """The training data as a resumable stream of batches, the same global order for every world size.

    `position` and `state_dict` are asked for between steps only, never between two micro-batches of one.
    """

    @property
    def micro_batches(self) -> int:
        """Batches that each rank takes in the next step; the same on every rank, though some may be stand-ins.

        Asked for between steps. It may differ from step to step.
        """
        ...

    @property
    def step_count(self) -> int | None:
        """The sum of `Batch.count` over a whole step and all ranks where that is certain, else None.

        None makes the ranks add theirs up, host to host, before each step of more than one rank.
        """
        ...

    def next_batch(self) -> Batch:
        """The next (micro-)batch of this rank. Never ends: epochs follow each other."""
        ...

    @property
    def position(self) -> int:
        """Global sampler position: samples drawn so far over all ranks and epochs."""
        ...

    @property
    def skipped(self) -> dict[str, int]:
        """Cumulative number of replaced samples on this rank, by reason (`metrics.SKIP_REASONS`)."""
        ...

    def skip(self, windows: Sequence[tuple[int, int]]) -> None:
        """Pass over these windows [first, last) of global positions from now on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """JSON values: where the stream is. The same on every rank."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, exactly."""
        ...

    def close(self) -> None:
        """Stop workers."""
        ...


@dataclasses.dataclass(frozen=True)
class Section:
    """One section of a strategic log: a title and a tree of facts (str, int, float, list, dict)."""

    title: str
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Held-out scores. `baselines`: name of a trivial answer → what it scores; a useful model must beat it.

    `specs`: which way each score gets better, and its unit; nothing is concluded from one without. `pictures`: what the
    model looks like from inside; the engine keeps them beside the samples of the step, the report draws them.
    """

    scores: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    samples: tuple[Path, ...] = ()
    specs: Mapping[str, ScoreSpec] = dataclasses.field(default_factory=dict)
    pictures: Pictures = dataclasses.field(default_factory=Pictures)


class Recipe(Protocol):
    """One way to train. An instance belongs to one rank and one attempt."""

    name: str

    def effective_config(self) -> dict[str, Any]:
        """The preset with every override applied, as JSON; written to config.json by rank 0."""
        ...

    def run_facts(self) -> RunFacts:
        """What the engine needs to know of this run; the same on every rank."""
        ...

    def build(self) -> Built:
        """Models on the device, optimizers, schedules. Called once, after the process group is up."""
        ...

    def data(self) -> DataStream:
        """The training stream. Raises errors.DataError with line, field, value and remedy."""
        ...

    def preflight_checks(self, built: Built) -> Expectations | None:
        """What must be measured true before the first step; None: this recipe has no preflight."""
        ...

    def train_step(self, built: Built, batch: Batch, step: int) -> StepRecord:
        """Every forward and backward of one micro-batch; gradients are added to, no optimizer is stepped.

        Every loss is multiplied by `batch.weight` before its backward. Staged buffers may change; what must move
        once an update, whatever the number of micro-batches, moves in `after_update`.
        The recipe opens autocast itself where `training.precision` asks for it: which parts stay in fp32 (STFT,
        quantiser, losses) is its knowledge. Never synchronises with the host: no `.item()`, no printing of tensors.
        """
        ...

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        """Move EMA weights and staged buffers after the optimizers stepped.

        `gate` is True on the device when the step was bad: then the engine puts both back.
        """
        ...

    def evaluate(self, built: Built, step: int) -> Evaluation:
        """Held-out scores with their trivial baselines; called on rank 0 only, with no collectives inside.

        Of sharded models `built.models` holds copies, gathered for this call onto rank 0's device: whole, in the
        types that `build` chose, sharing their buffers with the models that train. Beside rank 0's shards there
        must be room for them. The same goes for `strategic_sections` and `export`.
        """
        ...

    def strategic_sections(self, built: Built, batch: Batch, step: int) -> list[Section]:
        """What went in and what came out, for this batch; rank 0 only, outside the step. RNG is restored after."""
        ...

    def export(self, built: Built, directory: Path) -> None:
        """Write the inference artifact (safetensors + config) into `directory`; rank 0 only."""
        ...


def unwrap(model: nn.Module) -> nn.Module:
    """The model below a DDP wrapper; a sharded model has none."""
    if not isinstance(model, DistributedDataParallel):
        return model
    inner: nn.Module = model.module
    return inner
