"""What voice cloning must measure before its first step: losses, data, and by `inputs` batches. Called by the recipe.

docs/preflight.md gives the formula of each range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from speech_contract.preflight import Check, CheckResult
from speech_contract.run_config import Training
from speech_trainer.data.codes import FIELD
from speech_trainer.data.manifest import Utterance, plain
from speech_trainer.engine.expectations import Expectations, Range, Setting
from speech_trainer.engine.recipe import Built
from speech_trainer.preflight import manifests
from speech_trainer.preflight.rows import row, warning
from speech_trainer.recipes.voice_cloning import inputs, parts
from speech_trainer.recipes.voice_cloning.material import Lines, Material

TOLERANCE: Final = 0.05  # of the logarithm of the choices, for random weights
LEAST_KNOWN: Final = 0.5  # nats a code; below it labels leak, or the data was learned by heart
WITHOUT_REFERENCE: Final = 0.05  # of lines, above which voices are invented
TRIAL: Final = 200  # steps: who runs fewer looks whether it runs
LOUDEST: Final = 60.0  # of z-loss at random weights: (ln V)² and a little


def expectations(
    material: Material, built: Built, training: Training, *, fresh: bool
) -> Expectations:
    """Everything that the engine measures for this model."""
    settings, chance = material.settings, math.log(material.grid.size)
    low, high = (1.0 - TOLERANCE, 1.0 + TOLERANCE) if fresh else (LEAST_KNOWN / chance, 1.2)
    why = f"ln {material.grid.size} = {chance:.2f} a code" + ("" if fresh else " knows nothing")
    of_code = Range(low * chance, high * chance, why)
    books = {f"book/q{n}": of_code for n in range(material.grid.books)}
    z = {"codes/z": Range(0.0, LOUDEST * 1.5, "square of the logarithm of the choices")}
    return Expectations(
        components={"codes/cross_entropy": of_code, **(z if settings.z_weight else {}), **books},
        weights={"codes/cross_entropy": 1.0, "codes/z": settings.z_weight},
        objectives={parts.MODEL: "codes/cross_entropy"},
        learning_rates={parts.MODEL: Setting("learningRate", settings.learning_rate)},
        data=lambda: data_rows(material, training),
        inputs=lambda batches: inputs.input_rows(material, built, batches),
        frozen=parts.frozen(built, material),
    )


# -- data -----------------------------------------------------------------------------------------------------------


def data_rows(material: Material, planned: Training) -> list[CheckResult]:
    """What manifests and the plan alone tell. Pure."""
    training, held_out = material.training, material.held_out
    return [
        manifests.epoch_row(training.manifest, material.settings.batch_size),
        manifests.held_out_row(held_out.manifest),
        *manifests.duration_rows(training.utterances, material.settings.max_seconds),
        manifests.pace_row(training.utterances),
        manifests.duplicates_row(training.manifest),
        manifests.overlap_row(training.manifest, held_out.manifest),
        _codes_again(training, held_out),
        _texts_again(training, held_out),
        _scored(planned),
        _own_reference(training, "training"),
        _own_reference(held_out, "held out"),
        _references(training),
        *_longest(material),
    ]


def _codes_again(training: Lines, held_out: Lines) -> CheckResult:
    """Recordings that are trained on under another name: their codes tell."""
    known = {_digest(u) for u in training.utterances} - {""}
    again = [u.line for u in held_out.utterances if _digest(u) in known]
    count = len(held_out.utterances)
    return row(
        Check.DATA, "held-out codes in training", len(again) <= manifests.SHARE_OF_HELD_OUT * count,
        f"{len(again)} of {count}" + (f", line {again[0]} first" if again else ""),
        f"at most {manifests.SHARE_OF_HELD_OUT:.0%}",
        "take the copies out of one of the two: their scores would mean nothing",
    )  # fmt: skip


def _scored(planned: Training) -> CheckResult:
    """A model of codes gets worse long before its training loss tells."""
    never = planned.evaluate_every_steps == 0 and planned.max_steps >= TRIAL
    return warning(
        Check.DATA, "held-out scores", not never, "at the end alone" if never else "on the way", "on the way",
        "set training.evaluateEverySteps: else nobody knows which checkpoint is the best, and the run may end past it",
    )  # fmt: skip


def _longest(material: Material) -> list[CheckResult]:
    """Sequences that no micro-batch has room for."""
    budget = material.budget
    if budget is None:
        return []
    over = sum(length > budget.most for length in budget.lengths)
    return [
        warning(
            Check.DATA, "longest sequences", not over, f"{max(budget.lengths)} tokens at most, {over} lines above",
            f"at most {budget.most} (microBatchTokens)",
            "raise microBatchTokens or cut these recordings: each goes alone, and may not fit into memory",
        )
    ]  # fmt: skip


def _texts_again(training: Lines, held_out: Lines) -> CheckResult:
    """A sentence that was learned tells nothing about one that was not, whoever speaks it."""
    known = {plain(u.text) for u in training.utterances}
    again = sum(plain(u.text) in known for u in held_out.utterances)
    return warning(
        Check.DATA, "held-out sentences in training", again == 0, f"{again} of {len(held_out.utterances)}", "none",
        "hold other sentences out: scores of these say how well they are known by heart",
    )  # fmt: skip


def _own_reference(lines: Lines, name: str) -> CheckResult:
    """A recording that is its own reference need only be copied."""
    pairs = zip(lines.utterances, lines.references, strict=True)
    own = [u.line for u, heard in pairs if heard is not None and _one_recording(u, heard)]
    return row(
        Check.DATA, f"reference apart from its target, {name}", not own,
        f"{len(own)} of {len(lines.utterances)} are one recording" + (f", line {own[0]} first" if own else ""),
        "none", "give each line another recording of its speaker: a copy teaches nothing about a voice",
    )  # fmt: skip


def _one_recording(one: Utterance, other: Utterance) -> bool:
    return (
        one.extra.get(FIELD) == other.extra.get(FIELD)
        or _digest(one) == _digest(other) != ""
        or one.audio_filepath == other.audio_filepath
        or bool(one.sha256 and one.sha256 == other.sha256)
    )


def _digest(utterance: Utterance) -> str:
    """Of its codes."""
    codes = utterance.extra.get(FIELD)
    return str(codes.get("sha256", "")) if isinstance(codes, Mapping) else ""


def _references(lines: Lines) -> CheckResult:
    count = len(lines.utterances)
    without = sum(heard is None for heard in lines.references)
    return warning(
        Check.DATA, "lines without a reference", without <= WITHOUT_REFERENCE * count, f"{without} of {count}",
        f"at most {WITHOUT_REFERENCE:.0%}", "name another recording of the speaker in ref_audio: without one a model "
        "learns to invent voices",
    )  # fmt: skip
