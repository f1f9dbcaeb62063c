"""Which samples a global batch holds: a pure function of seed and position.

A *position* counts samples drawn by all ranks since the first step; it maps to (epoch, place in the
epoch's order), so the order is the same for every world size and resuming needs the position alone.
Called by `data.loader`.
"""

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Window = tuple[int, int]  # [first, last) global positions

_BUCKET_BATCHES: Final = 64  # sorted by length together: padding waste < 6 %
_LENGTH_JITTER: Final = 0.03  # so that a small set is not cut into the same batches every epoch


@dataclass(frozen=True)
class Draw:
    """One global batch: its positions in order, and where the next one starts."""

    positions: tuple[int, ...]
    next_position: int


class Sampler:
    """Endless epochs over `durations` (seconds of each sample), shuffled and bucketed by length."""

    def __init__(self, durations: Sequence[float], batch_size: int, seed: int) -> None:
        assert durations
        assert batch_size > 0
        self._durations = tuple(durations)
        self._batch_size = batch_size
        self._seed = seed
        # An epoch is whole batches; the few places left over are filled from its own beginning.
        self._epoch_length = -(-len(durations) // batch_size) * batch_size
        self._order = functools.lru_cache(maxsize=2)(self._epoch_order)

    @property
    def batch_size(self) -> int:
        """Samples of a step over all ranks."""
        return self._batch_size

    @property
    def size(self) -> int:
        """Number of samples in the data set."""
        return len(self._durations)

    def draw(self, position: int, windows: Sequence[Window] = ()) -> Draw:
        """The next batch at or after `position`, passing over every position in `windows`."""
        positions: list[int] = []
        while len(positions) < self._batch_size:
            end = max((last for first, last in windows if first <= position < last), default=None)
            if end is None:
                positions.append(position)
                position += 1
            else:
                position = end
        return Draw(tuple(positions), position)

    def index(self, position: int) -> int:
        """Index of the sample at a global position."""
        epoch, place = divmod(position, self._epoch_length)
        return self._order(epoch)[place]

    def replacement(self, position: int, attempt: int) -> int:
        """Another index for a bad sample: the same whoever asks, and whenever."""
        return random.Random(f"{self._seed}/{position}/{attempt}").randrange(self.size)

    def _epoch_order(self, epoch: int) -> tuple[int, ...]:
        rng = random.Random(f"{self._seed}/{epoch}")
        order = list(range(self.size))
        rng.shuffle(order)
        while len(order) < self._epoch_length:
            order.extend(order[: self._epoch_length - len(order)])
        batches = self._bucketed(order, rng)
        rng.shuffle(batches)
        return tuple(index for batch in batches for index in batch)

    def _bucketed(self, order: list[int], rng: random.Random) -> list[list[int]]:
        """Cut a shuffled order into batches of similar length."""
        low, high = 1.0 - _LENGTH_JITTER, 1.0 + _LENGTH_JITTER
        pool = self._batch_size * _BUCKET_BATCHES
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            bucket = sorted(
                order[start : start + pool],
                key=lambda i: self._durations[i] * rng.uniform(low, high),
            )
            batches.extend(
                bucket[i : i + self._batch_size] for i in range(0, len(bucket), self._batch_size)
            )
        return batches
