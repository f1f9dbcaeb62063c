"""Recordings with their text, for recipes that learn it. Called by `recipes.vits` and `recipes.voice_cloning`."""

from __future__ import annotations

from speech_contract import paths
from speech_contract.run_config import DataSet
from speech_trainer.data.manifest import Manifest
from speech_trainer.data.recordings import read_recordings
from speech_trainer.engine.recipe import RecipeContext


def spoken(data_set: DataSet, place: str, context: RecipeContext) -> Manifest:
    """The manifest of `data.<place>`. Raises: DataError, for a folder too: it holds no text."""
    kept = context.run_dir / paths.RECORDINGS
    return read_recordings(data_set, place, kept, context.lead, needs_text=True).manifest
