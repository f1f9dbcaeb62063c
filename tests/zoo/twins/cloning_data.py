"""Broken twins of voice cloning, by what they feed it and by what they plan. Listed in twins.catalogue."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from twins.hooks import each_batch

from speech_trainer.data.delay import Grid
from speech_trainer.data.manifest import Utterance
from speech_trainer.engine.recipe import Built, Evaluation
from speech_trainer.models.backbone import Backbone
from speech_trainer.recipes.voice_cloning.batch import CloningBatch
from speech_trainer.recipes.voice_cloning.material import Lines, Material
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning

COPIES = 6  # held-out lines that are spoiled


def _lines(lines: Lines, utterances: list[Utterance], references: list[Any]) -> Lines:
    manifest = dataclasses.replace(lines.manifest, utterances=tuple(utterances))
    return Lines(manifest, tuple(references))


def reference_is_the_target(recipe: VoiceCloning) -> VoiceCloning:
    """Every line is its own reference: copying is learned, and no voice."""
    training = recipe.material.training
    own = Lines(training.manifest, training.utterances)
    recipe.material = dataclasses.replace(recipe.material, training=own)
    return recipe


def lines_without_a_reference(recipe: VoiceCloning) -> VoiceCloning:
    """Nobody names a reference: the model learns to invent voices."""
    training = recipe.material.training
    alone = Lines(training.manifest, (None,) * len(training.utterances))
    recipe.material = dataclasses.replace(recipe.material, training=alone)
    return recipe


def held_out_copies(recipe: VoiceCloning) -> VoiceCloning:
    """Held-out recordings are trained on under other names, as all of one dialect were in a real corpus."""
    material = recipe.material
    copies = [
        dataclasses.replace(u, audio_filepath=f"copy-{u.audio_filepath}", sha256="")
        for u in material.training.utterances[:COPIES]
    ]
    held_out = material.held_out
    lines = [*held_out.utterances[COPIES:], *copies]
    others = _lines(held_out, lines, [*held_out.references[COPIES:], *(None for _ in copies)])
    recipe.material = dataclasses.replace(material, held_out=others)
    return recipe


def held_out_sentences_known(recipe: VoiceCloning) -> VoiceCloning:
    """A third of the held-out sentences stand in training too, spoken by others."""
    material = recipe.material
    known = material.training.utterances
    lines = [
        dataclasses.replace(u, text=known[n].text) if n < COPIES else u
        for n, u in enumerate(material.held_out.utterances)
    ]
    others = _lines(material.held_out, lines, list(material.held_out.references))
    recipe.material = dataclasses.replace(material, held_out=others)
    return recipe


def audio_features_empty(recipe: VoiceCloning) -> VoiceCloning:
    """Files that can't be read become zeros, and none can: every recording is one code, again and again."""
    grid = recipe.material.grid

    def silent(batch: CloningBatch) -> CloningBatch:
        rows = batch.columns.rows
        return dataclasses.replace(
            batch, columns=dataclasses.replace(batch.columns, rows=rows.where(rows >= grid.boc, 7))
        )

    return each_batch(recipe, silent)


class Undelayed(Grid):
    """Books side by side, with as many rows as a delayed grid has."""

    def delayed(self, codes: Tensor) -> Tensor:
        rows = torch.full((codes.size(1) + self.extra, self.books), self.eoc)
        rows[: codes.size(1)] = codes.T
        return rows


def delay_undone(recipe: VoiceCloning) -> VoiceCloning:
    """Books are laid side by side, while generation delays them: the loss is as good, and speech is noise."""
    grid = recipe.material.grid
    recipe.material = dataclasses.replace(
        recipe.material, grid=Undelayed(grid.books, grid.codes, grid.framed)
    )
    return recipe


def reference_text_without_audio(recipe: VoiceCloning) -> VoiceCloning:
    """The prompt holds the reference's words, and its audio is lost on the way."""
    kind = recipe.material.kind

    class Mute(kind):  # type: ignore[misc, valid-type]
        @classmethod
        def prompt(cls, *given: Any) -> Any:
            return [piece for piece in kind.prompt(*given) if not piece.reference]

    mute: type[Backbone] = Mute
    recipe.material = dataclasses.replace(recipe.material, kind=mute)
    return recipe


def one_batch_for_ever(recipe: VoiceCloning) -> VoiceCloning:
    """The loader hands out its first batch again and again: learned by heart, the loss looks splendid."""
    first: list[CloningBatch] = []

    def same(batch: CloningBatch) -> CloningBatch:
        first.append(batch)
        return first[0]

    return each_batch(recipe, same)


def three_steps_an_epoch(recipe: VoiceCloning) -> VoiceCloning:
    """A handful of recordings, again and again: a loss of 0.003, and a model that speaks silence."""
    material, count = recipe.material, 2 * recipe.settings.batch_size + 1
    few = _lines(
        material.training,
        list(material.training.utterances[:count]),
        list(material.training.references[:count]),
    )
    recipe.material = dataclasses.replace(material, training=few)
    return recipe


class Fixed(Material):
    """Nobody counts tokens."""

    budget = None


def batches_of_a_fixed_number(recipe: VoiceCloning) -> VoiceCloning:
    """A fixed number of samples after sorting by length: out of memory when the longest come."""
    fields = {f.name: getattr(recipe.material, f.name) for f in dataclasses.fields(Material)}
    recipe.material = Fixed(**fields)
    return recipe


def never_scored(recipe: VoiceCloning) -> VoiceCloning:
    """No held-out score on the way: the loss fell, and speech got worse with every epoch."""
    return recipe


def evaluates_another_model(recipe: VoiceCloning) -> VoiceCloning:
    """What is evaluated is a copy from before the first step: the same score to the last digit."""
    original, kept = recipe.evaluate, list[Evaluation]()

    def evaluate(built: Built, step: int) -> Evaluation:
        if not kept:
            kept.append(original(built, step))
        return kept[0]

    recipe.evaluate = evaluate  # type: ignore[method-assign]
    return recipe
