"""Speech of a backbone, drawn row by row: what a prompt asks for as codes. Called by evaluation and `speaking`.

Where a book has not begun or has ended its value is forced, as the delay grid has it in training, and book 0 alone
tells the end. Values are drawn on the host, from a generator of their own: the same logits and the same seed give the
same codes on any device. Shapes: Q books, F frames, V values of a book.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from speech_trainer.data.sequences import Piece, collate, lay
from speech_trainer.errors import ConfigError
from speech_trainer.models.backbone import Backbone

_SLOT: Final = 0  # a token of every vocabulary; a row stands in its place


@dataclass(frozen=True)
class Sampling:
    """How values are drawn. `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave none out.

    `max_frames`: a recording that has not ended by then is cut.
    """

    max_frames: int
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for field, fine, rule in (
            ("max_frames", self.max_frames >= 1, "is below 1"),
            ("temperature", self.temperature >= 0.0, "is below 0"),
            ("top_k", self.top_k >= 0, "is below 0"),
            ("top_p", 0.0 < self.top_p <= 1.0, "is not above 0 and at most 1"),
        ):
            if not fine:
                raise ConfigError(f"{field}: {getattr(self, field)} {rule}; leave it out")


@dataclass(frozen=True)
class Generated:
    """`codes` [Q, F] on the host. `ended`: by itself, and not because it was cut."""

    codes: Tensor
    ended: bool


class NonFiniteLogits(ConfigError):
    """Nothing can be drawn: the weights are not finite, or make what is not."""


class Continuation:
    """A sequence that grows: every place goes through the model once, and its keys and values are kept."""

    def __init__(self, backbone: Backbone, prompt: Sequence[Piece]) -> None:
        self._backbone, self._pending, self._past = backbone, list(prompt), DynamicCache()
        self._device = backbone.table.weight.device

    def add(self, row: Tensor) -> None:
        """A row [Q] behind all others."""
        self._pending.append(Piece([_SLOT], row[None]))

    @torch.no_grad()
    def logits(self) -> Tensor:
        """[Q, V] of the next row, float32 on the host. Something must have been added since the last call."""
        backbone = self._backbone
        columns = collate([lay(self._pending, backbone.grid)], _SLOT)
        columns = columns.map(lambda t: t.to(self._device))
        hidden = backbone.hidden(backbone.embed(columns), columns, self._past)
        self._pending = []
        return backbone.logits(hidden[:, -1])[0].float().cpu()


def generate(backbone: Backbone, prompt: Sequence[Piece], settings: Sampling) -> Generated:
    """Speak what `prompt` (of `Backbone.prompt`, without codes) asks for. `backbone` is in evaluation mode.

    Raises: NonFiniteLogits.
    """
    grid, draw, sequence = backbone.grid, _Draw(settings), Continuation(backbone, prompt)
    rows: list[Tensor] = []
    frames, ended = None, False
    while frames is None or len(rows) < frames + grid.extra:
        allowed = grid.allowed(len(rows), frames)
        if bool((allowed.sum(dim=1) == 1).all()):
            row = allowed.int().argmax(dim=1)
        else:
            row = draw(_finite(sequence.logits()).masked_fill(~allowed, -torch.inf))
        if frames is None:
            spoken = len(rows) - int(grid.framed)
            ended = int(row[0]) == grid.eoc
            if ended or spoken == settings.max_frames:
                frames, row[0] = spoken, grid.eoc
        rows.append(row)
        sequence.add(row)
    kept = rows[: frames + grid.extra]  # the only book of a grid has no row for its end
    return Generated(grid.frames(torch.stack(kept)), ended)


def _finite(logits: Tensor) -> Tensor:
    if not bool(logits.isfinite().all()):
        raise NonFiniteLogits(
            "weights: logits are not finite; use an earlier checkpoint, and look at what the run said of NaN"
        )
    return logits


class _Draw:
    """[Q, V] → [Q], every book for itself."""

    def __init__(self, settings: Sampling) -> None:
        self._likeliest = settings.temperature == 0.0
        self._warp: Any = _warpers(settings)  # of no token that came before: it is given none
        self._chance = torch.Generator().manual_seed(settings.seed)

    def __call__(self, logits: Tensor) -> Tensor:
        if self._likeliest:
            return logits.argmax(dim=1)
        shares = self._warp(None, logits).softmax(dim=-1)
        return torch.multinomial(shares, 1, generator=self._chance).squeeze(1)


def _warpers(settings: Sampling) -> LogitsProcessorList:
    found = LogitsProcessorList()
    if settings.temperature > 0.0:
        found.append(TemperatureLogitsWarper(float(settings.temperature)))
    if settings.top_k > 0:
        found.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1.0:
        found.append(TopPLogitsWarper(settings.top_p))
    return found
