"""One rank's batch of the voice-cloning recipe, and how sequences become one. Shapes as in `data.sequences`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Several
from dataclasses import dataclass

import torch
from torch import Tensor

from speech_trainer.data.delay import IGNORED
from speech_trainer.data.sequences import Columns, Sequence, collate, lay
from speech_trainer.recipes.voice_cloning.material import Material, Sample

PADDING = 0  # a token of every vocabulary; nobody looks at what stands there


@dataclass(frozen=True)
class CloningBatch:
    """`engine.recipe.Batch`. `members` stay on the host, for preflight and strategic log."""

    columns: Columns
    by_book: Tensor  # [Q] float: labels of each book
    count: int  # labels of all books; 0 for a stand-in
    tokens: int  # places, padding left out
    weight: float
    audio_seconds: float
    members: tuple[Sample, ...]

    @property
    def samples(self) -> int:
        """Utterances in it."""
        return len(self.members)

    def to(self, device: torch.device) -> CloningBatch:
        """Move the tensors, non-blocking."""
        return dataclasses.replace(
            self,
            columns=self.columns.map(lambda t: t.to(device, non_blocking=True)),
            by_book=self.by_book.to(device, non_blocking=True),
        )

    def pinned(self) -> CloningBatch:
        """The same in page-locked memory, from which `to` is asynchronous."""
        return dataclasses.replace(
            self,
            columns=self.columns.map(lambda t: t.pin_memory()),
            by_book=self.by_book.pin_memory(),
        )


@dataclass(frozen=True)
class Collate:
    """Sequences → batch. None → a stand-in with weight 0, so that every rank steps."""

    material: Material
    pin_memory: bool = False

    def __call__(self, samples: Several[Sample]) -> CloningBatch:
        sequences = [sample.sequence for sample in samples] or [self._stand_in()]
        columns = collate(sequences, PADDING)
        by_book = (columns.labels != IGNORED).sum(dim=0)
        batch = CloningBatch(
            columns=columns,
            by_book=by_book.float(),
            count=int(by_book.sum()) if samples else 0,
            tokens=sum(sequence.length for sequence in sequences) if samples else 0,
            weight=1.0 if samples else 0.0,
            audio_seconds=sum(sample.utterance.duration for sample in samples),
            members=tuple(samples),
        )
        return batch.pinned() if self.pin_memory else batch

    def _stand_in(self) -> Sequence:
        """A frame of speech, so that every parameter is gone through."""
        material = self.material
        frame = torch.zeros(material.grid.books, 1, dtype=torch.long)
        pieces = material.kind.prompt(material.tokens, material.grid, "a", None, frame)
        return lay(pieces, material.grid)
