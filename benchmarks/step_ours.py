"""Our training step of the preset Speech24k, as the engine takes it: gate, both passes, update, codebooks.

Used by step_watch.py. The step of the recipe is what runs in training; beside it only what the engine does on the
device: copies of staged buffers, norms, clips, AdamW under the gate.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import soundfile
import torch
from step_watch import SAMPLE_RATE, Step, Watch
from torch import Tensor

from speech_contract.recipes import CodecPreset, CodecRecipe, RecipeSpec
from speech_contract.run_config import Checkpoint, Data, DataSet, RunConfig, Training
from speech_trainer.engine.gate import Gate
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.codec import parts
from speech_trainer.recipes.codec.batch import Collate, Crop
from speech_trainer.recipes.codec.recipe import CodecTrainer

CPU = torch.device("cpu")
FIRST = 1000  # step: codebooks and discriminators are in


def make(batch: Tensor, watch: Watch) -> Step:
    """One update of everything on `batch` [B, 1, T]."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = CodecTrainer(_context(Path(folder), batch))
    built = recipe.build()
    gate, crops = Gate(built, CPU, 0, 1), Collate(recipe.settings)
    utterance = recipe.material.manifest.utterances[0]
    taken = crops([Crop(utterance, waveform[0], 0) for waveform in batch])
    codec = parts.codec_of(built)
    watch.module("encoder", codec.encoder, lambda found: found)
    watch.module("quantiser", codec.quantizer, lambda found: found.hidden)
    watch.module("decoder", codec.decoder, lambda found: found)
    _watch_the_rest(recipe, watch)
    number = iter(range(FIRST, FIRST + 10**6))

    def step() -> None:
        now = next(number)
        with watch.stage("optimizers"):
            gate.begin()
        record = recipe.train_step(built, taken, now)
        watch.ends()
        with watch.stage("optimizers"):
            judgement = gate.judge(record.losses, now, interrupt=False)
            gate.commit(judgement, lambda bad: recipe.after_update(built, now, bad))

    return step


def _watch_the_rest(recipe: Any, watch: Watch) -> None:
    """The step's own functions become stages; what follows the last of them is the way back."""
    recipe._reconstruction = watch.timed("losses, forward", recipe._reconstruction)
    adversarial.discriminate = watch.timed("discriminators, their update", adversarial.discriminate)
    convince = watch.timed("discriminators for the codec", adversarial.convince)

    def last(*arguments: Any) -> Any:
        found = convince(*arguments)
        watch.begins("losses, backward")
        return found

    adversarial.convince = last


def _context(folder: Path, batch: Tensor) -> RecipeContext:
    """A run on one recording, which nothing reads: the batch is given."""
    soundfile.write(folder / "one.wav", batch[0, 0].repeat(4).numpy(), SAMPLE_RATE)
    seconds = 4 * batch.size(-1) / SAMPLE_RATE
    line = {"audio_filepath": "one.wav", "duration": seconds}
    (folder / "train.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    config = RunConfig(
        namespace="default", name="speed", uid="u", attempt=1, token="t", num_nodes=1, ranks_per_node=1,
        master_address="127.0.0.1", master_port=1, supervisor_addresses=[], run_dir=str(folder),
        recipe=RecipeSpec(codec=CodecRecipe(preset=CodecPreset.SPEECH_24K)),
        training=Training(max_steps=400_000, global_batch_size=batch.size(0)),
        checkpoint=Checkpoint(uri=str(folder)),
        data=Data(DataSet(str(folder / "train.jsonl"))),
    )  # fmt: skip
    return RecipeContext(config, CPU, 0, 1, folder)
