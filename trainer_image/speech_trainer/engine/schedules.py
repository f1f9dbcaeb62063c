"""Learning rates that follow committed updates exactly, although the host learns one step late what was committed.

While step k is on its way the host does not know whether k passed the gate. So after each step it computes both
candidates, the rate without and with one more update, and the device picks one by `torch.where(gate, …)`: the
rate of step k+1 is right on the device. When the flags of k arrive and it was bad, the schedule's host state is
put back. Rates therefore live in the optimizers as float32 tensors.

A checkpoint says how many updates were committed; what the rate is after so many is the job's to say. So a restore
runs the schedule anew from its beginning: a manifest with another rate, or another length, is followed, and one that
is the same gives the very same numbers. Used by `engine.loop` and `engine.state`.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from speech_trainer.engine.recipe import OptimizerPlan

LONGEST = 100_000  # updates that a schedule is run ahead: a fraction of a second


@dataclasses.dataclass(frozen=True)
class Travel:
    """Committed updates of one optimizer in this process, and their learning rates added up."""

    updates: int = 0
    rates: float = 0.0


@dataclasses.dataclass
class _Rates:
    """One optimizer's rates, one per parameter group: the host's view and the device's."""

    plan: OptimizerPlan
    host: list[float]
    device: list[Tensor]
    first: list[float]  # host rates and schedule as the recipe built them
    beginning: dict[str, Any] | None
    updates: int = 0  # committed, over all attempts
    undo: tuple[dict[str, Any], list[float]] | None = None
    taken: float | None = None  # rate of the update whose flags have not arrived
    travel: Travel = Travel()
    curve: list[float] = dataclasses.field(default_factory=list)  # planned, by update


class LateSchedules:
    """All schedules of a run. Replaces the groups' `lr` by tensors on `device`."""

    def __init__(self, plans: Mapping[str, OptimizerPlan], device: torch.device) -> None:
        self._device = device
        self._rates: dict[str, _Rates] = {}
        for name, plan in plans.items():
            host = [float(group["lr"]) for group in plan.optimizer.param_groups]
            schedule = plan.schedule
            beginning = None if schedule is None else copy.deepcopy(schedule.state_dict())
            self._rates[name] = _Rates(plan, host, [], list(host), beginning)
            self._place(self._rates[name])

    def _place(self, rates: _Rates) -> None:
        rates.device = [torch.tensor(lr, device=self._device) for lr in rates.host]
        _set_groups(rates.plan, rates.device)

    def advance(self, active: Iterable[str], gate: Tensor) -> None:
        """After the optimizers of a step: let the device choose between this rate and the next."""
        for name in active:
            rates = self._rates[name]
            rates.taken = rates.host[0]
            if rates.plan.schedule is None:
                continue
            before = list(rates.host)
            rates.undo = (copy.deepcopy(rates.plan.schedule.state_dict()), before)
            _set_groups(rates.plan, rates.host)  # schedules compute with host numbers
            rates.plan.schedule.step()
            rates.host = [float(group["lr"]) for group in rates.plan.optimizer.param_groups]
            _set_groups(rates.plan, rates.device)
            for tensor, old, new in zip(rates.device, before, rates.host, strict=True):
                tensor.copy_(torch.where(gate, old, new))

    def settle(self, *, bad: bool) -> None:
        """The flags of the newest advanced step arrived: keep the host state, or put it back."""
        for rates in self._rates.values():
            if rates.undo is not None and bad and rates.plan.schedule is not None:
                state, rates.host = rates.undo
                rates.plan.schedule.load_state_dict(state)
            rates.undo = None
            if rates.taken is not None and not bad:
                rates.updates += 1
                rates.travel = Travel(rates.travel.updates + 1, rates.travel.rates + rates.taken)
            rates.taken = None

    def travelled(self) -> dict[str, Travel]:
        """How far each optimizer has come in this process. Call only when every step is settled."""
        return {name: rates.travel for name, rates in self._rates.items()}

    def rate(self, name: str) -> Tensor:
        """The rate of the next step's first group, on the device."""
        return self._rates[name].device[0]

    def run_ahead(self, name: str, updates: int) -> float:
        """Learn what is planned for the first `updates` updates (at most LONGEST); their rates added up.

        Call it before a checkpoint is restored.
        """
        rates = self._rates[name]
        rates.curve = self._curve(rates, min(updates, LONGEST))
        return sum(rates.curve)

    def planned(self, name: str) -> float | None:
        """The planned rate of the first group at the next update; None beyond what was run ahead.

        Call only when the step before is settled.
        """
        rates = self._rates[name]
        return rates.curve[rates.updates] if rates.updates < len(rates.curve) else None

    def _curve(self, rates: _Rates, updates: int) -> list[float]:
        """Run the schedule ahead from where it is, then put it back."""
        schedule, start = rates.plan.schedule, list(rates.host)
        if schedule is None:
            return [start[0]] * updates
        state, curve = copy.deepcopy(schedule.state_dict()), []
        _set_groups(rates.plan, start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch misses the optimizer's steps between
            for _ in range(updates):
                curve.append(float(rates.plan.optimizer.param_groups[0]["lr"]))
                schedule.step()
        schedule.load_state_dict(state)
        _set_groups(rates.plan, rates.device)
        return curve

    def state_dict(self) -> dict[str, Any]:
        """JSON values. Call only when every step is settled."""
        assert all(rates.undo is None for rates in self._rates.values())
        return {name: _state_of(rates) for name, rates in self._rates.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after as many updates as `state` tells, at the rates of this job; placed on the device anew."""
        for name, rates in self._rates.items():
            rates.updates = _updates_of(state[name])
            rates.undo = rates.taken = None
            rates.host = self._after(rates, rates.updates)
            self._place(rates)

    def _after(self, rates: _Rates, updates: int) -> list[float]:
        """The rates after so many updates from the beginning; the schedule stands there then."""
        schedule, start = rates.plan.schedule, rates.beginning
        if schedule is None or start is None:
            return list(rates.first)
        _set_groups(rates.plan, rates.first)
        begin = copy.deepcopy(start)
        steps = updates
        if type(schedule) is LambdaLR and updates:
            # In closed form: one step tells, whatever came before.
            begin |= {"last_epoch": updates - 1, "_step_count": updates}
            steps = 1
        schedule.load_state_dict(begin)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch misses the optimizer's steps between
            for _ in range(steps):
                schedule.step()
        return [float(group["lr"]) for group in rates.plan.optimizer.param_groups]


def _set_groups(plan: OptimizerPlan, rates: list[float] | list[Tensor]) -> None:
    for group, rate in zip(plan.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _state_of(rates: _Rates) -> dict[str, Any]:
    return {"updates": rates.updates, "rates": list(rates.host)}


def _updates_of(state: Mapping[str, Any]) -> int:
    """Committed updates. Older checkpoints have them in the schedule's own state alone."""
    if "updates" in state:
        return int(state["updates"])
    return int((state["schedule"] or {}).get("last_epoch", 0))
