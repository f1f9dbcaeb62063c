"""What a codec must measure before its first step: data, inputs, losses. Called by `CodecTrainer.preflight_checks`.

Ranges hold for any speech; docs/preflight.md gives the formula of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from speech_contract.preflight import Check, CheckResult
from speech_trainer.data.samples import SILENCE_RMS
from speech_trainer.engine.expectations import Expectations, Range
from speech_trainer.engine.recipe import Built, unwrap
from speech_trainer.modules.band_discriminators import CodecDiscriminator
from speech_trainer.preflight import manifests
from speech_trainer.preflight.rows import number, row, warning
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.codec import parts, rehearsal
from speech_trainer.recipes.codec.batch import CodecBatch
from speech_trainer.recipes.codec.material import Material

LOUDEST_MEL: Final = 7.5  # log10 between the floor's -5 and about 2.5, for each scale
QUIET_SHARE: Final = 0.2  # of crops that may be silent


def expectations(
    material: Material, built: Built, max_steps: int, update: rehearsal.Update
) -> Expectations:
    """Everything that the engine measures for this codec. `update`: the recipe's `after_update` of a good step."""
    settings, weights = material.settings, material.settings.weights
    judges = unwrap(built.models[adversarial.DISCRIMINATOR])
    assert isinstance(judges, CodecDiscriminator)
    scales = len(settings.scales)
    return Expectations(
        components={
            "generator/mel": Range(
                0.01, LOUDEST_MEL * scales, f"difference of log10 mels, over {scales} scales"
            ),
            "generator/waveform": Range(1e-5, 1.5, "mean difference of two waveforms in -1..1"),
            "generator/commitment": Range(0.0, 1e4, "squared distance of latents and codes"),
            **adversarial.ranges(len(judges.members)),
        },
        weights={
            "generator/mel": weights.mel,
            "generator/waveform": weights.waveform,
            "generator/commitment": weights.commitment,
            "generator/adversarial": weights.adversarial,
            "generator/feature_matching": weights.feature_matching,
        },
        objectives=adversarial.OBJECTIVES,
        learning_rates=adversarial.rates(settings),
        data=lambda: data_rows(material, max_steps),
        inputs=lambda batches: input_rows(material, batches),
        active_from=settings.quantizer.start_step,
        rehearsal=lambda batches: rehearsal.rehearse(parts.codec_of(built), batches, update),
    )


def data_rows(material: Material, max_steps: int) -> list[CheckResult]:
    """What manifests and settings alone tell. Pure."""
    return [
        _start(material.settings.quantizer.start_step, max_steps),
        manifests.epoch_row(material.manifest, material.settings.batch_size),
        manifests.held_out_row(material.validation),
        *manifests.duration_rows(material.manifest.utterances, material.settings.max_seconds),
        manifests.duplicates_row(material.manifest),
        manifests.overlap_row(material.manifest, material.validation),
    ]


def _start(start: int, max_steps: int) -> CheckResult:
    """A run that ends before leaves books that nothing was learned for."""
    remedy = "train longer: what is exported would decode noise"
    expected = f"below training.maxSteps, {max_steps}"
    return warning(
        Check.CODEBOOKS, "quantizer.startStep", start < max_steps, start, expected, remedy
    )


def input_rows(material: Material, batches: Sequence[CodecBatch]) -> list[CheckResult]:
    """Crops of real batches."""
    full = [batch for batch in batches if batch.samples]
    return [_audio(full), _variety(material, full)] if full else []


def _audio(batches: Sequence[CodecBatch]) -> CheckResult:
    # Round its mean: what never changes is no sound, however far from 0 it lies.
    levels = [float(w.std(correction=0)) for batch in batches for w in batch.waveform]
    silent = sum(not level >= SILENCE_RMS for level in levels)
    shown = f"{silent} of {len(levels)} silent, quietest {number(min(levels))}"
    good = silent <= QUIET_SHARE * len(levels)
    return row(
        Check.INPUTS, "audio", good, shown, f"at most {QUIET_SHARE:.0%} below {SILENCE_RMS:g}",
        "look whether files that can't be decoded become zeros, or cut the silence out of the recordings",
    )  # fmt: skip


def _variety(material: Material, batches: Sequence[CodecBatch]) -> CheckResult:
    kinds = {tuple((c.utterance.line, c.start) for c in batch.crops) for batch in batches}
    several = len(material.manifest.utterances) > material.settings.batch_size
    good = len(kinds) == len(batches) or len(material.manifest.utterances) == 1
    shown = f"{len(kinds)} different of {len(batches)}"
    remedy = "look at the sampler: it hands out one batch again and again"
    make = row if several and len(kinds) == 1 else warning
    return make(Check.INPUTS, "crops", good, shown, "different ones", remedy)
