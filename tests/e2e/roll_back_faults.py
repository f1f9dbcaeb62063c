"""The fault hook of `test_roll_back.py`: a ConfigMap brings this file into the pod, PYTHONPATH and trainer.env name it.

NaN in every waveform at the sampler positions that FAULT_POSITIONS names (`first:last`, half-open).
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any


def nan(recipe: Any) -> Any:
    """Whoever draws these positions gets NaN, again and again."""
    first, last = map(int, os.environ["FAULT_POSITIONS"].split(":"))
    build = recipe.data

    def data() -> Any:
        stream = build()
        draw = stream.next_batch

        def next_batch() -> Any:
            batch = draw()
            if first < stream.position <= last:
                return dataclasses.replace(batch, waveform=batch.waveform * float("nan"))
            return batch

        stream.next_batch = next_batch
        return stream

    recipe.data = data
    return recipe
