"""The voice-cloning recipe: predict the next row of codes, of the target alone, for every book at once.

Implements `engine.recipe.Recipe`. The loss is the sum of the cross-entropies of all labels of the global batch by
their number, over all ranks and micro-batches (`CloningBatch.count`): a mean of means would weigh short sentences up.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from speech_contract import paths
from speech_contract.codec import to_document
from speech_trainer.data.loader import Place, Quarantine, TrainingStream
from speech_trainer.data.sampler import Sampler
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.recipe import (
    Built,
    Evaluation,
    RecipeContext,
    RunFacts,
    Section,
    StepRecord,
)
from speech_trainer.losses.codes import CodeLosses
from speech_trainer.models.encoders import FOLDER, copy_codec
from speech_trainer.modules import lora
from speech_trainer.recipes.voice_cloning import parts, preflight, sections
from speech_trainer.recipes.voice_cloning.batch import CloningBatch, Collate
from speech_trainer.recipes.voice_cloning.evaluation import BEST_SCORE, Evaluator
from speech_trainer.recipes.voice_cloning.generation import Speaker
from speech_trainer.recipes.voice_cloning.listening import Listeners, find_codec, find_recognizer
from speech_trainer.recipes.voice_cloning.material import read_material
from speech_trainer.recipes.voice_cloning.probing import Probes
from speech_trainer.strategic.collect import collect


class VoiceCloning:
    """One rank's recipe for one attempt."""

    name = "voiceCloning"

    def __init__(self, context: RecipeContext) -> None:
        """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
        spec = context.config.recipe.voice_cloning
        assert spec is not None, "the run config is for another recipe"
        self.spec, self.context = spec, context
        self.material = read_material(spec, context)
        self.settings = self.material.settings
        self.codec = find_codec(spec, self.material.training.manifest)
        recognizer = find_recognizer(spec, self.codec)
        self._listeners = Listeners(self.codec, recognizer, context.device)

    def effective_config(self) -> dict[str, Any]:
        """The preset with every override applied, and what the data made of it."""
        config: dict[str, Any] = to_document(self.settings)
        micro, grid = self.context.config.training.micro_batch_size, self.material.grid
        return config | {
            "recipe": self.name,
            "preset": self.spec.preset.value,
            "backbone": self.spec.backbone.value,
            "adapters": "None" if self.settings.lora is None else "Lora",
            "zLoss": self.settings.z_weight,
            "pretrained": self.spec.pretrained,
            "codec": "" if self.codec is None else str(self.codec),
            "recognizer": self.spec.recognizer,
            "globalBatchSize": self.settings.batch_size,
            **({} if micro is None else {"microBatchSize": micro}),
            "books": grid.books,
            "codes": grid.codes,
            "vocabularySize": self.material.tokens.size,
            "samples": len(self.material.training.utterances),
            "audioSeconds": self._audio_seconds,
        }

    def run_facts(self) -> RunFacts:
        """What the engine needs to know of this voice."""
        return RunFacts(
            global_batch_size=self.settings.batch_size,
            log_every_steps=self.settings.log_every_steps,
            fresh=not self.spec.pretrained,
            samples=len(self.material.training.utterances),
            audio_seconds=self._audio_seconds,
            held_out=len(self.material.held_out.utterances),
            best_score=BEST_SCORE,
        )

    @property
    def _audio_seconds(self) -> float:
        return round(self.material.training.manifest.seconds, 3)

    def build(self) -> Built:
        """The model on the device, and its optimizer. Where scores are taken, what listens must be readable too."""
        if self.context.rank == 0:
            _ = self._listeners.codec, self._listeners.recognizer
        return parts.build(self.material, self.spec.pretrained, self.context)

    def data(self) -> TrainingStream[CloningBatch]:
        """The training stream of this rank; lines of about one length go together."""
        training, lines = self.context.config.training, self.material.training
        place = Place(self.context.rank, self.context.world_size, training.micro_batch_size)
        budget = self.material.budget
        lengths = budget.lengths if budget else lines.seconds
        return TrainingStream(
            Sampler(lengths, self.settings.batch_size, training.seed),
            load=lambda index, _: self.material.load(lines, index),
            collate=Collate(self.material, pin_memory=self.context.device.type == "cuda"),
            place=place,
            on_skip=Quarantine(self.context.run_dir / paths.QUARANTINE, lines.utterances),
            budget=budget,
        )

    def preflight_checks(self, built: Built) -> Expectations:
        """What a fresh or pretrained model must measure before its first step."""
        training, fresh = self.context.config.training, not self.spec.pretrained
        return preflight.expectations(self.material, built, training, fresh=fresh)

    def train_step(self, built: Built, batch: CloningBatch, step: int) -> StepRecord:
        """Forward and backward; no optimizer is stepped and the host is never asked."""
        with self.context.autocast():
            found: CodeLosses = built.models[parts.MODEL](batch.columns)
        share = batch.weight / max(1, batch.count)
        total = found.total * share
        total.backward()
        entropies = found.books / batch.by_book.clamp_min(1.0) * batch.weight
        terms = {"codes/cross_entropy": found.books.sum() * share}
        if self.settings.z_weight > 0:
            terms["codes/z"] = found.z * share
        terms |= {f"book/q{n}": value for n, value in enumerate(entropies)}
        told = {name: value.detach() for name, value in terms.items()}
        return StepRecord({"total": total.detach(), **told}, tokens=batch.tokens)

    def after_update(self, built: Built, step: int, gate: torch.Tensor) -> None:
        """Nothing: the recipe keeps no shadow weights."""

    def evaluate(self, built: Built, step: int) -> Evaluation:
        """Held-out scores beside trivial answers, and beside the same model with another reference or none.

        And what it says freely: how its lengths are, and files to listen to where a codec is at hand.
        """
        folder = self.context.run_dir / paths.SAMPLES / f"step-{step}"
        with self.context.autocast():
            found = self._evaluator(parts.cloner_of(built), self.context.device)
            speech = self._speaker(parts.backbone_of(built), folder)
        return dataclasses.replace(
            found,
            scores={**found.scores, **speech.scores},
            baselines={**found.baselines, **speech.baselines},
            samples=speech.samples,
            specs={**found.specs, **speech.specs},
        )

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.material)

    @cached_property
    def _speaker(self) -> Speaker:
        return Speaker(self.material, self._evaluator.samples, self._listeners)

    def strategic_sections(self, built: Built, batch: CloningBatch, step: int) -> list[Section]:
        """All four; a section that fails says so and keeps the others."""
        cloner, material = parts.cloner_of(built), self.material
        return collect(
            {
                "Input": lambda: sections.describe_input(material, batch, step),
                "Output": lambda: sections.describe_output(material, cloner, batch),
                "Shared attention": lambda: self._probes.attention(cloner.backbone),
                "Zero-shot verification": lambda: self._probes.reference(
                    cloner, self.context.device
                ),
            }
        )

    @cached_property
    def _probes(self) -> Probes:
        return Probes(self.material, self._evaluator.samples)

    def export(self, built: Built, directory: Path) -> None:
        """The published form of the backbone, adapters merged, with its tokenizer, and the codec that is at hand."""
        backbone = parts.backbone_of(built)
        origin = Path(self.spec.pretrained) if self.spec.pretrained else None
        directory.mkdir(parents=True, exist_ok=True)
        with lora.merged(backbone):
            backbone.save(directory, origin)
        self.material.tokens.save(directory)
        if self.codec is not None:
            copy_codec(self.codec, directory / FOLDER)
