"""The agreed flags of a step, read by the host one step late, so that the device never waits for it.

`engine.loop` pushes the record of step k after everything of k is on its way and then takes the record of k-1.
The flags were MAX-reduced, so every rank reads the same and acts the same: save, roll back, or go on.
"""

from __future__ import annotations

import collections
import dataclasses

import torch
from torch import Tensor

from speech_contract.report import BadStep
from speech_trainer.engine.gate import (
    BAD,
    COMPONENT,
    INTERRUPT,
    MODULE,
    RANK,
    Judgement,
    first_index,
)

Window = tuple[int, int]  # global sampler positions [first, last)


@dataclasses.dataclass(frozen=True)
class StepFlags:
    """What all ranks agreed on for one step. `component` and `module` name who went non-finite first."""

    step: int
    window: Window
    bad: bool
    interrupt: bool
    updated: bool  # an optimizer was due and the gate let it through
    component: str = ""
    module: str = ""
    rank: int | None = None  # first rank whose own loss was bad; None when only gradients were
    samples: tuple[str, ...] = ()  # of its batch, known to that rank alone

    @property
    def bad_step(self) -> BadStep:
        """As it goes on the wire."""
        return BadStep(self.step, self.component, self.module, self.rank, self.samples)

    @property
    def where(self) -> str:
        """`loss g/kl, module decoder, rank 1`, for messages."""
        parts = [f"loss {self.component}" if self.component else ""]
        parts.append(f"module {self.module}" if self.module else "")
        parts.append(f"rank {self.rank}" if self.rank is not None else "")
        return ", ".join(part for part in parts if part) or "gradient norm"


@dataclasses.dataclass(frozen=True)
class _Pending:
    step: int
    window: Window
    judgement: Judgement
    host: Tensor
    ready: torch.cuda.Event | None


class LateFlags:
    """A queue of steps whose flags the host has not read yet; at most one between two steps."""

    def __init__(self) -> None:
        self._pending: collections.deque[_Pending] = collections.deque()

    def push(self, step: int, window: Window, judgement: Judgement) -> None:
        """Start the transfer of this step's flags."""
        host, ready = _start_transfer(judgement.agreed)
        self._pending.append(_Pending(step, window, judgement, host, ready))

    def take(self) -> list[StepFlags]:
        """Read every pending step, oldest first; waits for the device if it must."""
        taken = [_read(pending) for pending in self._pending]
        self._pending.clear()
        return taken


def _start_transfer(agreed: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    if agreed.device.type != "cuda":
        return agreed.clone(), None
    host = torch.empty(agreed.shape, dtype=agreed.dtype, pin_memory=True)
    host.copy_(agreed, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return host, event


def _read(pending: _Pending) -> StepFlags:
    if pending.ready is not None:
        pending.ready.synchronize()
    values = pending.host.tolist()
    judgement = pending.judgement
    bad = values[BAD] > 0
    return StepFlags(
        step=pending.step,
        window=pending.window,
        bad=bad,
        interrupt=values[INTERRUPT] > 0,
        updated=bool(judgement.active) and not bad,
        component=_name(judgement.loss_names, values[COMPONENT]),
        module=_name(judgement.module_names, values[MODULE]),
        rank=first_index(values[RANK]),
    )


def _name(names: tuple[str, ...], code: float) -> str:
    index = first_index(code)
    return "" if index is None or index >= len(names) else names[index]
