"""What a model was given and what it answered, heard through a forward hook. Called by `strategic.callbacks`.

No method of the host is overridden: a Trainer's callbacks get neither inputs nor outputs, a hook on its model does.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

FIXED_SAMPLES: Final = 4  # of the first batch, kept for what is measured again and again


class Hearing:
    """Keeps the newest batch and answer while `armed`; both are dropped by `forget`."""

    def __init__(self) -> None:
        self.armed = False
        self.inputs: dict[str, Any] = {}
        self.output: Any = None
        self.fixed: dict[str, Any] = {}  # the first FIXED_SAMPLES samples ever heard, on the CPU
        self._names: list[str] = []
        self._hook: Any = None

    def listen(self, model: nn.Module) -> None:
        """Hook the model; an earlier one is let go."""
        self.close()
        self._names = list(inspect.signature(model.forward).parameters)
        self._hook = model.register_forward_hook(self._hear, with_kwargs=True)

    def forget(self) -> None:
        """Let go of the batch and of the graph behind its answer."""
        self.armed, self.inputs, self.output = False, {}, None

    def close(self) -> None:
        """Take the hook off."""
        self.forget()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _hear(
        self, model: nn.Module, positional: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        if not self.armed or not model.training or self.inputs:
            return
        self.inputs = {**dict(zip(self._names, positional, strict=False)), **named}
        self.output = output
        if not self.fixed:
            self.fixed = {name: _kept(value) for name, value in self.inputs.items()}


def _kept(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value[:FIXED_SAMPLES].detach().cpu().clone() if value.ndim else value.detach().cpu()


def field(output: Any, name: str) -> Tensor | None:
    """A tensor of a model's answer by name; None when it holds none."""
    value = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
    return value.detach() if isinstance(value, Tensor) else None


def is_sharded(model: nn.Module) -> bool:
    """Whether a forward pass of one rank alone would wait for the others for ever."""
    kinds = {type(p).__name__ for p in model.parameters()} | {
        type(m).__name__ for m in model.modules()
    }
    return bool(kinds & {"DTensor", "FullyShardedDataParallel"})


def device_of(model: nn.Module) -> torch.device:
    """Where its weights are."""
    return next(model.parameters()).device
