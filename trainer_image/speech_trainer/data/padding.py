"""Micro-batches by padded length: rows times the longest of them stays within a budget of tokens.

A global batch keeps its samples, so what an update is the mean of does not depend on the budget, nor on the number of
ranks; only how it goes through the model does. Within it, samples of about one length go together, and each rank gets
as many micro-batches as any other, of about the same sizes. Pure: all ranks come to the same without asking each other.
Called by `data.loader`.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from functools import cached_property


class TokenBudget:
    """`lengths` of all samples, by index, in tokens (or whatever is padded); `most`: of a padded micro-batch."""

    def __init__(self, lengths: Sequence[int], most: int) -> None:
        assert most > 0
        self.lengths, self.most = tuple(lengths), most

    def stand_in(self, index: int, longest: int) -> int:
        """An index for this one, whatever it is: of a sample no longer than `longest`, which one must be."""
        fitting = bisect.bisect_right(self._sorted, longest)
        return self._by_length[index % fitting]

    @cached_property
    def _by_length(self) -> list[int]:
        return sorted(range(len(self.lengths)), key=self.lengths.__getitem__)

    @cached_property
    def _sorted(self) -> list[int]:
        return [self.lengths[index] for index in self._by_length]


def deal(
    lengths: Sequence[int], most: int, ranks: int, samples: int | None = None
) -> list[list[list[int]]]:
    """[rank][micro-batch] → places in `lengths` of one global batch, the longest first.

    A sample longer than `most` goes alone. `samples`: of a micro-batch, at most. Ranks get as many micro-batches each:
    the fullest are cut in two until they do, and where single samples are left over, the last ranks get an empty one.
    """
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    parts: list[list[int]] = []
    for place in order:
        if parts and _fits(len(parts[-1]) + 1, lengths[parts[-1][0]], most, samples):
            parts[-1].append(place)
        else:
            parts.append([place])
    while len(parts) % ranks and any(len(part) > 1 for part in parts):
        fullest = max(range(len(parts)), key=lambda n: _padded(parts[n], lengths))
        half = -(-len(parts[fullest]) // 2)
        parts[fullest : fullest + 1] = [parts[fullest][:half], parts[fullest][half:]]
    parts += [[] for _ in range(-len(parts) % ranks)]
    return [parts[rank::ranks] for rank in range(ranks)]


def _fits(count: int, longest: int, most: int, samples: int | None) -> bool:
    return count * longest <= most and (samples is None or count <= samples)


def _padded(part: Sequence[int], lengths: Sequence[int]) -> int:
    """Tokens that can be cut; none of a single sample."""
    return len(part) * lengths[part[0]] if len(part) > 1 else 0
