"""Recipes: one way to train each. They know the engine's protocol and never each other.

`create` is called by `speech_trainer.__main__`; it imports a recipe's room only when a run asks for it.
"""

from __future__ import annotations

import importlib
from typing import Final

from speech_trainer.engine.recipe import Recipe, RecipeContext
from speech_trainer.errors import ConfigError

RECIPES: Final = {  # name in the manifest → module:class, a line each
    "codec": "speech_trainer.recipes.codec.recipe:CodecTrainer",
    "vits": "speech_trainer.recipes.vits.recipe:Vits",
    "voiceCloning": "speech_trainer.recipes.voice_cloning.recipe:VoiceCloning",
}


def create(name: str, context: RecipeContext) -> Recipe:
    """Build the recipe `name`. Raises ConfigError for one that this trainer does not have."""
    place = RECIPES.get(name)
    if place is None:
        known = ", ".join(sorted(RECIPES))
        raise ConfigError(f"recipe: {name!r} is not trained here; use one of {known}")
    module, _, factory = place.partition(":")
    recipe: Recipe = getattr(importlib.import_module(module), factory)(context)
    return recipe
