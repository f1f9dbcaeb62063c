"""The delay pattern: codes of several books as rows of a language model, and back (Copet et al. 2023, "delay").

Book c is shifted by c rows, so that a row predicts book 0 of a frame beside later books of earlier frames. Before its
data stands BOC, behind it EOC; both are codes beyond those of the codec. Called by `data.sequences` and by
`models.sampling`. Shapes: Q books, F frames, R rows, V values of a place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

IGNORED: Final = -100  # a label that no loss counts: cross-entropy's own default


@dataclass(frozen=True)
class Grid:
    """`codes`: of a book, without BOC and EOC. `framed`: a frame of BOC goes before the first one and a frame of EOC
    behind the last, and is delayed with the rest (Higgs v2); else the grid is as short as it can be (v3)."""

    books: int = 8
    codes: int = 1024
    framed: bool = False

    @property
    def boc(self) -> int:
        """Stands where a book has not begun."""
        return self.codes

    @property
    def eoc(self) -> int:
        """Stands where a book has ended."""
        return self.codes + 1

    @property
    def size(self) -> int:
        """Different values of a place: what logits are over."""
        return self.codes + 2

    @property
    def extra(self) -> int:
        """Rows more than frames."""
        return self.books - 1 + 2 * self.framed

    def delayed(self, codes: Tensor) -> Tensor:
        """Codes [Q, F] → rows [F + extra, Q]."""
        frames = codes.size(1)
        source = self._source(frames + self.extra)
        found = codes.T.gather(0, source.clamp(0, max(0, frames - 1))) if frames else source
        found = torch.where(source < 0, self.boc, found)
        return torch.where(source >= frames, self.eoc, found)

    def frames(self, rows: Tensor) -> Tensor:
        """Rows [R, Q] → codes [Q, R - extra]: what `delayed` was given."""
        count = rows.size(0) - self.extra
        first = torch.arange(self.books) + self.framed
        places = first[None] + torch.arange(max(0, count))[:, None]
        return rows.gather(0, places.to(rows.device)).T

    def learned(self, rows: Tensor) -> Tensor:
        """Rows [R, Q] as labels: BOC is structure and no speech, and of every book one EOC, the first, is learned.

        Without frames round the codes the last book has no EOC at all: it ends with the last row.
        """
        ended = rows == self.eoc
        again = ended & (ended.cumsum(0) > 1)
        return rows.masked_fill(again | (rows == self.boc), IGNORED)

    def allowed(self, row: int, frames: int | None) -> Tensor:
        """[Q, V] bool: what may stand in this row of a recording of so many frames, above 0; None: not ended so far.

        Where a book has not begun or has ended, that is BOC or EOC alone. Book 0 tells the end of all: it may end in
        any row behind its first frame, and the others follow by their delay.
        """
        frame = row - torch.arange(self.books) - int(self.framed)
        ended = torch.zeros_like(frame, dtype=torch.bool) if frames is None else frame >= frames
        found = torch.zeros(self.books, self.size, dtype=torch.bool)
        found[:, : self.codes] = ((frame >= 0) & ~ended)[:, None]
        found[:, self.boc] = frame < 0
        found[:, self.eoc] = ended
        if frames is None:
            found[0, self.eoc] = frame[0] > 0
        return found

    def learned_codes(self, frames: int) -> int:
        """How many labels `learned` leaves of a recording."""
        return self.books * frames + self.books - (0 if self.framed else 1)

    def _source(self, rows: int) -> Tensor:
        """[R, Q]: the frame that each place holds; below 0 before a book's data, F and more behind it."""
        return torch.arange(rows)[:, None] - torch.arange(self.books)[None] - int(self.framed)
