"""The VITS recipe: full losses on transformers' sub-modules, with discriminators of our own.

Implements `engine.recipe.Recipe`. The step follows the paper: reconstruct a random segment from the posterior
(mel), tie prior and posterior along a monotonic alignment (KL), learn how long each token lasts (duration),
and, once the discriminators are in, convince them (adversarial, feature matching). All randomness comes from
torch's global generators.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

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
    unwrap,
)
from speech_trainer.losses import vits as losses
from speech_trainer.models.vits import GeneratorOutput, VitsGenerator, segments
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.vits import parts, preflight, sections, tokens
from speech_trainer.recipes.vits.batch import Collate, VitsBatch
from speech_trainer.recipes.vits.evaluation import BEST_SCORE, Evaluator
from speech_trainer.recipes.vits.voice import read_voice
from speech_trainer.strategic.collect import collect


class Vits:
    """One rank's recipe for one attempt."""

    name = "vits"

    def __init__(self, context: RecipeContext) -> None:
        """Read the manifests and fix every setting. Raises: ConfigError, DataError."""
        spec = context.config.recipe.vits
        assert spec is not None, "the run config is for another recipe"
        self.spec = spec
        self.context = context
        self.voice = read_voice(spec, context)
        self.settings, self.spectrograms = self.voice.settings, self.voice.spectrograms
        self._evaluator: Evaluator | None = None

    def effective_config(self) -> dict[str, Any]:
        """The preset with every override applied, and what the data made of it."""
        voice, training = self.voice, self.context.config.training
        config: dict[str, Any] = to_document(self.settings)
        return config | {
            "recipe": self.name,
            "preset": self.spec.preset.value,
            "pretrained": self.spec.pretrained,
            "globalBatchSize": self.settings.batch_size,
            **_given("microBatchSize", training.micro_batch_size),
            "vocabularySize": voice.vocabulary.size,
            "tokens": "phonemes" if voice.vocabulary.phonemes else "text",
            "speakers": len(voice.speakers),
            "samples": len(voice.manifest.utterances),
            "audioSeconds": self._audio_seconds,
        }

    def run_facts(self) -> RunFacts:
        """What the engine needs to know of this voice."""
        return RunFacts(
            global_batch_size=self.settings.batch_size,
            log_every_steps=self.settings.log_every_steps,
            fresh=not self.spec.pretrained,
            samples=len(self.voice.manifest.utterances),
            audio_seconds=self._audio_seconds,
            best_score=BEST_SCORE,
        )

    @property
    def _audio_seconds(self) -> float:
        return round(self.voice.manifest.seconds, 3)

    def build(self) -> Built:
        """Models on the device, optimizers and schedules; stores the vocabulary with the run."""
        voice = self.voice
        if self.context.rank == 0:
            tokens.store(voice.vocabulary, self.context.run_dir)
        model = parts.build_model(
            self.settings, self.spec.pretrained, voice.vocabulary.size, len(voice.speakers)
        )
        return parts.build(self.settings, model, self.context)

    def data(self) -> TrainingStream[VitsBatch]:
        """The training stream of this rank."""
        training, manifest = self.context.config.training, self.voice.manifest
        place = Place(self.context.rank, self.context.world_size, training.micro_batch_size)
        durations = [utterance.duration for utterance in manifest.utterances]
        return TrainingStream(
            Sampler(durations, self.settings.batch_size, training.seed),
            load=lambda index, _: self.voice.load(manifest, index),
            collate=Collate(
                self.settings, self.voice.speakers, pin_memory=self.context.device.type == "cuda"
            ),
            place=place,
            on_skip=Quarantine(self.context.run_dir / paths.QUARANTINE, manifest.utterances),
        )

    def preflight_checks(self, built: Built) -> Expectations:
        """What a fresh or pretrained voice must measure before its first step."""
        most_skipped = float(self.context.config.health.skipped_samples.max_ratio)
        return preflight.expectations(self.voice, built, most_skipped)

    def train_step(self, built: Built, batch: VitsBatch, step: int) -> StepRecord:
        """Both backward passes; no optimizer is stepped and the host is never asked."""
        linear = self.spectrograms.linear(batch.waveform)
        with self.context.autocast():
            output: GeneratorOutput = built.models[adversarial.GENERATOR](
                batch.tokens, batch.token_lengths, linear, batch.frame_lengths, batch.speakers
            )
        real = self._real_segments(batch, output)
        terms: dict[str, Tensor] = {}
        convincing: Tensor | float = 0.0
        if step >= self.settings.adversarial_start_step:
            convincing = self._judged(built, real, output.waveform, batch.weight, terms)
        total = (self._reconstruction(real, output, terms) + convincing) * batch.weight
        total.backward()
        reported = {name: (term * batch.weight).detach() for name, term in terms.items()}
        return StepRecord({"total": total.detach(), **reported})

    def after_update(self, built: Built, step: int, gate: Tensor) -> None:
        """Nothing: the recipe keeps no shadow weights."""

    def evaluate(self, built: Built, step: int) -> Evaluation:
        """Held-out scores beside their trivial baselines; writes a few sentences to listen to."""
        if self._evaluator is None:
            self._evaluator = Evaluator(
                training=self.voice.few(
                    self.voice.manifest, 16 * self.settings.evaluation_sentences
                ),
                held_out=self.voice.few(self.voice.validation, self.settings.evaluation_sentences),
                speakers=self.voice.speakers,
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
                "Input": lambda: sections.describe_input(self.voice, batch, step),
                "Output": lambda: sections.describe_output(self.voice, generator, batch),
            }
        )

    def export(self, built: Built, directory: Path) -> None:
        """What `VitsModel.from_pretrained` and `VitsTokenizer.from_pretrained` read."""
        directory.mkdir(parents=True, exist_ok=True)
        self._generator(built).vits.save_pretrained(directory)
        tokens.export_tokenizer(self.voice.vocabulary, directory)

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

    def _judged(
        self, built: Built, real: Tensor, output: Tensor, weight: float, terms: dict[str, Tensor]
    ) -> Tensor:
        """The discriminators' step, and the generator's part of it."""
        judges, weights = built.models[adversarial.DISCRIMINATOR], self.settings.weights
        judged = adversarial.discriminate(
            judges, real, output, weight, terms, self.context.autocast()
        )
        return adversarial.convince(judged, output, terms, weights)

    def _real_segments(self, batch: VitsBatch, output: GeneratorOutput) -> Tensor:
        """The recorded samples [B, 1, segment] behind the generated ones."""
        hop = self.settings.spectrogram.hop_length
        return segments(
            batch.waveform.unsqueeze(1), output.start * hop, self.settings.segment_frames * hop
        )

    def _generator(self, built: Built) -> VitsGenerator:
        generator = unwrap(built.models[adversarial.GENERATOR])
        assert isinstance(generator, VitsGenerator)
        return generator


def _given(name: str, value: int | None) -> dict[str, int]:
    return {} if value is None else {name: value}


def create(context: RecipeContext) -> Vits:
    """The recipe for one rank. Raises: ConfigError, DataError."""
    return Vits(context)
