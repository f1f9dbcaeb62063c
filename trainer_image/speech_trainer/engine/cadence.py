"""What happens beside the steps, on rank 0: evaluation, strategic log, export, the files that people read.

Whatever runs here leaves training as it was: generators, train/eval flags, staged buffers. Called by
`engine.loop` on cadence and at the end.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from speech_contract import codec, paths, pictures
from speech_contract.events import Event
from speech_contract.result import Result
from speech_telemetry.files import replace_text
from speech_trainer.engine.files import as_ordinary
from speech_trainer.engine.randomness import undisturbed
from speech_trainer.engine.recipe import Batch, Built, Evaluation, Recipe, Section
from speech_trainer.engine.reporting import Reporting


class StrategicWriter(Protocol):
    """Renders sections; `speech_trainer.strategic.StrategicLog`."""

    def write(self, step: int, sections: Sequence[Section], /) -> object:
        """Show and record the sections of one step."""
        ...


@contextlib.contextmanager
def aside(built: Built, device: torch.device) -> Iterator[None]:
    """Leave training undisturbed: no gradients, and everything that a forward may change is put back."""
    modes = [(m, m.training) for model in built.models.values() for m in model.modules()]
    tensors = [*built.staged.values(), *built.ema.values()]
    before = [tensor.clone() for tensor in tensors]
    with undisturbed(device), torch.no_grad():
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for tensor, old in zip(tensors, before, strict=True):
                tensor.copy_(old)


def evaluate(
    recipe: Recipe, built: Built, step: int, run_dir: Path, reporting: Reporting
) -> Result:
    """Score the model and tell people. Exceptions pass: a broken evaluation is a broken run."""
    found = recipe.evaluate(built, step)
    result = _result(found, step, run_dir)
    if found.pictures:
        folder = run_dir / paths.SAMPLES / f"step-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / pictures.FILE, codec.dumps(found.pictures.fitted()))
    reporting.facts.evaluation = result.scores
    reporting.facts.score_specs = result.specs or None
    reporting.event(
        Event.EVALUATION_FINISHED, step=step, scores=result.scores, baselines=result.baselines
    )
    return result


def _result(found: Evaluation, step: int, run_dir: Path) -> Result:
    return Result(
        step=step,
        scores={name: float(value) for name, value in found.scores.items()},
        specs=dict(found.specs),
        baselines={name: dict(scores) for name, scores in found.baselines.items()},
        samples=[_relative(path, run_dir) for path in found.samples],
    )


def _relative(path: Path, run_dir: Path) -> str:
    return str(path.relative_to(run_dir)) if path.is_relative_to(run_dir) else str(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file by rename, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(codec.to_document(value), ensure_ascii=False, indent=2) + "\n")


class Strategic:
    """The strategic log of rank 0; failures are counted and shown, never fatal."""

    def __init__(self, writer: StrategicWriter, reporting: Reporting) -> None:
        self._writer, self._reporting = writer, reporting
        self.failures = 0

    def show(self, recipe: Recipe, built: Built, batch: Batch, step: int) -> None:
        """Sections of this batch."""
        try:
            self._writer.write(step, recipe.strategic_sections(built, batch, step))
        except Exception as error:  # a look at the run must not end the run
            self.failures += 1
            self._reporting.event(
                Event.STRATEGIC_LOG_FAILED, step=step, error=repr(error), failures=self.failures
            )
            self._reporting.say(f"strategic log failed: {error!r}")


def export(recipe: Recipe, built: Built, run_dir: Path) -> None:
    """The inference artifact, below `<run>/export`."""
    directory = run_dir / paths.EXPORT
    directory.mkdir(parents=True, exist_ok=True)
    recipe.export(built, directory)
    as_ordinary(directory)
