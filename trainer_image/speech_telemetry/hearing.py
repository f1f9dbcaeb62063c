"""What the callbacks for other people's trainers share: whom they talk to, and how they look at what they are given.

Called by `huggingface` and `lightning`. Standard library only: torch is used where the script has loaded it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from speech_contract.phases import Phase
from speech_contract.wire import Datagram
from speech_telemetry.steering import resume_path

FIRST_STEPS = 3  # the modules without gradient are named in so many first updates


class Hears(Protocol):
    """The supervisor, as this callback sees it."""

    dropped: int
    rank: int

    @property
    def connected(self) -> bool:
        """Whether anybody listens."""
        ...

    def send(self, datagram: Datagram, /) -> None:
        """Send one report; never blocks."""
        ...

    def stamp(self, step: int, phase: Phase, /) -> None:
        """Write (step, phase, now) into the phase record."""
        ...


class Guarded:
    """A callback whose host never notices it: hooks that it has not are there, and nothing it does raises."""

    _reporter: Hears

    def resume_from(self) -> str | None:
        """The checkpoint to go on from, for the Trainer's own `resume_from_checkpoint=` or `ckpt_path=`; None: none.

        Raises LookupError when its path is not known.
        """
        return resume_path(os.environ)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Hooks that we do not need, those of future versions too."""
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(name)

    def _guard(self, act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(*arguments)
        except Exception:  # a foreign object may raise anything; training goes on, counted
            self._reporter.dropped += 1


def _nothing(*arguments: Any, **given: Any) -> None:
    """A hook that nobody here needs."""


def batch_size(values: list[Any]) -> int:
    """Samples of a batch: the first size of the first tensor."""
    for value in values:
        shape = getattr(value, "shape", None)
        if shape is not None and len(shape):
            return int(shape[0])
    return 0


def scaler_at_work(optimizer: Any) -> bool:
    """Whether what holds a loss scaler holds one that is switched on."""
    scaler = getattr(optimizer, "scaler", None)
    enabled = getattr(scaler, "is_enabled", None)
    return scaler is not None and (enabled is None or bool(enabled()))


def norm_of(model: Any) -> float | None:
    """The norm of gradients that nobody clipped; None without any."""
    torch = sys.modules.get("torch")
    gradients = [p.grad.detach() for p in model.parameters() if p.grad is not None]
    if torch is None or not gradients:
        return None if gradients else 0.0
    norm = torch.linalg.vector_norm
    parts = torch.stack([norm(gradient.float()).to(gradients[0].device) for gradient in gradients])
    return float(norm(parts))


def without_gradient(model: Any) -> list[str]:
    """Direct children whose trainable weights all lack a gradient. Frozen ones have none by intention."""
    named = []
    for name, child in model.named_children():
        trainable = [p for p in child.parameters() if p.requires_grad]
        if trainable and all(p.grad is None for p in trainable):
            named.append(name)
    return named


def number_of(value: Any) -> float | None:
    """The number that a value is; None for what is none."""
    if value is None or isinstance(value, (bool, str)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
