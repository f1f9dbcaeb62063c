"""How far the weights moved between two checkpoints, by module: a look at the outcome, not at the step.

Used by `engine.saver` at each save: the tensors that are about to be written are compared with the file of the
checkpoint before, by the rank that writes them. Where every rank writes parts, each compares its own with a copy on
its host, and the counts are added up. Only trainable parameters of optimizers that committed updates with a rate
above 0 count.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from speech_contract.report import Weights
from speech_trainer.engine.layout import Layout, Replicated
from speech_trainer.engine.recipe import Built, unwrap
from speech_trainer.engine.schedules import LateSchedules, Travel
from speech_trainer.engine.state import Tensors, on_host

MOST = 40  # modules in one report
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclasses.dataclass(frozen=True)
class _Module:
    """A module and where its trainable parameters lie in a checkpoint."""

    optimizer: str
    keys: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Base:
    """The checkpoint that the next one is compared with."""

    step: int
    file: Path
    travelled: Mapping[str, Travel]


class WeightProbe:
    """Remembers which checkpoint the weights were last known by."""

    def __init__(
        self, built: Built, schedules: LateSchedules, layout: Layout | None = None
    ) -> None:
        self._schedules, self._layout = schedules, layout or Replicated()
        self._kept: Tensors = {}
        self._modules = dict(_modules(built))
        self._main = next(iter(built.optimizers), "")
        self._base: _Base | None = None

    def keep(self, tensors: Tensors) -> None:
        """Tensors of the checkpoint that the weights are now known by; kept where its files hold other parts."""
        if self._layout.split:
            keys = [key for module in self._modules.values() for key in module.keys]
            self._kept = {key: on_host(self._layout.local(tensors[key])) for key in keys}

    def rebase(self, step: int, file: Path) -> None:
        """The weights are now those of the checkpoint of `step`, whose tensors lie in `file`."""
        self._base = _Base(step, file, self._schedules.travelled())

    def compare(self, step: int, tensors: Tensors) -> Weights | None:
        """Together: tensors of a checkpoint against the base; None without a base or an update since.

        Raises OSError or SafetensorError when the base can't be read.
        """
        base = self._base
        if base is None:
            return None
        now = self._schedules.travelled()
        since = {name: _less(now[name], base.travelled[name]) for name in now}
        moved = {
            name: module
            for name, module in self._modules.items()
            if since[module.optimizer].updates > 0 and since[module.optimizer].rates > 0.0
        }
        if not moved:
            return None
        with contextlib.ExitStack() as stack:
            if self._layout.split:
                read = self._kept.__getitem__
            else:
                read = stack.enter_context(safe_open(base.file, framework="pt")).get_tensor
            parts = [self._difference(module.keys, tensors, read) for module in moved.values()]
        counted = self._layout.add_up(torch.tensor(parts, dtype=torch.float64)).tolist()
        found = _few(dict(zip(moved, map(_shares, counted), strict=True)))
        return Weights(
            step=step,
            since=base.step,
            updates=max(since[module.optimizer].updates for module in moved.values()),
            unchanged={name: share for name, (share, _) in found.items()},
            movement={name: movement for name, (_, movement) in found.items()},
            rate_sum=since[self._main].rates,
        )

    def _difference(
        self, keys: tuple[str, ...], tensors: Tensors, read: Callable[[str], Tensor]
    ) -> tuple[float, float, float, float]:
        """Bit-identical elements, all elements, and the squares of the difference and of what was before."""
        same = count = 0
        moved = norm = 0.0
        for key in keys:
            old, new = read(key), self._layout.local(tensors[key]).cpu()
            kind = _INTEGERS[new.element_size()]
            same += int((old.view(kind) == new.view(kind)).sum())
            count += new.numel()
            moved += float((new.double() - old.double()).square().sum())
            norm += float(old.double().square().sum())
        return float(same), float(count), moved, norm


def _shares(counted: list[float]) -> tuple[float, float]:
    """(share of bit-identical elements, norm of the difference over the norm before)."""
    same, count, moved, norm = counted
    # A module that starts at 0 has no scale to move by.
    return same / count, math.sqrt(moved / norm) if norm > 0.0 else 0.0


def _modules(built: Built) -> Iterator[tuple[str, _Module]]:
    """Every named module of every optimizer that has something to train."""
    keys = {
        id(parameter): f"models/{model}/{key}"
        for model, network in built.models.items()
        for key, parameter in unwrap(network).named_parameters()
    }
    for optimizer, plan in built.optimizers.items():
        for name, module in plan.modules.items():
            trained = [keys.get(id(p)) for p in module.parameters() if p.requires_grad]
            known = tuple(key for key in trained if key is not None)
            if known:
                yield name, _Module(optimizer, known)


def _few(found: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """At most MOST modules, the stillest; what is said of the others holds for each of them.

    A report has to fit into a datagram.
    """
    names = sorted(found, key=lambda name: found[name], reverse=True)
    if len(names) <= MOST:
        return found
    kept, others = names[: MOST - 1], names[MOST - 1 :]
    least = min(found[name][0] for name in others)
    return {name: found[name] for name in kept} | {
        f"{len(others)} others": (least, max(found[name][1] for name in others))
    }


def _less(now: Travel, before: Travel) -> Travel:
    return Travel(now.updates - before.updates, now.rates - before.rates)
