"""The codec recipe at the size of a test, on a voice of tones. Used by test_codec_recipe and its worker processes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import toy

from speech_contract.recipes import CodecPreset, CodecRecipe, RecipeSpec
from speech_contract.run_config import Data, DataSet, RunConfig
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import Built, RecipeContext, StepRecord
from speech_trainer.losses.codec import Scale
from speech_trainer.modules.quantizer import QuantizerSettings
from speech_trainer.preflight import run as preflight
from speech_trainer.recipes.codec import presets
from speech_trainer.recipes.codec.batch import CodecBatch
from speech_trainer.recipes.codec.recipe import CodecTrainer

CPU = torch.device("cpu")
SMALL = dataclasses.replace(
    presets.PRESETS[CodecPreset.DEBUG],
    ratios=(4, 8),
    encoder_channels=4,
    decoder_channels=16,
    quantizer=QuantizerSettings(
        levels=2, codes=16, decay=0.9, start_step=4, revive_every=3, dead_share=0.2
    ),
    scales=(Scale(64, 5), Scale(256, 10)),
    batch_size=4,
    crop_frames=16,
    warmup_steps=2,
    evaluation_clips=2,
)


def settle(**changes: Any) -> None:
    """Make the Debug preset that small in this process."""
    table = dict(presets.PRESETS)
    table[CodecPreset.DEBUG] = dataclasses.replace(SMALL, **changes)
    presets.PRESETS = table  # type: ignore[misc]


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """That small for a while: a fixture of tests in one process."""
    before = presets.PRESETS
    settle()
    try:
        yield
    finally:
        presets.PRESETS = before  # type: ignore[misc]


def config_of(run_dir: Path, voice: Path, **changes: Any) -> RunConfig:
    """A run config of a dozen steps."""
    recipe = {"preset": CodecPreset.DEBUG, **changes.pop("recipe", {})}
    return dataclasses.replace(
        toy.make_config(run_dir, **changes),
        recipe=RecipeSpec(codec=CodecRecipe(**recipe)),
        data=Data(DataSet(str(voice / "train.jsonl")), DataSet(str(voice / "validation.jsonl"))),
    )


class Disturbed(CodecTrainer):
    """NaN in the loss at `nan_steps`, the first time they are taken; an exception at `dies_at`."""

    def __init__(
        self, context: RecipeContext, nan_steps: tuple[int, ...] = (), dies_at: int | None = None
    ) -> None:
        super().__init__(context)
        self._nan, self._dies_at = set(nan_steps), dies_at

    def train_step(self, built: Built, batch: CodecBatch, step: int) -> StepRecord:
        if step == self._dies_at:
            raise KeyboardInterrupt
        if step in self._nan:
            self._nan.discard(step)
            batch = dataclasses.replace(batch, waveform=batch.waveform * float("nan"))
        return super().train_step(built, batch, step)


@dataclasses.dataclass
class Run:
    """An engine round the recipe, and what it said."""

    engine: Engine
    said: toy.Recorder


def make(
    config: RunConfig,
    *,
    world: World | None = None,
    checked: bool = False,
    wrap: Callable[[Any], Any] = lambda recipe: recipe,
    **faults: Any,
) -> Run:
    """One rank's run. `wrap`: as SPEECHTRAIN_WRAP_RECIPE does."""
    world = world or World(Ranks(), CPU)
    run_dir = Path(config.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    context = RecipeContext(config, CPU, world.rank, world.size, run_dir, world.lead)
    recipe = wrap(Disturbed(context, **faults))
    said = toy.Recorder()
    outside = Outside(said, said, said)
    if checked:
        outside = dataclasses.replace(outside, preflight=preflight.run)
    return Run(Engine(config, recipe, world, outside), said)
