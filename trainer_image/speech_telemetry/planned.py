"""What a Trainer of others intends: its learning rates added up, its weights, its samples. Standard library only.

Called by `huggingface` and `lightning`, once at the start of training. Nothing of the script is moved: a schedule is
asked for its formula, or a copy of it is stepped on an optimizer that holds no weights.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, Final

from speech_contract.report import Plan

FARTHEST: Final = 50_000  # steps of a copy at the most, about half a second
_ADAPTIVE: Final = ("adam", "lion")  # whose update moves a weight by about the learning rate


def plan_of(model: Any, total_steps: int, rates: float | None, loader: Any) -> Plan:
    """The plan, as far as model and data loader tell."""
    weights = [p.numel() for p in model.parameters() if p.requires_grad] if model else []
    return Plan(
        total_steps=total_steps,
        rate_sum=rates,
        parameters=sum(weights) or None,
        samples=_length(getattr(loader, "dataset", None)),
    )


def rate_sum(optimizer: Any, scheduler: Any, steps: int) -> float | None:
    """Learning rates of a run of `steps` from its first step on, of the group that has most.

    None: not known, or of an optimizer whose steps the rate does not bound.
    """
    optimizer = _inner(optimizer, "optimizer")
    names = " ".join(kind.__name__.lower() for kind in type(optimizer).__mro__)
    if steps < 1 or not any(word in names for word in _ADAPTIVE):
        return None
    try:
        return _added_up(optimizer, _inner(scheduler, "scheduler"), steps)
    except Exception:  # somebody's own schedule may do anything: then its sum is not known
        return None


def _added_up(optimizer: Any, scheduler: Any, steps: int) -> float | None:
    kinds = {kind.__name__ for kind in type(scheduler).__mro__}
    if scheduler is None or "ReduceLROnPlateau" in kinds:  # at the most: a plateau only lowers it
        return max(float(g.get("initial_lr", g["lr"])) for g in optimizer.param_groups) * steps
    if "LambdaLR" in kinds:
        pairs = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        return max(float(base) * _summed(factor, steps) for base, factor in pairs)
    if steps > FARTHEST or getattr(scheduler, "last_epoch", 0) > 0:
        # What lies behind a resumed one is not known.
        return None
    return _stepped(scheduler, steps)


def _summed(factor: Any, steps: int) -> float:
    """Σ factor(k) over all steps; of a long run from FARTHEST of them."""
    taken = min(steps, FARTHEST)
    return sum(float(factor(k * steps // taken)) for k in range(taken)) * steps / taken


def _stepped(scheduler: Any, steps: int) -> float:
    stand_in = _Weightless(scheduler.optimizer)
    ahead = copy.deepcopy(scheduler, {id(scheduler.optimizer): stand_in})
    sums = [0.0] * len(stand_in.param_groups)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it has to say it says to its owner
        for step in range(steps):
            sums = [s + float(g["lr"]) for s, g in zip(sums, stand_in.param_groups, strict=True)]
            if step + 1 < steps:
                ahead.step()
    return max(sums)


class _Weightless:
    """An optimizer for a schedule to set the rates of."""

    def __init__(self, optimizer: Any) -> None:
        self.param_groups = [
            {"params": [], **copy.deepcopy({k: v for k, v in group.items() if k != "params"})}
            for group in optimizer.param_groups
        ]
        self.defaults = dict(optimizer.defaults)
        self.state: dict[Any, Any] = {}
        self._opt_called = True

    def step(self) -> None:
        """Asked for by schedules, to see that it is called; never called here."""


def _inner(wrapped: Any, name: str) -> Any:
    """What accelerate wraps, and its like; a plain optimizer or schedule has no such attribute of its own kind."""
    inner = getattr(wrapped, name, None)
    has = "param_groups" if name == "optimizer" else "last_epoch"
    return _inner(inner, name) if inner is not None and hasattr(inner, has) else wrapped


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:  # a stream has none
        return None
