"""Broken twins of the codec recipe, by what they feed it and by what they plan. See twins.catalogue."""

from __future__ import annotations

import dataclasses

import torch
from twins.hooks import after_build, each_batch

from speech_trainer.engine.recipe import Built
from speech_trainer.recipes.codec.batch import CodecBatch
from speech_trainer.recipes.codec.parts import codec_of
from speech_trainer.recipes.codec.recipe import CodecTrainer

ONE_BATCH = 3  # held-out recordings


def frozen_encoder(recipe: CodecTrainer) -> CodecTrainer:
    """The encoder is frozen by mistake: codes of random latents."""

    def freeze(built: Built) -> Built:
        codec_of(built).encoder.requires_grad_(False)
        return built

    return after_build(recipe, freeze)


def silent_audio(recipe: CodecTrainer) -> CodecTrainer:
    """A file that can't be decoded becomes zeros, and none can: a codec of silence."""
    return each_batch(
        recipe, lambda batch: dataclasses.replace(batch, waveform=torch.zeros_like(batch.waveform))
    )


def constant_audio(recipe: CodecTrainer) -> CodecTrainer:
    """Samples are read as one number, again and again: as loud as speech, and no sound at all."""
    return each_batch(
        recipe, lambda batch: dataclasses.replace(batch, waveform=0.1 + 0.0 * batch.waveform)
    )


def one_batch_for_ever(recipe: CodecTrainer) -> CodecTrainer:
    """The loader hands out its first batch again and again: learned by heart, the loss looks splendid."""
    first: list[CodecBatch] = []

    def same(batch: CodecBatch) -> CodecBatch:
        first.append(batch)
        return first[0]

    return each_batch(recipe, same)


def rate_that_moves_nothing(recipe: CodecTrainer) -> CodecTrainer:
    """A rate of 1e-5 for 300 steps: an update of Adam moves a weight by its rate, so nothing gets anywhere."""
    return recipe


def three_steps_an_epoch(recipe: CodecTrainer) -> CodecTrainer:
    """A handful of recordings, again and again: learned by heart."""
    few = recipe.material.manifest.first(2 * recipe.settings.batch_size + 1)
    recipe.material = dataclasses.replace(recipe.material, manifest=few)
    return recipe


def one_batch_of_validation(recipe: CodecTrainer) -> CodecTrainer:
    """Scored by three recordings: the best checkpoint is chosen by chance."""
    held_out = recipe.material.validation
    assert held_out is not None
    recipe.material = dataclasses.replace(recipe.material, validation=held_out.first(ONE_BATCH))
    return recipe
