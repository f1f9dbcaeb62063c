"""Which data a Trainer's step is trained on, and how a window of it is passed over. Standard library only.

Called by `huggingface`. A position is a place in the order of the sampler, counted over all epochs. What lies in a
window that a NaN was trained on is replaced by other samples of its epoch; the places stay, so that the Trainer's own
count of steps and epochs, by which it resumes, stays true. Where the order is not the same in every attempt, or is not
known, nothing is told and nothing passed over, and why is said.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, Final

from speech_contract.saves import Window

# accelerate seeds the first by the epoch; what it prepares for a Trainer whose data is shuffled is this one.
_SAME_ORDER: Final = ("SeedableRandomSampler", "SequentialSampler")


@dataclasses.dataclass(frozen=True)
class Sampled:
    """Counts of an epoch: what the sampler gives, what a step takes of it, and steps."""

    samples: int
    per_step: int
    steps: int

    def window(self, step: int) -> Window:
        """Positions of `step`, which counts from 1."""
        epoch, index = divmod(step - 1, self.steps)
        first = index * self.per_step
        start = epoch * self.samples
        return start + first, start + min(self.samples, first + self.per_step)


def sampled(loader: Any, args: Any) -> Sampled | str:
    """What a Trainer with these arguments draws from `loader`, or a sentence that says why it can't be told."""
    batches: Any = getattr(loader, "batch_sampler", None)
    sampler: Any = getattr(batches, "sampler", None)
    kinds = type(loader).__name__, type(batches).__name__
    if int(getattr(args, "world_size", 1)) > 1:
        return "several processes share the data, and their order is not told"
    if kinds != ("DataLoaderShard", "BatchSampler"):
        return f"the data comes from {' and '.join(kinds)}, whose order is not known"
    if type(sampler).__name__ not in _SAME_ORDER:
        return f"the order of {type(sampler).__name__} is not the same in every attempt"
    if getattr(args, "ignore_data_skip", False):
        return "with ignore_data_skip a resumed run begins an epoch anew"
    accumulated = max(1, int(args.gradient_accumulation_steps))
    if len(loader) % accumulated:
        return "the batches of an epoch are no multiple of gradient_accumulation_steps"
    per_step = int(batches.batch_size) * accumulated
    return Sampled(len(sampler), per_step, len(loader) // accumulated)


def pass_over(loader: Any, windows: Iterable[Window]) -> None:
    """From now on the loader that `sampled` knows gives other samples in these windows."""
    batches = loader.batch_sampler
    batches.sampler = _Passing(batches.sampler, tuple(windows))


class _Passing:
    """A sampler with other samples in some places. accelerate tells it the epoch before each."""

    def __init__(self, sampler: Any, windows: tuple[Window, ...]) -> None:
        self._sampler, self._windows = sampler, windows
        self._epoch = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def __len__(self) -> int:
        return len(self._sampler)

    def set_epoch(self, epoch: int) -> None:
        """See accelerate."""
        self._epoch = epoch
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        order = list(self._sampler)
        start = self._epoch * len(order)
        windows = [(first - start, last - start) for first, last in self._windows]
        return iter([order[place] for place in substituted(len(order), windows)])


def substituted(count: int, windows: Iterable[Window]) -> list[int]:
    """Places 0 to count - 1, those in a window replaced by the ones that come after it and around again.

    >>> substituted(6, [(1, 3)])
    [0, 3, 4, 3, 4, 5]
    """
    bad = {place for first, last in windows for place in range(max(0, first), min(count, last))}
    sound = [place for place in range(count) if place not in bad]
    if not sound:
        return list(range(count))
    places = list(range(count))
    for nth, place in enumerate(sorted(bad)):
        places[place] = sound[(bisect.bisect(sound, place) + nth) % len(sound)]  # each another
    return places
