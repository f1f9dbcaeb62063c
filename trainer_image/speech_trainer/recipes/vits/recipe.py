"""The VITS recipe: full losses on transformers' sub-modules, with discriminators of our own.

Implements `engine.recipe.Recipe`. The step follows the paper: reconstruct a random segment from the posterior
(mel), tie prior and posterior along a monotonic alignment (KL), learn how long each token lasts (duration),
and, once the discriminators are in, convince them (adversarial, feature matching). All randomness comes from
torch's global generators.
"""

import dataclasses
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from speech_contract import paths
from speech_contract.codec import to_document
from speech_contract.run_config import Data, Precision
from speech_trainer.audio.spectrograms import Spectrograms
from speech_trainer.data.loader import Place, Quarantine, TrainingStream
from speech_trainer.data.manifest import Manifest, read_manifest
from speech_trainer.data.sampler import Sampler
from speech_trainer.data.samples import Sample, SampleLimits, load_sample
from speech_trainer.engine.recipe import (
    Built,
    Evaluation,
    Losses,
    RecipeContext,
    Section,
    unwrap,
)
from speech_trainer.errors import ConfigError
from speech_trainer.losses import vits as losses
from speech_trainer.models.vits import GeneratorOutput, VitsGenerator, segments
from speech_trainer.modules.discriminators import Judgement
from speech_trainer.preflight.expectations import Expectations
from speech_trainer.recipes.vits import parts, preflight, sections, tokens
from speech_trainer.recipes.vits.batch import Collate, VitsBatch
from speech_trainer.recipes.vits.evaluation import Evaluator
from speech_trainer.recipes.vits.presets import resolve
from speech_trainer.strategic.collect import collect

_BAD_AUDIO_FLOOR: Final = 1  # FFT frames an utterance must at least have


class Vits:
    """One rank's recipe for one attempt."""

    name = "vits"

    def __init__(self, context: RecipeContext) -> None:
        """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
        spec = context.config.recipe.vits
        assert spec is not None, "the run config is for another recipe"
        # Denormal numbers slow a CPU step threefold once weights settle.
        torch.set_flush_denormal(True)
        self.spec = spec
        self.context = context
        self.settings = resolve(spec, context.config.training, context.world_size)
        if spec.pretrained:
            grid = parts.pretrained_spectrogram(Path(spec.pretrained))
            self.settings = dataclasses.replace(self.settings, spectrogram=grid)
        self.manifest = self._read(self._data().train.manifest).first(self._data().max_samples)
        self.validation = self._read_validation()
        self.vocabulary = (
            tokens.from_pretrained(Path(spec.pretrained))
            if spec.pretrained
            else tokens.from_manifest(self.manifest)
        )
        self.speakers = parts.speaker_ids(self.manifest)
        self.spectrograms = Spectrograms(self.settings.spectrogram).to(context.device)
        self._autocast = context.config.training.precision is Precision.BF16
        self._evaluator: Evaluator | None = None

    def effective_config(self) -> dict[str, Any]:
        """The preset with every override applied, and what the data made of it."""
        config: dict[str, Any] = to_document(self.settings)
        return config | {
            "recipe": self.name,
            "preset": self.spec.preset.value,
            "pretrained": self.spec.pretrained,
            "globalBatchSize": self.settings.batch_size,
            "vocabularySize": self.vocabulary.size,
            "tokens": "phonemes" if self.vocabulary.phonemes else "text",
            "speakers": len(self.speakers),
            "samples": len(self.manifest.utterances),
            "audioSeconds": round(sum(u.duration for u in self.manifest.utterances), 3),
        }

    def build(self) -> Built:
        """Models on the device, optimizers and schedules; stores the vocabulary with the run."""
        if self.context.rank == 0:
            tokens.store(self.vocabulary, self.context.run_dir)
        model = parts.build_model(
            self.settings, self.spec.pretrained, self.vocabulary.size, len(self.speakers)
        )
        return parts.build(self.settings, model, self.context)

    def data(self) -> TrainingStream[VitsBatch]:
        """The training stream of this rank."""
        config = self.context.config
        durations = [utterance.duration for utterance in self.manifest.utterances]
        return TrainingStream(
            Sampler(durations, self.settings.batch_size, config.training.seed),
            load=lambda index: self._load(self.manifest, index),
            collate=Collate(
                self.settings, self.speakers, pin_memory=self.context.device.type == "cuda"
            ),
            place=Place(self.context.rank, self.context.world_size),
            on_skip=Quarantine(self.context.run_dir / paths.QUARANTINE, self.manifest.utterances),
        )

    def preflight_checks(self, built: Built) -> Expectations:
        """What a fresh or pretrained voice must measure before its first step."""
        return preflight.expectations(self, built)

    def train_step(self, built: Built, batch: VitsBatch, step: int) -> Losses:
        """Both backward passes; no optimizer is stepped and the host is never asked."""
        linear = self.spectrograms.linear(batch.waveform)
        with self._cast():
            output: GeneratorOutput = built.models[parts.GENERATOR](
                batch.tokens, batch.token_lengths, linear, batch.frame_lengths, batch.speakers
            )
        real = self._real_segments(batch, output)
        terms: dict[str, Tensor] = {}
        adversarial: Tensor | float = 0.0
        if step >= self.settings.adversarial_start_step:
            judged_real = self._discriminate(built, real, output, batch.weight, terms)
            adversarial = self._convince(built, judged_real, output, terms)
        total = (self._reconstruction(real, output, terms) + adversarial) * batch.weight
        total.backward()
        return {
            "total": total.detach(),
            **{name: (term * batch.weight).detach() for name, term in terms.items()},
        }

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        """Nothing: the recipe keeps no shadow weights."""

    def evaluate(self, built: Built, step: int) -> Evaluation:
        """Held-out scores beside their trivial baselines; writes a few sentences to listen to."""
        if self._evaluator is None:
            self._evaluator = Evaluator(
                training=self._few(self.manifest, 16 * self.settings.evaluation_sentences),
                held_out=self._few(self.validation, self.settings.evaluation_sentences),
                speakers=self.speakers,
                settings=self.settings,
            )
        return self._evaluator(
            self._generator(built), self.context.run_dir / paths.SAMPLES / f"step-{step}"
        )

    def strategic_sections(self, built: Built, batch: VitsBatch, step: int) -> list[Section]:
        """Input and Output; a section that fails says so and keeps the others."""
        generator = self._generator(built)
        return collect(
            {
                "Input": lambda: sections.describe_input(self, batch, step),
                "Output": lambda: sections.describe_output(self, generator, batch),
            }
        )

    def export(self, built: Built, directory: Path) -> None:
        """What `VitsModel.from_pretrained` and `VitsTokenizer.from_pretrained` read."""
        directory.mkdir(parents=True, exist_ok=True)
        self._generator(built).vits.save_pretrained(directory)
        tokens.export_tokenizer(self.vocabulary, directory)

    def _reconstruction(
        self, real: Tensor, output: GeneratorOutput, terms: dict[str, Tensor]
    ) -> Tensor:
        """The part of the generator's loss that needs no discriminator, weighted."""
        weights = self.settings.weights
        mel = losses.mel_loss(
            self.spectrograms(output.waveform.squeeze(1)), self.spectrograms(real.squeeze(1))
        )
        kl = losses.kl_loss(
            output.flowed,
            output.posterior_log_scale,
            output.prior_mean,
            output.prior_log_scale,
            output.frame_mask,
        )
        duration = output.duration_loss.float()
        terms |= {"generator/mel": mel, "generator/kl": kl, "generator/duration": duration}
        return weights.mel * mel + weights.kl * kl + weights.duration * duration

    def _discriminate(
        self,
        built: Built,
        real: Tensor,
        output: GeneratorOutput,
        weight: float,
        terms: dict[str, Tensor],
    ) -> list[Judgement]:
        """Backward of the discriminators; returns how they judge the recordings.

        One forward for both halves: DDP allows one forward per backward.
        """
        halves = torch.cat([real, output.waveform.detach()])
        with self._cast():
            judgements: list[Judgement] = built.models[parts.DISCRIMINATOR](halves)
        loss = losses.discriminator_loss(
            [scores.chunk(2)[0] for scores, _ in judgements],
            [scores.chunk(2)[1] for scores, _ in judgements],
        )
        (loss * weight).backward()
        terms["discriminator/adversarial"] = loss
        return [
            (scores.detach().chunk(2)[0], [layer.detach().chunk(2)[0] for layer in features])
            for scores, features in judgements
        ]

    def _convince(
        self,
        built: Built,
        judged_real: list[Judgement],
        output: GeneratorOutput,
        terms: dict[str, Tensor],
    ) -> Tensor:
        """The generator's adversarial part, through frozen and unwrapped discriminators, weighted."""
        discriminator = unwrap(built.models[parts.DISCRIMINATOR])
        discriminator.requires_grad_(False)
        with self._cast():
            judgements: list[Judgement] = discriminator(output.waveform)
        discriminator.requires_grad_(True)
        adversarial = losses.adversarial_loss([scores for scores, _ in judgements])
        matching = losses.feature_matching_loss(judged_real, judgements)
        terms |= {
            "generator/adversarial": adversarial,
            "generator/feature_matching": matching,
        }
        weights = self.settings.weights
        return weights.adversarial * adversarial + weights.feature_matching * matching

    def _real_segments(self, batch: VitsBatch, output: GeneratorOutput) -> Tensor:
        """The recorded samples [B, 1, segment] behind the generated ones."""
        hop = self.settings.spectrogram.hop_length
        return segments(
            batch.waveform.unsqueeze(1), output.start * hop, self.settings.segment_frames * hop
        )

    def _cast(self) -> torch.autocast:
        return torch.autocast(
            self.context.device.type, dtype=torch.bfloat16, enabled=self._autocast
        )

    def _generator(self, built: Built) -> VitsGenerator:
        generator = unwrap(built.models[parts.GENERATOR])
        assert isinstance(generator, VitsGenerator)
        return generator

    def _load(self, manifest: Manifest, index: int) -> Sample:
        spectrogram = self.settings.spectrogram
        limits = SampleLimits(
            sample_rate=spectrogram.sample_rate,
            hop_length=spectrogram.hop_length,
            min_samples=_BAD_AUDIO_FLOOR * spectrogram.fft_size,
            max_seconds=self.settings.max_seconds,
        )
        return load_sample(manifest, manifest.utterances[index], self.vocabulary.encode, limits)

    def _few(self, manifest: Manifest | None, count: int) -> list[Sample]:
        """The first usable samples of a manifest, at most `count`."""
        if manifest is None:
            return []
        return parts.usable(
            range(len(manifest.utterances)), count, lambda i: self._load(manifest, i)
        )

    def _data(self) -> Data:
        data = self.context.config.data
        if data is None:
            raise ConfigError("data: None is missing; the recipe vits needs data.train.manifest")
        return data

    def _read(self, manifest: str) -> Manifest:
        return read_manifest(Path(manifest))

    def _read_validation(self) -> Manifest | None:
        validation = self._data().validation
        return None if validation is None else self._read(validation.manifest)


def create(context: RecipeContext) -> Vits:
    """The recipe for one rank. Raises: ConfigError, DataError."""
    return Vits(context)
