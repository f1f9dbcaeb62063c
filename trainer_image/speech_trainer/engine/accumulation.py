"""One update out of several micro-batches and ranks: weights before the first backward, one record after the last.

The gradient of an update is that of the mean over everything that the global batch counts, however it was cut.
Called by `engine.loop`, once per step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from speech_trainer.engine.distributed import World
from speech_trainer.engine.layout import Layout
from speech_trainer.engine.recipe import Batch, BookRecord, Built, Recipe, RunFacts, StepRecord
from speech_trainer.errors import ConfigError

B = TypeVar("B", bound=Batch)


def check_batch_size(facts: RunFacts, world: World) -> None:
    """Refuse a global batch that leaves ranks without a sample. Raises ConfigError."""
    size = facts.global_batch_size
    if size is not None and size < world.size:
        raise ConfigError(
            f"training.globalBatchSize: {size} is less than one sample for each of {world.size} ranks; "
            "raise it, or use fewer ranks"
        )


def weigh(batches: Sequence[B], total: int | None, world: World) -> list[B]:
    """Give every batch of this step its share of the loss. `total`: counted over all ranks; None: ask them.

    The mean over ranks (DDP averages) of Σ weight × mean loss is then the mean over all that is counted. One full
    batch on each of equal ranks has weight 1.0 exactly. Counts live on the host: the device is never waited for.
    """
    if total is None:
        total = world.add_up(sum(batch.count for batch in batches))
    return [
        _weighed(batch, batch.count * world.size / total if total else 0.0) for batch in batches
    ]


def _weighed(batch: B, weight: float) -> B:
    if batch.weight == weight:
        return batch
    changed: B = dataclasses.replace(batch, weight=weight)  # type: ignore[type-var]
    return changed


def train(
    recipe: Recipe, built: Built, layout: Layout, batches: Sequence[Batch], step: int
) -> StepRecord:
    """Every micro-batch through the recipe; ranks exchange gradients in the last one alone."""
    *early, last = batches
    records = []
    for batch in early:
        with layout.accumulating(built.models.values()):
            records.append(recipe.train_step(built, batch, step))
    records.append(recipe.train_step(built, last, step))
    return join(records, [batch.weight for batch in batches])


def join(records: Sequence[StepRecord], weights: Sequence[float]) -> StepRecord:
    """One record for the step: losses carry their weights already, codebooks get theirs here."""
    losses: dict[str, Tensor] = {}
    for record in records:
        for name, value in record.losses.items():
            losses[name] = losses[name] + value if name in losses else value
    tokens = [record.tokens for record in records if record.tokens is not None]
    return StepRecord(
        losses=losses if len(records) > 1 else records[0].losses,
        codebooks=_books([record.codebooks for record in records], weights),
        tokens=sum(tokens) if tokens else None,
    )


def _books(
    books: Sequence[Mapping[str, BookRecord] | None], weights: Sequence[float]
) -> dict[str, BookRecord] | None:
    if all(own is None for own in books):
        return None
    joined: dict[str, BookRecord] = {}
    for own, weight in zip(books, weights, strict=True):
        for name, book in (own or {}).items():
            part = _part(book, weight)
            joined[name] = _sum(joined[name], part) if name in joined else part
    return joined


def _part(book: BookRecord, weight: float) -> BookRecord:
    """What a batch adds. A stand-in adds nothing, whatever it measured."""
    if weight == 0.0:
        return _like(book, [None if t is None else t.new_zeros(t.shape) for t in _tensors(book)])
    scalars = [None if t is None else t * weight for t in _tensors(book)[1:]]
    return _like(book, [book.usage, *scalars])


def _sum(left: BookRecord, right: BookRecord) -> BookRecord:
    pairs = zip(_tensors(left), _tensors(right), strict=True)
    return _like(left, [b if a is None else a if b is None else a + b for a, b in pairs])


def _like(book: BookRecord, tensors: Sequence[Tensor | None]) -> BookRecord:
    """The same book with these numbers, in the order of `_tensors`."""
    usage, dead, movement, residual = tensors
    assert usage is not None
    return dataclasses.replace(book, usage=usage, dead=dead, movement=movement, residual=residual)


def _tensors(book: BookRecord) -> tuple[Tensor | None, ...]:
    return (book.usage, book.dead, book.movement, book.residual)
