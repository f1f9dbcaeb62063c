"""How much of a batch of voice cloning is padding, and how large one gets: three ways to cut the same drawn lengths.

    python benchmarks/bench_batches.py [--lines 20000] [--seed 0]

Lengths are drawn: targets log-normal round 5 s, references of 3 to 10 s, 25 rows a second, a token of text for each
four. `by number` cuts a rank's share into equal numbers of samples, so small that the longest ones fit into the budget;
`by tokens` is `data.padding`. Nothing is trained.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
from collections.abc import Callable, Iterator, Sequence

from speech_trainer.data.loader import Place, cut, micro_batches, rank_slice
from speech_trainer.data.padding import deal
from speech_trainer.data.sampler import Sampler

BATCH, RANKS, BUDGET, STEPS = 256, 8, 8192, 60
ROWS, WORDS, LONGEST = 25.0, 0.25, 30.0  # rows a second, tokens a row, seconds of a recording
Cut = Callable[[list[int]], list[list[list[int]]]]  # lengths → [rank][micro-batch]


@dataclasses.dataclass
class Seen:
    """Tokens, padding left out and counted; the largest micro-batch; how many a step."""

    real: int = 0
    padded: int = 0
    largest: int = 0
    taken: int = 0

    def take(self, parts: Sequence[Sequence[int]]) -> None:
        """One rank's step."""
        for part in filter(None, parts):
            size = len(part) * max(part)
            self.real, self.padded = self.real + sum(part), self.padded + size
            self.largest = max(self.largest, size)

    def row(self, name: str, steps: int) -> str:
        """For people."""
        share = 1.0 - self.real / self.padded
        return f"{name:<28} {share:6.1%} padding, largest {self.largest:>6}, {self.taken / steps:5.1f} at a step"


def lengths(count: int, seed: int) -> list[int]:
    """Tokens of each line with its reference."""
    dice = random.Random(seed)

    def one() -> int:
        seconds = min(LONGEST, max(1.0, dice.lognormvariate(1.6, 0.6))) + dice.uniform(3.0, 10.0)
        return int(seconds * ROWS * (1.0 + WORDS))

    return [one() for _ in range(count)]


def shuffled(drawn: Sequence[int], seed: int) -> Iterator[list[int]]:
    """Steps in an order that knows no length."""
    order = random.Random(seed).sample(range(len(drawn)), len(drawn))
    yield from ([drawn[i] for i in order[s * BATCH : (s + 1) * BATCH]] for s in range(STEPS))


def bucketed(drawn: Sequence[int], seed: int) -> Iterator[list[int]]:
    """Steps as `data.sampler` makes them."""
    sampler = Sampler(drawn, BATCH, seed)
    for step in range(STEPS):
        positions = range(step * BATCH, (step + 1) * BATCH)
        yield [drawn[sampler.index(position)] for position in positions]


def by_number(samples: int) -> Cut:
    """Equal numbers of samples, in the order in which they come."""

    def cut_up(found: list[int]) -> list[list[list[int]]]:
        places = [Place(rank, RANKS, samples) for rank in range(RANKS)]
        return [
            [list(part) for part in cut(rank_slice(found, p), micro_batches(BATCH, p))]
            for p in places
        ]

    return cut_up


def by_tokens(found: list[int]) -> list[list[list[int]]]:
    """As `data.padding` deals them."""
    return [[[found[i] for i in part] for part in parts] for parts in deal(found, BUDGET, RANKS)]


def main() -> int:
    """Cut and count."""
    parser = argparse.ArgumentParser(description="Padding of batches cut three ways.")
    parser.add_argument("--lines", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    drawn = lengths(chosen.lines, chosen.seed)
    fits = BUDGET // max(drawn)
    ways: dict[str, tuple[Callable[..., Iterator[list[int]]], Cut]] = {
        f"shuffled, {fits} at once": (shuffled, by_number(fits)),
        f"bucketed, {fits} at once": (bucketed, by_number(fits)),
        "bucketed, a share at once": (bucketed, by_number(BATCH)),
        f"bucketed, {BUDGET} tokens": (bucketed, by_tokens),
        f"shuffled, {BUDGET} tokens": (shuffled, by_tokens),
    }
    for name, (steps, cut_up) in ways.items():
        seen = Seen()
        for found in steps(drawn, chosen.seed):
            by_rank = cut_up(found)
            seen.taken += len(by_rank[0])
            for parts in by_rank:
                seen.take(parts)
        sys.stdout.write(seen.row(name, STEPS) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
