"""The state of a run as tensors and JSON, and back: what a checkpoint holds.

Tensors: `models/<model>/<name>`, `optimizers/<name>/<parameter index>/<key>`, `staged/<name>`, `ema/<name>`.
Document: counters, committed updates, generators per rank, where the data stream is, settings and their digest.
Optimizer groups are not in it: rates, betas and decay are the manifest's.
Independent of the world size. Used by `engine.saver`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from speech_trainer.engine.randomness import random_state, seed_all, set_random_state
from speech_trainer.engine.recipe import (
    Batch,
    Built,
    DataStream,
    OptimizerPlan,
    StepRecord,
    unwrap,
)
from speech_trainer.engine.schedules import LateSchedules
from speech_trainer.errors import CheckpointError

T = TypeVar("T")
Tensors = dict[str, Tensor]


@dataclasses.dataclass
class Counters:
    """`step` goes back at a roll-back, nothing else does.

    `updates` counts commits, `steps_total` batches; samples, seconds of audio and tokens are this rank's.
    """

    step: int = 0
    steps_total: int = 0
    updates: int = 0
    samples_total: int = 0
    audio_seconds_total: float = 0.0
    tokens_total: int | None = None  # None: the recipe counts none

    def count(self, batches: Sequence[Batch], record: StepRecord) -> None:
        """What one step trained on."""
        self.samples_total += sum(batch.samples for batch in batches)
        self.audio_seconds_total += sum(batch.audio_seconds for batch in batches)
        if record.tokens is not None:
            self.tokens_total = (self.tokens_total or 0) + record.tokens


def config_digest(effective: Mapping[str, Any]) -> str:
    """SHA-256 of the effective configuration in canonical JSON."""
    text = json.dumps(effective, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def model_tensors(built: Built) -> Tensors:
    """What a forward and backward pass reads, where it lies: models, buffers, shadows; no optimizer."""
    models = {
        f"models/{name}/{key}": value
        for name, model in built.models.items()
        for key, value in unwrap(model).state_dict().items()
    }
    staged = {f"staged/{name}": value for name, value in built.staged.items()}
    return models | staged | {f"ema/{name}": value for name, value in built.ema.items()}


def live_tensors(built: Built) -> Tensors:
    """Every tensor of the run, where it lies."""
    optimizers = {
        f"optimizers/{name}/{index}/{key}": torch.as_tensor(value)
        for name, plan in built.optimizers.items()
        for index, parameter in enumerate(parameters_of(plan))
        for key, value in plan.optimizer.state.get(parameter, {}).items()
    }
    return model_tensors(built) | optimizers


def on_host(tensor: Tensor) -> Tensor:
    """A copy on the host. Cloned: safetensors refuses tensors that share memory (tied weights)."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def collect_tensors(built: Built) -> Tensors:
    """Every tensor of the run, copied to the host."""
    return {name: on_host(value) for name, value in live_tensors(built).items()}


@torch.no_grad()
def restore_tensors(built: Built, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load in place: parameters, buffers and shadows keep their identity. Raises CheckpointError on a mismatch."""
    restore_models(built, tensors, where)
    for name, plan in built.optimizers.items():
        _restore_optimizer(plan, below(tensors, f"optimizers/{name}/"))


@torch.no_grad()
def restore_models(built: Built, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load what `model_tensors` names, in place. Raises CheckpointError on a mismatch."""
    for name, model in built.models.items():
        state = below(tensors, f"models/{name}/")
        try:
            unwrap(model).load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise CheckpointError(
                f"{where}: does not fit model {name} ({error}); use a new checkpoint.uri, or the "
                "recipe settings that wrote it"
            ) from error
    for group, own in (("staged", built.staged), ("ema", built.ema)):
        for name, tensor in own.items():
            tensor.copy_(_require(tensors, f"{group}/{name}", where))


def _restore_optimizer(plan: OptimizerPlan, tensors: Mapping[str, Tensor]) -> None:
    plan.optimizer.state.clear()
    for index, parameter in enumerate(parameters_of(plan)):
        entries = below(tensors, f"{index}/")
        if entries:
            plan.optimizer.state[parameter] = {
                key: value.to(parameter.device, copy=True) for key, value in entries.items()
            }


def parameters_of(plan: OptimizerPlan) -> list[Tensor]:
    """Every parameter of an optimizer, group by group."""
    return [p for group in plan.optimizer.param_groups for p in group["params"]]


def below(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The entries under a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def _require(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    try:
        return tensors[name]
    except KeyError as error:
        raise CheckpointError(
            f"{where}: holds no {name}; use a new checkpoint.uri, or the recipe that wrote it"
        ) from error


def rank_document(counters: Counters, device: torch.device) -> dict[str, Any]:
    """What differs between ranks: generators and this rank's sample counts."""
    return {"counters": dataclasses.asdict(counters), "random": random_state(device)}


def make_document(
    ranks: list[dict[str, Any]],
    schedules: LateSchedules,
    stream: DataStream,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON half of a checkpoint. `settings`: what the run is set to, to tell later what changed since."""
    return {
        "version": 1,
        "schedules": schedules.state_dict(),
        "stream": stream.state_dict(),
        "position": stream.position,
        "ranks": ranks,
        **settings,
    }


def restore_rank(
    document: Mapping[str, Any], rank: int, seed: int, device: torch.device
) -> Counters:
    """Counters and generators of this rank; a rank that the saving world had not is seeded from its number."""
    ranks = document["ranks"]
    if rank < len(ranks):
        set_random_state(ranks[rank]["random"], device)
        return Counters(**ranks[rank]["counters"])
    shared = ranks[0]["counters"]
    seed_all(rank_seed(seed, rank) + shared["step"])
    return Counters(
        step=shared["step"], steps_total=shared["steps_total"], updates=shared["updates"]
    )


def rank_seed(seed: int, rank: int) -> int:
    """Ranks draw different noise."""
    return seed * 1_000_003 + rank
