"""Clips through a codec, together where that changes no code. Called by `data.encode`.

Clips of one length go through together, and whether that is harmless is measured, not believed: kernels are chosen by
the size of a batch, and a sum in another order can tip a code. In each call of `encode` the first batch is coded a
second time, clip by clip; where one code differs, clips go alone from then on.

Shapes: T samples, Q codebooks, F frames.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor

from speech_trainer.data.codes import Encoder

logger = logging.getLogger(__name__)


class Batches:
    """`seconds`: of audio that go through the codec at once, at most; a longer clip goes alone."""

    def __init__(self, encoder: Encoder, seconds: float) -> None:
        self._encoder = encoder
        self._samples = seconds * encoder.facts.sample_rate
        self.one_by_one = False  # batches were found to change codes

    def encode(self, waveforms: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Waveforms [T] by key → codes [Q, F] by key."""
        codes: dict[int, Tensor] = {}
        proved = False
        for keys in self._batches(waveforms):
            clips = [waveforms[key] for key in keys]
            if len(clips) > 1 and not proved and not self.one_by_one:
                proved = True
                codes |= zip(keys, self._proved(clips), strict=True)
            else:
                codes |= zip(keys, self._coded(clips), strict=True)
        return codes

    def _batches(self, waveforms: Mapping[int, Tensor]) -> Iterator[list[int]]:
        by_length = sorted(waveforms, key=lambda key: (waveforms[key].numel(), key))
        for length, keys in groupby(by_length, key=lambda key: waveforms[key].numel()):
            alike = list(keys)
            size = max(1, int(self._samples // max(1, length)))
            yield from (alike[start : start + size] for start in range(0, len(alike), size))

    def _proved(self, clips: Sequence[Tensor]) -> list[Tensor]:
        together, alone = self._coded(clips), [self._coded([clip])[0] for clip in clips]
        if not all(torch.equal(a, b) for a, b in zip(together, alone, strict=True)):
            self.one_by_one = True
            logger.warning("A batch of clips of one length has other codes than they have alone")
        return alone

    def _coded(self, clips: Sequence[Tensor]) -> list[Tensor]:
        if self.one_by_one and len(clips) > 1:
            return [self._coded([clip])[0] for clip in clips]
        return list(self._encoder(torch.stack(list(clips)).unsqueeze(1)).unbind(0))
