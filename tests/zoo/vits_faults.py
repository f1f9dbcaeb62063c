"""Faults for the VITS recipe, through the fault hook: `SPEECHTRAIN_WRAP_RECIPE=vits_faults:nan_window`."""

from __future__ import annotations

import dataclasses

from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.recipe import Vits

NAN_STEPS = range(20, 25)  # as the first pass over the data counts steps


def nan_window(recipe: Vits) -> Vits:
    """NaN in every waveform at the sampler positions of five steps; whoever draws them gets it, again and again."""
    build = recipe.data
    size = recipe.settings.batch_size
    window = range((NAN_STEPS.start - 1) * size, (NAN_STEPS.stop - 1) * size)

    def data() -> object:
        stream = build()
        draw = stream.next_batch

        def next_batch() -> VitsBatch:
            batch = draw()
            if stream.position - size in window:
                return dataclasses.replace(batch, waveform=batch.waveform * float("nan"))
            return batch

        stream.next_batch = next_batch  # type: ignore[method-assign]
        return stream

    recipe.data = data  # type: ignore[method-assign, assignment]
    return recipe
