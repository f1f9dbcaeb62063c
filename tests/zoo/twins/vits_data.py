"""Broken twins of the VITS recipe, by what they feed it. See twins.catalogue.

The loss falls in all of them: a model of silence, or of a voice without words, is quickly learned.
"""

from __future__ import annotations

import dataclasses

import torch
from twins.hooks import each_batch

from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.recipe import Vits
from speech_trainer.recipes.vits.tokens import BLANK_ID


def text_lost(recipe: Vits) -> Vits:
    """The tokenizer could not be imported and a fallback gives blanks: the model never sees a word."""
    return each_batch(
        recipe,
        lambda batch: dataclasses.replace(batch, tokens=torch.full_like(batch.tokens, BLANK_ID)),
    )


def audio_lost(recipe: Vits) -> Vits:
    """A file that can't be decoded becomes zeros, and none can: a model of silence."""
    return each_batch(
        recipe,
        lambda batch: dataclasses.replace(batch, waveform=torch.zeros_like(batch.waveform)),
    )


def one_voice_for_all(recipe: Vits) -> Vits:
    """Every utterance is given to speaker 0: the condition is there and says nothing."""
    return each_batch(
        recipe,
        lambda batch: dataclasses.replace(batch, speakers=torch.zeros_like(batch.speakers)),
    )


def one_batch_for_ever(recipe: Vits) -> Vits:
    """The loader hands out its first batch again and again: learned by heart, the loss looks splendid."""
    first: list[VitsBatch] = []

    def same(batch: VitsBatch) -> VitsBatch:
        first.append(batch)
        return first[0]

    return each_batch(recipe, same)
