"""What VITS must measure before its first step: data, inputs, losses. Called by `Vits.preflight_checks`.

Ranges hold for any speech; docs/preflight.md gives the formula of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from speech_contract.preflight import Check, CheckResult
from speech_trainer.data.manifest import Manifest
from speech_trainer.data.samples import SILENCE_RMS
from speech_trainer.engine.expectations import Expectations, Range
from speech_trainer.engine.recipe import Built, unwrap
from speech_trainer.models.vits import VitsGenerator
from speech_trainer.modules.discriminators import WaveformDiscriminator
from speech_trainer.preflight import manifests
from speech_trainer.preflight.rows import number, row, skipped, warning
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.voice import Voice

LOUDEST_MEL: Final = 17.0  # of log-mels between the floor's -11.5 and about +5.5
SHARE_OF_WRONG_LENGTHS: Final = 0.5
LENGTH_TOLERANCE: Final = 0.1  # of the manifest's duration
STRANGERS: Final = "they are spoken by the first voice: a VITS model knows no others"


def expectations(voice: Voice, built: Built, most_skipped: float) -> Expectations:
    """Everything that the engine measures for this voice. `most_skipped`: share of samples that may be bad."""
    settings = voice.settings
    weights = settings.weights
    return Expectations(
        components=_components(voice, built),
        weights={
            "generator/mel": weights.mel,
            "generator/kl": weights.kl,
            "generator/duration": weights.duration,
            "generator/adversarial": weights.adversarial,
            "generator/feature_matching": weights.feature_matching,
        },
        objectives=adversarial.OBJECTIVES,
        learning_rates=adversarial.rates(settings),
        data=lambda: data_rows(
            voice.manifest, voice.validation, settings.max_seconds, most_skipped
        ),
        inputs=lambda batches: input_rows(voice, batches),
    )


def _components(voice: Voice, built: Built) -> dict[str, Range]:
    generator, discriminator = (
        unwrap(built.models[name]) for name in (adversarial.GENERATOR, adversarial.DISCRIMINATOR)
    )
    assert isinstance(generator, VitsGenerator)
    assert isinstance(discriminator, WaveformDiscriminator)
    config = generator.vits.config
    channels = float(config.flow_size)
    stochastic = config.use_stochastic_duration_prediction
    return {
        "generator/mel": Range(0.01, LOUDEST_MEL, "mean difference of two log-mels"),
        "generator/kl": Range(
            -channels, 20.0 * channels, f"a few nats for each of {channels:g} channels"
        ),
        "generator/duration": Range(-1e3, 1e4, "negative log-likelihood of a token's duration")
        if stochastic
        else Range(0.0, 1e3, "deviance of a token's duration, p/d - 1 - log(p/d) and its like"),
        **adversarial.ranges(len(discriminator.members)),
    }


def data_rows(
    training: Manifest, held_out: Manifest | None, max_seconds: float, most_skipped: float
) -> list[CheckResult]:
    """What the manifests alone tell. Pure."""
    utterances = training.utterances
    rows = [
        *manifests.duration_rows(utterances, max_seconds),
        manifests.texts_row(utterances, most_skipped),
        manifests.pace_row(utterances),
        manifests.duplicates_row(training),
        manifests.overlap_row(training, held_out),
    ]
    if held_out is not None:
        rows.append(manifests.strangers_row(training, held_out, STRANGERS))
    return rows


def input_rows(voice: Voice, batches: Sequence[VitsBatch]) -> list[CheckResult]:
    """Text, audio and speakers of real batches against the lines they came from."""
    full = [batch for batch in batches if batch.samples]
    if not full:
        return []
    return [
        _text(voice, full),
        _audio(voice, full),
        _lengths(voice, full),
        _speakers(voice, full),
        _variety(voice, full),
    ]


def _text(voice: Voice, batches: Sequence[VitsBatch]) -> CheckResult:
    """Tokens are those of the utterance; the first decoded line is shown."""
    wrong = count = 0
    for batch in batches:
        for utterance, ids, length in zip(
            batch.utterances, batch.tokens.tolist(), batch.token_lengths.tolist(), strict=True
        ):
            count += 1
            wrong += ids[:length] != voice.vocabulary.encode(utterance)
    first = batches[0]
    decoded = voice.vocabulary.decode(first.tokens[0, : int(first.token_lengths[0])].tolist())
    shown = f"{wrong} of {count} differ; first: {decoded[:60]}"
    remedy = "look at the tokenizer: the model sees other symbols than the manifest holds"
    return row(Check.INPUTS, "text", not wrong, shown, "tokens of the text", remedy)


def _audio(voice: Voice, batches: Sequence[VitsBatch]) -> CheckResult:
    hop = voice.settings.spectrogram.hop_length
    levels = [
        float(waveform[: int(frames) * hop].square().mean().sqrt())
        for batch in batches
        for waveform, frames in zip(batch.waveform, batch.frame_lengths, strict=True)
    ]
    silent = sum(not level >= SILENCE_RMS for level in levels)
    shown = f"{silent} of {len(levels)} silent, quietest {number(min(levels))}"
    remedy = "look whether files that can't be decoded become zeros"
    return row(Check.INPUTS, "audio", not silent, shown, f"above {SILENCE_RMS:g}", remedy)


def _lengths(voice: Voice, batches: Sequence[VitsBatch]) -> CheckResult:
    grid = voice.settings.spectrogram
    pairs = [
        (int(frames) * grid.hop_length / grid.sample_rate, utterance.duration)
        for batch in batches
        for frames, utterance in zip(batch.frame_lengths, batch.utterances, strict=True)
    ]
    off = sum(abs(found - said) > LENGTH_TOLERANCE * said for found, said in pairs)
    shown = f"{off} of {len(pairs)} off by more than {LENGTH_TOLERANCE:.0%}"
    remedy = "run `speechtrain data validate`: durations or files are not what the manifest says"
    good = off <= SHARE_OF_WRONG_LENGTHS * len(pairs)
    return warning(Check.INPUTS, "durations", good, shown, "as in the manifest", remedy)


def _speakers(voice: Voice, batches: Sequence[VitsBatch]) -> CheckResult:
    if len(voice.speakers) < 2:
        return skipped(Check.INPUTS, "one speaker")
    pairs = [
        (int(number), voice.speakers.get(utterance.speaker, 0))
        for batch in batches
        for number, utterance in zip(batch.speakers, batch.utterances, strict=True)
    ]
    wrong = sum(found != said for found, said in pairs)
    shown = f"{wrong} of {len(pairs)} differ"
    remedy = "look at the collate function: a voice is learned from another one's recordings"
    return row(Check.INPUTS, "speakers", not wrong, shown, "those of the manifest", remedy)


def _variety(voice: Voice, batches: Sequence[VitsBatch]) -> CheckResult:
    kinds = {tuple(sorted(u.line for u in batch.utterances)) for batch in batches}
    many = len(voice.manifest.utterances) > voice.settings.batch_size
    good = len(kinds) > 1 or len(batches) < 2 or not many
    shown = f"{len(kinds)} different of {len(batches)}"
    remedy = "look at the sampler: it hands out one batch again and again"
    return row(Check.INPUTS, "batches", good, shown, "different ones", remedy)
