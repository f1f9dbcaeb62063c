"""What VITS must measure before its first step: data, inputs, losses. Called by `Vits.preflight_checks`.

Ranges hold for any speech; docs/preflight.md gives the formula of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from speech_contract.preflight import Check, CheckResult
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.data.samples import SILENCE_RMS
from speech_trainer.engine.recipe import Built, unwrap
from speech_trainer.models.vits import VitsGenerator
from speech_trainer.modules.discriminators import WaveformDiscriminator
from speech_trainer.preflight.expectations import Expectations, Range
from speech_trainer.preflight.rows import number, row, skipped, warning
from speech_trainer.recipes.vits import parts
from speech_trainer.recipes.vits.batch import VitsBatch

if TYPE_CHECKING:
    from speech_trainer.recipes.vits.recipe import Vits

LOUDEST_MEL: Final = 17.0  # of log-mels between the floor's -11.5 and about +5.5
SHARE_OF_HELD_OUT: Final = 0.01  # that may lie in the training set by accident
SHARE_OF_DUPLICATES: Final = 0.01
SHARE_OF_WRONG_LENGTHS: Final = 0.5
LENGTH_TOLERANCE: Final = 0.1  # of the manifest's duration
SECONDS_PER_SYMBOL: Final = (0.01, 1.0)  # of the median utterance; speech has 0.05 to 0.15
ENOUGH: Final = 20  # utterances before "all of one length" means anything


def expectations(recipe: Vits, built: Built) -> Expectations:
    """Everything that the engine measures for this recipe."""
    weights = recipe.settings.weights
    return Expectations(
        components=_components(recipe, built),
        weights={
            "generator/mel": weights.mel,
            "generator/kl": weights.kl,
            "generator/duration": weights.duration,
            "generator/adversarial": weights.adversarial,
            "generator/feature_matching": weights.feature_matching,
        },
        objectives={parts.GENERATOR: "total", parts.DISCRIMINATOR: "discriminator/adversarial"},
        learning_rates={
            parts.GENERATOR: "learningRate",
            parts.DISCRIMINATOR: "discriminatorLearningRate",
        },
        data=lambda: data_rows(recipe.manifest, recipe.validation, recipe.settings.max_seconds),
        inputs=lambda batches: input_rows(recipe, batches),
    )


def _components(recipe: Vits, built: Built) -> dict[str, Range]:
    generator, discriminator = (
        unwrap(built.models[name]) for name in (parts.GENERATOR, parts.DISCRIMINATOR)
    )
    assert isinstance(generator, VitsGenerator)
    assert isinstance(discriminator, WaveformDiscriminator)
    config = generator.vits.config
    judges = len(discriminator.members)
    channels = float(config.flow_size)
    stochastic = config.use_stochastic_duration_prediction
    # An untrained judge scores about 0, a recording should have 1 and speech of ours 0: one each.
    undecided = Range(0.5 * judges, 2.0 * judges, f"{judges} undecided discriminators, 1 each")
    return {
        "generator/mel": Range(0.01, LOUDEST_MEL, "mean difference of two log-mels"),
        "generator/kl": Range(
            -channels, 20.0 * channels, f"a few nats for each of {channels:g} channels"
        ),
        "generator/duration": Range(-1e3, 1e4, "negative log-likelihood of a token's duration")
        if stochastic
        else Range(0.0, 1e3, "deviance of a token's duration, p/d - 1 - log(p/d) and its like"),
        "discriminator/adversarial": undecided,
        "generator/adversarial": undecided,
        "generator/feature_matching": Range(1e-9, 1e3, "difference of features, above 0"),
    }


def data_rows(
    training: Manifest, held_out: Manifest | None, max_seconds: float
) -> list[CheckResult]:
    """What the manifests alone tell. Pure."""
    utterances = training.utterances
    return [
        *_length_rows(utterances, max_seconds),
        _duplicates(training),
        *_overlap(training, held_out),
    ]


def _length_rows(utterances: Sequence[Utterance], max_seconds: float) -> list[CheckResult]:
    durations = [utterance.duration for utterance in utterances]
    total, median = sum(durations), sorted(durations)[len(durations) // 2]
    too_long = sum(duration > max_seconds for duration in durations)
    alike = len(durations) >= ENOUGH and len(set(durations)) == 1
    paces = sorted(u.duration / max(1, len(u.phonemes or u.text)) for u in utterances)
    pace, (low, high) = paces[len(paces) // 2], SECONDS_PER_SYMBOL
    return [
        warning(
            Check.DATA, "durations", not too_long,
            f"{len(durations)} utterances, {total / 3600:.3g} h, median {number(median)} s, {too_long} too long",
            f"at most {max_seconds:g} s each", "cut them into sentences: longer ones are left out",
        ),
        warning(
            Check.DATA, "lengths", not alike, "all the same" if alike else "varied", "varied",
            "look whether files that could not be read were replaced by silence of one length",
        ),
        warning(
            Check.DATA, "seconds a symbol", low <= pace <= high, number(pace), f"{low:g} to {high:g}",
            "look whether text and audio belong together",
        ),
    ]  # fmt: skip


def _duplicates(training: Manifest) -> CheckResult:
    count = len(training.utterances)
    files = Counter(training.audio_path(u) for u in training.utterances)
    again = sum(times - 1 for times in files.values())
    return warning(
        Check.DATA, "duplicates", again <= SHARE_OF_DUPLICATES * count, f"{again} of {count}",
        f"at most {SHARE_OF_DUPLICATES:.0%}", "drop lines that name one file twice: `speechtrain data validate`",
    )  # fmt: skip


def _overlap(training: Manifest, held_out: Manifest | None) -> list[CheckResult]:
    """Held-out files that are trained on; and, for information, voices that are held out alone."""
    if held_out is None:
        return [skipped(Check.DATA, "no held-out set: nothing will tell learning by heart apart")]
    paths = {training.audio_path(u).resolve() for u in training.utterances}
    digests = {u.sha256 for u in training.utterances if u.sha256}
    seen = sum(
        held_out.audio_path(u).resolve() in paths or u.sha256 in digests
        for u in held_out.utterances
    )
    strangers = {u.speaker for u in held_out.utterances} - {u.speaker for u in training.utterances}
    count = len(held_out.utterances)
    return [
        row(
            Check.DATA, "held-out files in training", seen <= SHARE_OF_HELD_OUT * count, f"{seen} of {count}",
            f"at most {SHARE_OF_HELD_OUT:.0%}", "take them out of one manifest: their scores would mean nothing",
        ),
        warning(
            Check.DATA, "held-out speakers", not strangers,
            f"{len(strangers)} not in training" if strangers else "all in training",
            "all in training", "they are spoken by the first voice: a VITS model knows no others",
        ),
    ]  # fmt: skip


def input_rows(recipe: Vits, batches: Sequence[VitsBatch]) -> list[CheckResult]:
    """Text, audio and speakers of real batches against the lines they came from."""
    full = [batch for batch in batches if batch.samples]
    if not full:
        return []
    return [
        _text(recipe, full),
        _audio(recipe, full),
        _lengths(recipe, full),
        _speakers(recipe, full),
        _variety(recipe, full),
    ]


def _text(recipe: Vits, batches: Sequence[VitsBatch]) -> CheckResult:
    """Tokens are those of the utterance; the first decoded line is shown."""
    wrong = count = 0
    for batch in batches:
        for utterance, ids, length in zip(
            batch.utterances, batch.tokens.tolist(), batch.token_lengths.tolist(), strict=True
        ):
            count += 1
            wrong += ids[:length] != recipe.vocabulary.encode(utterance)
    first = batches[0]
    decoded = recipe.vocabulary.decode(first.tokens[0, : int(first.token_lengths[0])].tolist())
    shown = f"{wrong} of {count} differ; first: {decoded[:60]}"
    remedy = "look at the tokenizer: the model sees other symbols than the manifest holds"
    return row(Check.INPUTS, "text", not wrong, shown, "tokens of the text", remedy)


def _audio(recipe: Vits, batches: Sequence[VitsBatch]) -> CheckResult:
    hop = recipe.settings.spectrogram.hop_length
    levels = [
        float(waveform[: int(frames) * hop].square().mean().sqrt())
        for batch in batches
        for waveform, frames in zip(batch.waveform, batch.frame_lengths, strict=True)
    ]
    silent = sum(not level >= SILENCE_RMS for level in levels)
    shown = f"{silent} of {len(levels)} silent, quietest {number(min(levels))}"
    remedy = "look whether files that can't be decoded become zeros"
    return row(Check.INPUTS, "audio", not silent, shown, f"above {SILENCE_RMS:g}", remedy)


def _lengths(recipe: Vits, batches: Sequence[VitsBatch]) -> CheckResult:
    grid = recipe.settings.spectrogram
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


def _speakers(recipe: Vits, batches: Sequence[VitsBatch]) -> CheckResult:
    if len(recipe.speakers) < 2:
        return skipped(Check.INPUTS, "one speaker")
    pairs = [
        (int(number), recipe.speakers.get(utterance.speaker, 0))
        for batch in batches
        for number, utterance in zip(batch.speakers, batch.utterances, strict=True)
    ]
    wrong = sum(found != said for found, said in pairs)
    shown = f"{wrong} of {len(pairs)} differ"
    remedy = "look at the collate function: a voice is learned from another one's recordings"
    return row(Check.INPUTS, "speakers", not wrong, shown, "those of the manifest", remedy)


def _variety(recipe: Vits, batches: Sequence[VitsBatch]) -> CheckResult:
    kinds = {tuple(sorted(u.line for u in batch.utterances)) for batch in batches}
    many = len(recipe.manifest.utterances) > recipe.settings.batch_size
    good = len(kinds) > 1 or len(batches) < 2 or not many
    shown = f"{len(kinds)} different of {len(batches)}"
    remedy = "look at the sampler: it hands out one batch again and again"
    return row(Check.INPUTS, "batches", good, shown, "different ones", remedy)
