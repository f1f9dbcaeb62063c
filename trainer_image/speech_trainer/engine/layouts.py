"""Which layout a recipe asked for. Called by `engine.loop`, once the recipe has built."""

from __future__ import annotations

from speech_contract.run_config import Precision
from speech_trainer.engine.layout import Layout, Replicated
from speech_trainer.engine.recipe import Built


def choose(built: Built, precision: Precision) -> Layout:
    """What `Built.sharding` says."""
    if built.sharding is None:
        return Replicated()
    from speech_trainer.engine.sharded import Sharded  # DTensor alone takes seconds to import

    return Sharded(built.sharding, precision)
