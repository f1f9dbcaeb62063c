"""What voice cloning must measure before its first step: data, batches, losses. Called by `VoiceCloning`.

docs/preflight.md gives the formula of each range. What a batch is made of is checked row by row of it: the loss of a
model whose rows or labels lie a place too far looks like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from speech_contract.preflight import Check, CheckResult
from speech_trainer.data.codes import FIELD
from speech_trainer.data.delay import IGNORED
from speech_trainer.data.manifest import Utterance
from speech_trainer.data.sequences import Columns
from speech_trainer.engine.expectations import Expectations, Range, Setting
from speech_trainer.engine.recipe import Built
from speech_trainer.preflight import manifests
from speech_trainer.preflight.rows import number, row, skipped, warning
from speech_trainer.recipes.voice_cloning import parts
from speech_trainer.recipes.voice_cloning.batch import CloningBatch
from speech_trainer.recipes.voice_cloning.causality import probe
from speech_trainer.recipes.voice_cloning.material import Lines, Material
from speech_trainer.recipes.voice_cloning.sections import prompt_of

TOLERANCE: Final = 0.05  # of the logarithm of the choices, for random weights
LEAST_KNOWN: Final = 0.5  # nats a code; below it labels leak, or the data was learned by heart
WITHOUT_REFERENCE: Final = 0.05  # of lines, above which voices are invented
SAME: Final = 1e-3  # of the spread of logits: what rounding makes of one and the same prediction
LOUDEST: Final = 60.0  # of z-loss at random weights: (ln V)² and a little


def expectations(material: Material, built: Built, *, fresh: bool) -> Expectations:
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
        data=lambda: data_rows(material),
        inputs=lambda batches: input_rows(material, built, batches),
        frozen=parts.frozen(built, material),
    )


# -- data -----------------------------------------------------------------------------------------------------------


def data_rows(material: Material) -> list[CheckResult]:
    """What manifests alone tell. Pure."""
    training, held_out = material.training, material.held_out
    return [
        manifests.epoch_row(training.manifest, material.settings.batch_size),
        manifests.held_out_row(held_out.manifest),
        *manifests.duration_rows(training.utterances, material.settings.max_seconds),
        manifests.pace_row(training.utterances),
        manifests.duplicates_row(training.manifest),
        manifests.overlap_row(training.manifest, held_out.manifest),
        _texts_again(training, held_out),
        _own_reference(training, "training"),
        _own_reference(held_out, "held out"),
        _references(training),
    ]


def _texts_again(training: Lines, held_out: Lines) -> CheckResult:
    """A sentence that was learned tells nothing about one that was not, whoever speaks it."""
    known = {_plain(u.text) for u in training.utterances}
    again = sum(_plain(u.text) in known for u in held_out.utterances)
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


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


# -- batches ---------------------------------------------------------------------------------------------------------


def input_rows(
    material: Material, built: Built, batches: Sequence[CloningBatch]
) -> list[CheckResult]:
    """Real batches, on every rank: what lies in them, and what the model looks at."""
    full = [batch for batch in batches if batch.samples]
    if not full:
        return []
    return [
        _places(material, full),
        _labels(material, full),
        _ends(material, full),
        _hidden_reference(full),
        *_looks(built, full[0]),
    ]


def _places(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    """Rows of codes against what each utterance of a batch should have, at the places meant for them."""
    odd = []
    for batch in batches:
        columns, length = batch.columns, batch.columns.tokens.size(1)
        found = torch.bincount(columns.row_at // length, minlength=batch.samples).tolist()
        for rows, sample in zip(found, batch.members, strict=True):
            spoken = [s for s in (sample.reference, sample.spoken) if s is not None]
            wanted = sum(s.codes.size(1) + material.grid.extra for s in spoken)
            if rows != wanted or sample.sequence.row_at.numel() != wanted:
                odd.append(f"line {sample.utterance.line} has {rows} rows for {wanted}")
    first = batches[0].members[0]
    shown = odd[0] if odd else f"all meet; {prompt_of(material, first)}"
    return row(
        Check.INPUTS, "frames and placeholders", not odd, shown, "as many in every row of a batch",
        "a frame too many in one row moves its neighbours' frames: look at the prompt and the delay",
    )  # fmt: skip


def _labels(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    """Each label is the code of the next place, not of its own."""
    right = total = here = 0
    for batch in batches:
        codes = _by_place(batch.columns)
        counted = batch.columns.labels != IGNORED
        following = codes[(batch.columns.label_at + 1).clamp_max(len(codes) - 1)]
        right += int(((following == batch.columns.labels) & counted).sum())
        here += int(((codes[batch.columns.label_at] == batch.columns.labels) & counted).sum())
        total += int(counted.sum())
    shown = f"{right} of {total} are the code of the next place, {here} of their own"
    return row(
        Check.INPUTS, "labels", right == total > 0, shown, "all of the next place",
        "shift labels by one place, once: a model that is asked for what it was just shown learns to copy",
    )  # fmt: skip


def _by_place(columns: Columns) -> Tensor:
    """Codes [B · L, Q]; IGNORED - 1 where there are none, which equals no label."""
    codes = torch.full((columns.tokens.numel(), columns.rows.size(1)), IGNORED - 1)
    codes[columns.row_at] = columns.rows
    return codes


def _ends(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    """One EOC of every book that has one is learned, and no BOC."""
    grid = material.grid
    wanted = sum(b.samples for b in batches) * (grid.books - (0 if grid.framed else 1))
    ends = sum(int((b.columns.labels == grid.eoc).sum()) for b in batches)
    begun = sum(int((b.columns.labels == grid.boc).sum()) for b in batches)
    return row(
        Check.INPUTS, "ends", ends == wanted and begun == 0, f"{ends} EOC and {begun} BOC are learned",
        f"{wanted} EOC, one for each book that ends, and no BOC",
        "keep one EOC a book as a label: a model without never stops; BOC is structure, which nobody has to learn",
    )  # fmt: skip


def _hidden_reference(batches: Sequence[CloningBatch]) -> CheckResult:
    """No row of a reference is predicted."""
    learned = 0
    for batch in batches:
        heard = batch.columns.row_at[batch.columns.reference]
        learned += int(torch.isin(batch.columns.label_at + 1, heard).sum())
    return row(
        Check.INPUTS, "reference hidden from the loss", learned == 0, f"{learned} of its rows are learned", "none",
        "mask the reference's labels: it is given, not spoken",
    )  # fmt: skip


def _looks(built: Built, batch: CloningBatch) -> list[CheckResult]:
    found = probe(built.models[parts.MODEL], batch.columns)
    rows = [
        row(
            Check.INPUTS, "no label leaks into its input", found.later <= SAME,
            f"another future moves predictions by {number(found.later)} of their spread", f"at most {SAME:g}",
            "attention or inputs reach past their place: the loss falls towards 0, and speech does not come",
        ),
    ]  # fmt: skip
    if found.reference is None:
        return [*rows, skipped(Check.INPUTS, "no reference in this batch")]
    rows.append(
        row(
            Check.INPUTS, "the reference reaches the output", found.reference > 0.0,
            f"another reference moves predictions by {number(found.reference)} of their spread", "above 0",
            "the reference's codes never get to attention: look at its rows and at the mask",
        )
    )  # fmt: skip
    return rows
