"""A rank on the toy recipe of the engine's tests: the real entry point, engine and checkpoints, no transformers.

Faults come by flags, each for one attempt alone where it says so:
--hold ATTEMPT:STEP:FILE   wait inside that step until FILE exists; FILE.<rank> says that it waits
--nan FIRST:LAST           NaN in the losses of the samples at these sampler positions
--sleep ATTEMPT:RANK:STEP  that rank falls asleep in the backward pass, where the others wait for its gradients
--rate RATE                the base learning rate
--no-space BYTES           checkpoints beyond so many bytes in all do not fit on the disk
"""

from __future__ import annotations

import argparse
import errno
import os
import time
from pathlib import Path
from typing import Any

import toy
from torch import Tensor

from speech_contract import env
from speech_trainer import __main__ as trainer
from speech_trainer.engine.files import Files
from speech_trainer.engine.recipe import RecipeContext, StepRecord, unwrap

EVER = 3600.0


def fall_asleep(gradient: Tensor) -> Tensor:
    """A hook on a gradient: runs inside the backward pass, before the ranks agree on this gradient."""
    time.sleep(EVER)
    return gradient


class ToyJob(toy.ToyRecipe):
    """The toy with faults of whole processes."""

    def __init__(self, context: RecipeContext, options: argparse.Namespace) -> None:
        window = tuple(int(text) for text in options.nan.split(":")) if options.nan else None
        faults = toy.Faults(positions=(window,) if window else (), learning_rate=options.rate)
        super().__init__(context, faults)
        self._options = options
        self._attempt = int(os.environ.get(env.ATTEMPT, context.config.attempt))

    def train_step(self, built: Any, batch: Any, step: int) -> StepRecord:
        for text in self._options.hold:
            attempt, when, path = text.split(":", 2)
            if (int(attempt), int(when)) == (self._attempt, step):
                Path(f"{path}.{self.context.rank}").touch()
                while not Path(path).exists():
                    time.sleep(0.02)
        if self._options.sleep == f"{self._attempt}:{self.context.rank}:{step}":
            unwrap(built.models["g"]).mapper.weight.register_hook(fall_asleep)
        time.sleep(self._options.pace)
        return super().train_step(built, batch, step)


def fill_the_disk(room: int) -> None:
    """Let checkpoints beyond `room` bytes fail as a full disk does."""
    write, left = Files.write_tensors, room

    def write_tensors(self: Files, path: Path, tensors: Any) -> None:
        nonlocal left
        left -= sum(tensor.nbytes for tensor in tensors.values())
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(self, path, tensors)

    Files.write_tensors = write_tensors  # type: ignore[method-assign]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", action="append", default=[])
    parser.add_argument("--nan", default="")
    parser.add_argument("--sleep", default="")
    parser.add_argument("--no-space", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--pace", type=float, default=0.0)
    options = parser.parse_args()
    if options.no_space:
        fill_the_disk(options.no_space)
    return trainer.main([], lambda name, context: ToyJob(context, options))


if __name__ == "__main__":
    trainer.leave(main())
