"""Broken twins of voice cloning, by what they make of a batch and of its loss. Listed in twins.catalogue.

Most are faults of public trainers of Higgs Audio; the loss falls in nearly all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from twins.hooks import each_batch

from speech_trainer.data.delay import IGNORED
from speech_trainer.data.sequences import Columns
from speech_trainer.engine.recipe import Built, StepRecord
from speech_trainer.recipes.voice_cloning.batch import CloningBatch
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning


def _columns(recipe: VoiceCloning, change: Callable[[Columns], Columns]) -> VoiceCloning:
    def changed(batch: CloningBatch) -> CloningBatch:
        columns = change(batch.columns)
        by_book = (columns.labels != IGNORED).sum(dim=0)
        count = int(by_book.sum()) if batch.samples else 0
        return dataclasses.replace(batch, columns=columns, by_book=by_book.float(), count=count)

    return each_batch(recipe, changed)


def codes_missing(recipe: VoiceCloning) -> VoiceCloning:
    """A fallback collator fills every audio field with nothing: a text model with no label, and loss 0.0."""

    def text_alone(columns: Columns) -> Columns:
        return dataclasses.replace(columns, labels=torch.full_like(columns.labels, IGNORED))

    return _columns(recipe, text_alone)


def no_backward(recipe: VoiceCloning) -> VoiceCloning:
    """`total = torch.tensor(0., requires_grad=True)` is what backward is called on: every gradient is None."""
    original = recipe.train_step

    def train_step(built: Built, batch: CloningBatch, step: int) -> StepRecord:
        record = original(built, batch, step)
        for plan in built.optimizers.values():
            plan.optimizer.zero_grad(set_to_none=True)
        return record

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe


def labels_shifted_twice(recipe: VoiceCloning) -> VoiceCloning:
    """Shifted by the collator and once more by the loss: each place predicts the row after the next."""

    def early(columns: Columns) -> Columns:
        return dataclasses.replace(columns, label_at=columns.label_at - 1)

    return _columns(recipe, early)


def labels_not_shifted(recipe: VoiceCloning) -> VoiceCloning:
    """Neither shifts: each place is asked for what it was just shown, and the loss falls to nothing."""

    def late(columns: Columns) -> Columns:
        return dataclasses.replace(columns, label_at=columns.label_at + 1)

    return _columns(recipe, late)


def ends_masked(recipe: VoiceCloning) -> VoiceCloning:
    """The processor's own labels: every EOC is masked, and the voice never stops."""
    eoc = recipe.material.grid.eoc

    def endless(columns: Columns) -> Columns:
        labels = columns.labels.masked_fill(columns.labels == eoc, IGNORED)
        return dataclasses.replace(columns, labels=labels)

    return _columns(recipe, endless)


def begin_is_learned(recipe: VoiceCloning) -> VoiceCloning:
    """BOC is a label like any other: structure, which is forced in generation, makes the loss look better."""
    boc = recipe.material.grid.boc

    def begun(columns: Columns) -> Columns:
        codes = columns.rows.new_full((columns.tokens.numel(), columns.rows.size(1)), IGNORED)
        codes[columns.row_at] = columns.rows
        following = codes[columns.label_at + 1]
        return dataclasses.replace(columns, labels=columns.labels.where(following != boc, boc))

    return _columns(recipe, begun)


def reference_is_learned(recipe: VoiceCloning) -> VoiceCloning:
    """No mask over the prompt: the reference's codes are labels too, the voice learns to say them."""

    def unmasked(columns: Columns) -> Columns:
        heard = columns.row_at[columns.reference]
        first = ~torch.isin(heard - 1, heard)  # predicted from text, as a target's first row is
        at, labels = heard[~first] - 1, columns.rows[columns.reference][~first]
        places, order = torch.cat([columns.label_at, at]).sort()
        return dataclasses.replace(
            columns, label_at=places, labels=torch.cat([columns.labels, labels])[order]
        )

    return _columns(recipe, unmasked)


def frames_of_the_neighbour(recipe: VoiceCloning) -> VoiceCloning:
    """Frames are dealt over the whole batch: one too many in a row moves those of all behind it."""

    def dealt(columns: Columns) -> Columns:
        length = columns.tokens.size(1)
        moved = columns.row_at.clone()
        second = (moved // length == 1).nonzero().squeeze(1)
        if second.numel():
            moved[second[0]] = length - 1
        return dataclasses.replace(columns, row_at=moved.sort().values)

    return _columns(recipe, dealt)


def mean_of_means(recipe: VoiceCloning) -> VoiceCloning:
    """Batches are weighed by their sentences, not by their codes: short ones weigh more than long ones."""
    original = recipe.train_step

    def train_step(built: Built, batch: CloningBatch, step: int) -> StepRecord:
        own = dataclasses.replace(batch, count=int(batch.by_book.sum()))
        return original(built, own, step)

    recipe.train_step = train_step  # type: ignore[method-assign]
    return each_batch(recipe, lambda batch: dataclasses.replace(batch, count=batch.samples))


def divided_by_words(recipe: VoiceCloning) -> VoiceCloning:
    """The sum over codes is divided by the number of text labels: ten to forty times too much."""
    original = recipe.train_step

    def train_step(built: Built, batch: CloningBatch, step: int) -> StepRecord:
        too_much = float(batch.by_book.sum()) / max(1, batch.columns.text_at.numel())
        return original(built, dataclasses.replace(batch, weight=batch.weight * too_much), step)

    recipe.train_step = train_step  # type: ignore[method-assign]
    return recipe
