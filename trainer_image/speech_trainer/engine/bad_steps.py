"""Keeps what a replay of an attempt's first non-finite step needs: the same batch, the same state.

    bad_steps/step-N.aM/{record.json, state.safetensors}

The gate kept weights and buffers as they were, so they are still there when the host learns of the bad step, one
step late: exactly those of the bad step when the step in between was bad too, or was not taken. Else one update
has moved them: the record then says `exact: false`, and the first one that is exact takes its place. Batch and
generators are remembered from the step itself. Called by `engine.loop`; read by `speech_trainer.replay_batch`.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from speech_contract import codec, paths
from speech_contract.events import Event
from speech_contract.report import MAX_BAD_SAMPLES, MAX_SAMPLE_NAME
from speech_contract.run_config import RunConfig
from speech_trainer.engine.batch_fields import split
from speech_trainer.engine.distributed import World
from speech_trainer.engine.files import Files
from speech_trainer.engine.flags import StepFlags
from speech_trainer.engine.layout import Layout, Replicated
from speech_trainer.engine.randomness import random_state, set_random_state
from speech_trainer.engine.recipe import Batch, Built
from speech_trainer.engine.reporting import Reporting
from speech_trainer.engine.state import Tensors, on_host

RECORD: Final = "record.json"
STATE: Final = "state.safetensors"
# Of state; a larger model's record names the step and keeps no weights.
LIMIT_BYTES: Final = 2 << 30
KEPT: Final = 3  # records of the newest attempts
_NAME: Final = re.compile(r"step-(\d+)\.a(\d+)")


@dataclasses.dataclass(frozen=True)
class _Taken:
    """One step before it was trained on. The generators are kept raw: this happens at every step."""

    step: int
    batches: Sequence[Batch]
    generators: tuple[Any, ...]  # empty once the attempt has its record


class BadSteps:
    """One rank's memory of its last two steps, and the record of a bad one."""

    def __init__(
        self, config: RunConfig, world: World, reporting: Reporting, files: Files | None = None
    ) -> None:
        self._config, self._world, self._reporting = config, world, reporting
        self._files = files or Files()
        self._run_dir = Path(config.run_dir)
        self._taken: list[_Taken] = []
        self._inexact: Path | None = None
        self._done = False
        self.layout: Layout = Replicated()  # the engine knows it once the recipe has built

    def taking(self, step: int, batches: Sequence[Batch]) -> None:
        """A step is about to be trained on; the generators stand as it finds them."""
        generators = () if self._done else _generators(self._world.device)
        self._taken = [*self._taken[-1:], _Taken(step, batches, generators)]

    def named(self, flags: StepFlags) -> StepFlags:
        """The flags with some samples of the batch, on the rank whose own loss was bad."""
        taken = self._of(flags.step)
        mine = flags.rank == self._world.rank or (flags.rank is None and self._world.size == 1)
        if not flags.bad or not mine or taken is None:
            return flags
        told = [name for batch in taken.batches for name in split(batch).document["samples"]]
        names = (name[-MAX_SAMPLE_NAME:] for name in told[:MAX_BAD_SAMPLES])
        return dataclasses.replace(flags, samples=tuple(names))

    def known(self, flags: StepFlags, built: Built, later: Tensor | None) -> None:
        """Together: a bad step became known. `later`: the gate of the step that was trained since, if any was."""
        if self._done:
            return
        exact = later is None or bool(later)  # the only wait for the device: once an attempt
        taken = self._of(flags.step)
        mine = (flags.rank or 0) == self._world.rank
        self._done = exact
        wanted = taken is not None and mine and (exact or self._inexact is None)
        state = self.layout.state(built, LIMIT_BYTES, wanted=wanted)
        if taken is not None and wanted:
            self._keep(taken, flags, state, exact)

    def _of(self, step: int) -> _Taken | None:
        return next((taken for taken in reversed(self._taken) if taken.step == step), None)

    def _keep(self, taken: _Taken, flags: StepFlags, state: Tensors, exact: bool) -> None:
        folder = paths.bad_step_dir(self._run_dir, self._config.attempt, taken.step)
        try:
            self._write(folder, taken, flags, state, exact)
            if self._inexact is not None and self._inexact != folder:
                self._files.remove_tree(self._inexact)
        except (OSError, SafetensorError) as error:  # a look at the fault must not end the run
            self._reporting.event(Event.REPORT_FAILED, path=str(folder), error=str(error))
            return
        self._inexact = None if exact else folder
        for old in records(self._run_dir)[:-KEPT]:
            self._files.remove_tree(old)

    def _write(
        self, folder: Path, taken: _Taken, flags: StepFlags, state: Tensors, exact: bool
    ) -> None:
        temporary = folder.with_name(f".writing-{folder.name}")
        self._files.remove_tree(temporary)
        temporary.mkdir(parents=True)
        fields = [split(batch) for batch in taken.batches]
        tensors = state | {
            f"batch/{number}/{name}": on_host(value)
            for number, batch in enumerate(fields)
            for name, value in batch.tensors.items()
        }
        self._files.write_tensors(temporary / STATE, tensors)
        record = {
            "version": 2,
            "step": taken.step,
            "attempt": self._config.attempt,
            "rank": self._world.rank,
            "component": flags.component,
            "module": flags.module,
            "window": list(flags.window),
            "exact": exact,
            "state": bool(state),
            "device": self._world.device.type,
            "random": _as_json(taken.generators, self._world.device),
            "batches": [batch.document for batch in fields],
            "runConfig": codec.to_document(self._config),
        }
        self._files.write_new(temporary / RECORD, json.dumps(record, ensure_ascii=False))
        self._files.remove_tree(folder)
        self._files.rename(temporary, folder)


def records(run_dir: Path) -> list[Path]:
    """Every record of a run, oldest attempt first."""
    found = (run_dir / paths.BAD_STEPS).glob("step-*")
    named = [(_NAME.fullmatch(path.name), path) for path in found]
    ordered = sorted((int(m[2]), int(m[1]), path) for m, path in named if m)
    return [path for _, _, path in ordered]


def _generators(device: torch.device) -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, np.random.get_state(legacy=True), random.getstate()


def _as_json(generators: tuple[Any, ...], device: torch.device) -> Mapping[str, Any]:
    """As `engine.randomness` writes generators; those of the run stay as they are."""
    now = random_state(device)
    main, cuda, numpy_state, python = generators
    try:
        torch.set_rng_state(main)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
        np.random.set_state(numpy_state)
        random.setstate(python)
        return random_state(device)
    finally:
        set_random_state(now, device)
