"""Which of many numbers a curve may not lose: the lowest, the highest, and those that are none. Pure.

Called by `series`, which keeps the file of a long run short, and by `report`, which draws it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def telling(values: Sequence[tuple[int, float]]) -> set[int]:
    """Places, of (place, value) pairs in their order: lowest and highest finite one, first and last NaN or Inf."""
    finite = [(value, place) for place, value in values if math.isfinite(value)]
    others = [place for place, value in values if not math.isfinite(value)]
    kept = {min(finite)[1], max(finite)[1]} if finite else set()
    return kept | ({others[0], others[-1]} if others else set())


def thinned(points: Sequence[tuple[float, float]], buckets: int) -> list[tuple[float, float]]:
    """(x, y) in rising x, cut to what each of `buckets` equal pieces of x may not lose, and both ends.

    NaN and Inf are kept at both ends of where they stand within a piece; fewer points than pieces stay as they are.
    """
    if len(points) <= 2 * buckets:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / buckets or 1.0
    pieces: dict[int, list[tuple[int, float]]] = {}
    for place, (x, y) in enumerate(points):
        pieces.setdefault(int((x - first) / width), []).append((place, y))
    kept = _joined(telling(piece) for piece in pieces.values()) | {0, len(points) - 1}
    return [points[place] for place in sorted(kept)]


def _joined(sets: Iterable[set[int]]) -> set[int]:
    joined: set[int] = set()
    for one in sets:
        joined |= one
    return joined
