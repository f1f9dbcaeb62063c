"""The level of a guess: ln V, the cross entropy of an answer that does not depend on what comes in. Pure.

V is looked for among the numbers of classes and codes that models have. Used by `plateau` for a level, and by
`constant_component` for a value that stands.
"""

from __future__ import annotations

import math
from typing import Final

from speech_health.digits import decimals

# Classes of speech, sound and language models: two, ten, phones, bytes, code books, vocabularies.
CLASSES: Final = (
    2, 10, 100, 128, 256, 512, 1000, 1024, 2048, 4096, 8192, 16384, 32000, 32768, 50257, 51865, 65536, 128256,
)  # fmt: skip
# ln 4 is ln 2 twice: a discriminator that tells nothing apart, summed over both kinds.
TWICE: Final = 4
# Decimals: fewer are met by chance, more differ between float32 and float64.
COARSEST, FINEST = 4, 6


def nearest(level: float) -> tuple[int, float]:
    """The number of classes whose guess costs about `level` nats, and what it costs."""
    classes = min(CLASSES, key=lambda number: abs(level - math.log(number)))
    return classes, math.log(classes)


def exactly(value: float) -> int | None:
    """The number of classes whose guess costs `value` nats to all digits that it shows, four decimals at least."""
    places = decimals(value)
    if places < COARSEST:
        return None
    off = 0.5 * 10.0 ** -min(places, FINEST)
    return next((n for n in (*CLASSES, TWICE) if abs(value - math.log(n)) <= off), None)
