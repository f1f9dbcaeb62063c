"""A stopwatch round a recipe's step, through the fault hook: `SPEECHTRAIN_WRAP_RECIPE=gpu_probe:timed`.

Used by gpu_check.py. On CUDA it places events in the stream and reads them after the last step, so that it makes
the host wait for nothing before; what lies between the end of one step and the begin of the next is the engine's, the
data's and the optimizer's. Writes one JSON document to the file that GPU_PROBE_FILE names.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, cast

import torch

from speech_contract.run_config import Device
from speech_trainer.engine.recipe import Batch, Built, Recipe, StepRecord

FILE = "GPU_PROBE_FILE"


class Stopwatch:
    """Marks in the device's own time, in seconds once `seconds` is asked."""

    def __init__(self, cuda: bool) -> None:
        self._cuda = cuda
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Now, as the device gets there."""
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append(event)

    def seconds(self) -> list[float]:
        """Of each mark after the first."""
        if not self._cuda:
            return [mark - self._marks[0] for mark in self._marks]
        torch.cuda.synchronize()
        return [self._marks[0].elapsed_time(mark) / 1000.0 for mark in self._marks]


class Probe:
    """What one process saw: begin and end of every step, and what was in its batch."""

    def __init__(self, cuda: bool) -> None:
        self.marks = Stopwatch(cuda)
        self.audio: list[float] = []
        self._cuda = cuda

    def write(self) -> None:
        """The document, at the end of the process."""
        document = {
            "marks": self.marks.seconds() if self.audio else [],  # begin, end, begin, end, …
            "audioSeconds": self.audio,
            "peakBytes": torch.cuda.max_memory_allocated() if self._cuda else None,
            "device": torch.cuda.get_device_name() if self._cuda else "cpu",
        }
        Path(os.environ[FILE]).write_text(json.dumps(document), encoding="utf-8")


def timed(recipe: Recipe) -> Recipe:
    """The recipe, with its steps timed."""
    config = cast(Any, recipe).context.config
    probe, step = Probe(config.training.device is Device.CUDA), recipe.train_step

    def train_step(built: Built, batch: Batch, number: int) -> StepRecord:
        probe.audio.append(batch.audio_seconds)
        probe.marks.mark()
        record = step(built, batch, number)
        probe.marks.mark()
        if number >= config.training.max_steps:  # the process ends without a farewell
            probe.write()
        return record

    recipe.train_step = train_step  # type: ignore[method-assign, assignment]
    return recipe
