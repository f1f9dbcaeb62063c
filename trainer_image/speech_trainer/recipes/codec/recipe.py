"""The codec recipe: reconstruct through codes, and, once the discriminators are in, convince them.

Implements `engine.recipe.Recipe`. Codebooks are moving averages (`modules.quantizer`): until they start, latents pass
unrounded; from then on `after_update` moves them, once an update, the same way on every rank. Losses, spectra and the
quantiser are computed in float32 whatever the precision of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speech_contract import paths
from speech_contract.codec import to_document
from speech_trainer.data.loader import Place, Quarantine, TrainingStream
from speech_trainer.data.sampler import Sampler
from speech_trainer.engine.expectations import Expectations
from speech_trainer.engine.recipe import (
    BookRecord,
    Built,
    Evaluation,
    RecipeContext,
    RunFacts,
    Section,
    StepRecord,
)
from speech_trainer.losses.codec import MelDistance
from speech_trainer.models.codec import Codec
from speech_trainer.modules.quantizer import Quantized, alone
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.codec import parts, preflight, sections
from speech_trainer.recipes.codec.batch import CodecBatch, Collate, Crop, Cutter
from speech_trainer.recipes.codec.evaluation import BEST_SCORE, Evaluator
from speech_trainer.recipes.codec.material import read_material
from speech_trainer.strategic.collect import collect


class CodecTrainer:
    """One rank's recipe for one attempt."""

    name = "codec"

    def __init__(self, context: RecipeContext) -> None:
        """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
        spec = context.config.recipe.codec
        assert spec is not None, "the run config is for another recipe"
        self.spec, self.context = spec, context
        self.material = read_material(spec, context)
        self.settings = self.material.settings
        self._mel = MelDistance(self.settings.sample_rate, self.settings.scales).to(context.device)
        self._cutter = Cutter(self.settings, context.config.training.seed)
        self._evaluator: Evaluator | None = None

    def effective_config(self) -> dict[str, Any]:
        """The preset with every override applied, and what the data made of it."""
        config: dict[str, Any] = to_document(self.settings)
        micro = self.context.config.training.micro_batch_size
        return config | {
            "recipe": self.name,
            "preset": self.spec.preset.value,
            "pretrained": self.spec.pretrained,
            "globalBatchSize": self.settings.batch_size,
            **({} if micro is None else {"microBatchSize": micro}),
            "hop": self.settings.hop,
            "bitsPerSecond": self.settings.bits_per_second,
            "samples": len(self.material.manifest.utterances),
            "audioSeconds": self._audio_seconds,
        }

    def run_facts(self) -> RunFacts:
        """What the engine needs to know of this codec."""
        goal, held_out = self.spec.goal_snr, self.material.validation
        return RunFacts(
            global_batch_size=self.settings.batch_size,
            log_every_steps=self.settings.log_every_steps,
            fresh=not self.spec.pretrained,
            samples=len(self.material.manifest.utterances),
            audio_seconds=self._audio_seconds,
            held_out=len(held_out.utterances) if held_out else 0,
            best_score=BEST_SCORE,
            goal_snr=None if goal is None else float(goal),
            bits_per_second=self.settings.bits_per_second,
        )

    @property
    def _audio_seconds(self) -> float:
        return round(self.material.manifest.seconds, 3)

    def build(self) -> Built:
        """Models on the device, optimizers, codebooks."""
        return parts.build(self.material, self.spec.pretrained, self.context)

    def data(self) -> TrainingStream[CodecBatch]:
        """The training stream of this rank: crops."""
        training, manifest = self.context.config.training, self.material.manifest
        place = Place(self.context.rank, self.context.world_size, training.micro_batch_size)
        # All crops are of one length, so there is nothing to sort by.
        durations = [1.0] * len(manifest.utterances)
        return TrainingStream(
            Sampler(durations, self.settings.batch_size, training.seed),
            load=self._crop,
            collate=Collate(self.settings, pin_memory=self.context.device.type == "cuda"),
            place=place,
            on_skip=Quarantine(self.context.run_dir / paths.QUARANTINE, manifest.utterances),
        )

    def preflight_checks(self, built: Built) -> Expectations:
        """What a fresh or pretrained codec must measure before its first step."""
        good = torch.zeros((), dtype=torch.bool, device=self.context.device)
        return preflight.expectations(
            self.material,
            built,
            self.context.config.training.max_steps,
            lambda step: self.after_update(built, step, good),
        )

    def train_step(self, built: Built, batch: CodecBatch, step: int) -> StepRecord:
        """Both backward passes; no optimizer is stepped and the host is never asked."""
        coded = step >= self.settings.quantizer.start_step
        with self.context.autocast():
            output, quantized = built.models[adversarial.GENERATOR](
                batch.waveform, coded=coded, real=batch.real
            )
        real = batch.waveform[..., : output.size(-1)]  # odd strides give a few samples less
        terms: dict[str, Tensor] = {}
        total = self._reconstruction(real, output, quantized, terms)
        if step >= self.settings.adversarial_start_step:
            judges, weights = built.models[adversarial.DISCRIMINATOR], self.settings.weights
            judged = adversarial.discriminate(
                judges, real, output, batch.weight, terms, self.context.autocast()
            )
            total = total + adversarial.convince(judged, output, terms, weights)
        (total * batch.weight).backward()
        told = {name: (term * batch.weight).detach() for name, term in terms.items()}
        books = self._books(built, quantized, step) if coded else None
        return StepRecord({"total": (total * batch.weight).detach(), **told}, books)

    @torch.no_grad()
    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        """Move the codebooks and the shadow weights."""
        codec, several = parts.codec_of(built), self.context.world_size > 1
        codec.quantizer.update(
            step,
            self.context.config.training.seed,
            parts.summed if several else alone,
            parts.gathered if several else alone,
        )
        if built.ema:
            own = dict(codec.named_parameters())
            shadows = list(built.ema.values())
            torch._foreach_lerp_(
                shadows, [own[name].detach() for name in built.ema], 1.0 - self.settings.ema_decay
            )

    def evaluate(self, built: Built, step: int) -> Evaluation:
        """Held-out scores beside their trivial baselines; writes a few recordings as they come back."""
        if self._evaluator is None:
            self._evaluator = Evaluator(self.material, self._mel)
        with self._scored(built) as codec:
            folder = self.context.run_dir / paths.SAMPLES / f"step-{step}"
            return self._evaluator(codec, folder, coded=step >= self.settings.quantizer.start_step)

    def strategic_sections(self, built: Built, batch: CodecBatch, step: int) -> list[Section]:
        """Input and Output; a section that fails says so and keeps the others."""
        codec = parts.codec_of(built)
        coded = step >= self.settings.quantizer.start_step
        return collect(
            {
                "Input": lambda: sections.describe_input(self.material, batch, step),
                "Output": lambda: sections.describe_output(codec, batch, coded=coded),
            }
        )

    def export(self, built: Built, directory: Path) -> None:
        """What `DacModel.from_pretrained` reads."""
        directory.mkdir(parents=True, exist_ok=True)
        with self._scored(built) as codec:
            codec.plain().save_pretrained(directory)
            sections.feature_extractor(self.settings).save_pretrained(directory)

    def _crop(self, index: int, position: int) -> Crop:
        return self._cutter(self.material.load(self.material.manifest, index), position)

    def _reconstruction(
        self, real: Tensor, output: Tensor, quantized: Quantized, terms: dict[str, Tensor]
    ) -> Tensor:
        """The part of the loss that needs no discriminator, weighted."""
        weights = self.settings.weights
        mel = self._mel(output.squeeze(1), real.squeeze(1))
        waveform = (output - real).abs().mean()
        terms |= {
            "generator/mel": mel,
            "generator/waveform": waveform,
            "generator/commitment": quantized.commitment,
        }
        total: Tensor = weights.mel * mel + weights.waveform * waveform
        return total + weights.commitment * quantized.commitment

    def _books(self, built: Built, quantized: Quantized, step: int) -> dict[str, BookRecord]:
        levels = parts.codec_of(built).quantizer.levels
        start, share = self.settings.quantizer.start_step, self.settings.quantizer.dead_share
        return {
            f"q{number}": BookRecord(
                usage=seen.usage,
                dead=level.dead(share).float().mean(),
                movement=level.movement.clone(),
                residual=seen.residual,
                # Behind a projection that still learns, a sound book may look poor for a while.
                age=None if level.by_angle or start == 1 else step - start,
            )
            for number, (level, seen) in enumerate(zip(levels, quantized.levels, strict=True))
        }

    @contextmanager
    def _scored(self, built: Built) -> Iterator[Codec]:
        """The codec with its shadow weights, where it keeps some."""
        codec = parts.codec_of(built)
        parameters = dict(codec.named_parameters())
        own = {name: parameters[name].detach().clone() for name in built.ema}
        _put(parameters, built.ema)
        try:
            yield codec
        finally:
            _put(parameters, own)


@torch.no_grad()
def _put(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        parameters[name].copy_(value)
