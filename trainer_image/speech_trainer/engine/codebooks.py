"""Codebook statistics of a step between the device and the wire. Used by `engine.measures` on log steps.

Packed into one vector that is summed over ranks together with the losses; what goes to the host afterwards is five
numbers a book, whatever its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from speech_contract.report import Codebook
from speech_trainer.engine.recipe import BookRecord

NUMBERS = 5  # a book on its way to the host: perplexity, vectors, dead, movement, residual
Books = Mapping[str, BookRecord]


def pack(books: Books) -> list[Tensor]:
    """What the ranks add up: per book [K + 3] float32, usage, then the scalars (0 where there is none)."""
    packed = []
    for book in books.values():
        zero = book.usage.new_zeros((), dtype=torch.float32)
        scalars = [
            zero if t is None else t.float().reshape(())
            for t in (book.dead, book.movement, book.residual)
        ]
        packed.append(torch.cat([book.usage.float().reshape(-1), torch.stack(scalars)]))
    return packed


def measure(summed: Sequence[Tensor], ranks: int) -> list[Tensor]:
    """Per book [NUMBERS] float32 on the device, out of the sums of `pack` over all ranks."""
    measured = []
    for packed in summed:
        usage, scalars = packed[:-3], packed[-3:] / ranks
        vectors = usage.sum()
        share = usage / vectors.clamp(min=1.0)
        entropy = torch.special.entr(share).sum()
        measured.append(torch.cat([torch.stack([entropy.exp(), vectors]), scalars]))
    return measured


def told(books: Books, values: Sequence[float]) -> dict[str, Codebook]:
    """The numbers of `measure`, on the host, as they go on the wire. A book that saw no vector is left out."""
    found = {}
    for index, (name, book) in enumerate(books.items()):
        perplexity, vectors, *scalars = values[index * NUMBERS : (index + 1) * NUMBERS]
        if vectors < 1:
            continue
        dead, movement, residual = (
            None if tensor is None else value
            for tensor, value in zip(
                (book.dead, book.movement, book.residual), scalars, strict=True
            )
        )
        size = min(book.usage.numel(), int(vectors))
        found[name] = Codebook(perplexity, size, dead, movement, residual, book.age)
    return found
