"""Real batches of voice cloning before the first step: what lies in them, and what the model makes of them.

Called through `preflight.expectations`, on every rank. What a batch is made of is checked row by row of it: the loss of
a model whose rows or labels lie a place too far looks like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from speech_contract.preflight import Check, CheckResult
from speech_trainer.data.delay import IGNORED, Grid
from speech_trainer.data.sequences import Columns
from speech_trainer.engine.recipe import Built
from speech_trainer.models.backbone import Spoken
from speech_trainer.preflight.rows import number, row, skipped, warning
from speech_trainer.recipes.voice_cloning import parts
from speech_trainer.recipes.voice_cloning.batch import CloningBatch
from speech_trainer.recipes.voice_cloning.causality import probe, read_gradient
from speech_trainer.recipes.voice_cloning.material import Material, Sample
from speech_trainer.recipes.voice_cloning.sections import prompt_of

SAME: Final = 1e-3  # of the spread of logits: what rounding makes of one and the same prediction


def input_rows(
    material: Material, built: Built, batches: Sequence[CloningBatch]
) -> list[CheckResult]:
    """Real batches, on every rank: what lies in them, and what the model looks at.

    A rank that drew nothing usable takes part in what goes through the model: its peers may hold other parts of it.
    """
    full = [batch for batch in batches if batch.samples]
    looks = _looks(built, (full or batches)[0])
    if not full:
        return looks
    return [
        _places(material, full),
        _delays(material, full),
        _sounds(material, full),
        _labels(material, full),
        _ends(material, full),
        _hidden_reference(full),
        _counted(full),
        _padded(material, full),
        _variety(material, full),
        *_effective(built),
        *looks,
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


def _recordings(batch: CloningBatch) -> Iterator[tuple[Sample, Spoken, Tensor]]:
    """Whose, what it should be, and its rows [R, Q] in the batch: of each target and each reference."""
    columns = batch.columns
    owner = columns.row_at // columns.tokens.size(1)
    for place, sample in enumerate(batch.members):
        for spoken, chosen in (
            (sample.reference, columns.reference),
            (sample.spoken, ~columns.reference),
        ):
            if spoken is not None:
                yield sample, spoken, columns.rows[(owner == place) & chosen]


def _delays(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    """Each book as many rows late as it should be, and BOC before it."""
    found = [(one, _delayed(*one[1:], material.grid)) for b in batches for one in _recordings(b)]
    odd = [sample.utterance.line for (sample, _, _), right in found if not right]
    shown = f"{len(odd)} of {len(found)} recordings are laid otherwise"
    return row(
        Check.INPUTS, "delay of the books", not odd, shown + (f", line {odd[0]} first" if odd else ""),
        "book c lies c rows late, behind BOC",
        "delay reference and target alike, as generation does: undelayed codes are learned as well, and never spoken",
    )  # fmt: skip


def _delayed(spoken: Spoken, rows: Tensor, grid: Grid) -> bool:
    if rows.size(0) != spoken.codes.size(1) + grid.extra:
        return False
    return torch.equal(grid.frames(rows), spoken.codes) and bool((rows[0, 1:] == grid.boc).all())


def _sounds(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    """Recordings that are one code from beginning to end: what became of files that could not be read."""
    codes = [material.grid.frames(rows) for b in batches for _, _, rows in _recordings(b)]
    still = sum(bool((found == found[:, :1]).all()) for found in codes if found.size(1) > 1)
    make = row if still * 2 > len(codes) else warning
    return make(
        Check.INPUTS, "codes", not still, f"{still} of {len(codes)} recordings are one code in every frame",
        "codes that change", "look whether files that can't be read, or features that are empty, become silence",
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


def _counted(batches: Sequence[CloningBatch]) -> CheckResult:
    """Losses are weighed by what a batch counts: else short sentences weigh more than long ones."""
    pairs = [(b.count, int((b.columns.labels != IGNORED).sum())) for b in batches]
    off = [f"{said} for {found}" for said, found in pairs if said != found]
    shown = off[0] if off else f"all {sum(count for count, _ in pairs)} labels"
    return row(
        Check.INPUTS, "what the mean is taken over", not off, shown,
        "the labels of a batch", "count labels, not samples: a mean of means weighs short sentences up",
    )  # fmt: skip


def _padded(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    most, sizes = material.settings.micro_batch_tokens, [b.columns.tokens.numel() for b in batches]
    padding = 1.0 - sum(b.tokens for b in batches) / sum(sizes)
    good = most is None or all(
        size <= most or b.samples == 1 for size, b in zip(sizes, batches, strict=True)
    )
    return row(
        Check.INPUTS, "tokens at once", good, f"{max(sizes)} at most, {padding:.0%} padding",
        "no bound" if most is None else f"at most {most} (microBatchTokens)",
        "cut micro-batches by padded length: those of the longest recordings may not fit into memory",
    )  # fmt: skip


def _variety(material: Material, batches: Sequence[CloningBatch]) -> CheckResult:
    kinds = {tuple(sorted(s.utterance.line for s in batch.members)) for batch in batches}
    few = len(material.training.utterances) <= material.settings.batch_size
    return row(
        Check.INPUTS, "batches", len(kinds) > 1 or len(batches) < 2 or few,
        f"{len(kinds)} different of {len(batches)}", "different ones",
        "look at the sampler: it hands out one batch again and again",
    )  # fmt: skip


def _effective(built: Built) -> list[CheckResult]:
    """What the model that runs is, whatever a config says."""
    return [
        row(
            Check.EFFECTIVE_CONFIG, f"model, {fact.name}", fact.found == fact.wanted, fact.found, fact.wanted,
            fact.remedy,
        )
        for fact in parts.backbone_of(built).facts()
    ]  # fmt: skip


def _looks(built: Built, batch: CloningBatch) -> list[CheckResult]:
    found = probe(built.models[parts.MODEL], batch.columns)
    rows = [
        row(
            Check.INPUTS, "no label leaks into its input", found.later <= SAME,
            f"another future moves predictions by {number(found.later)} of their spread", f"at most {SAME:g}",
            "attention or inputs reach past their place: the loss falls towards 0, and speech does not come",
        ),
    ]  # fmt: skip
    if found.apart is not None:
        rows.append(
            row(
                Check.INPUTS, "books apart in the table", found.apart > 0.0,
                f"EOC and the next book's code 0 instead of BOC and code 1 move predictions by {number(found.apart)}",
                "above 0", "offset books by codes + 2: BOC and EOC of a book must not be the next one's first codes",
            )
        )  # fmt: skip
    rows.append(_voice(found.reference))
    return [*rows, *_read(built, batch)]


def _voice(moved: float | None) -> CheckResult:
    if moved is None:
        return skipped(Check.INPUTS, "no reference in this batch")
    return row(
        Check.INPUTS, "the reference reaches the output", moved > 0.0,
        f"another reference moves predictions by {number(moved)} of their spread", "above 0",
        "the reference's codes never get to attention: look at its rows and at the mask",
    )  # fmt: skip


def _read(built: Built, batch: CloningBatch) -> list[CheckResult]:
    """Of a table that is the head too, its norm alone would not tell."""
    norm = read_gradient(parts.backbone_of(built), batch.columns)
    if norm is None:
        return []
    return [
        row(
            Check.GRADIENTS, "codes that are read", norm > 0.0, f"norm {number(norm)}", "above 0",
            "the table learns as a head alone: look for detach() or no_grad() where rows are embedded",
        )
    ]  # fmt: skip
