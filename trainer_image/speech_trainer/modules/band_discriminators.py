"""Discriminators of a codec: waveforms folded at several periods, and complex spectra cut into bands.

The set of DAC (Kumar et al. 2023, section 3.2). Called by `recipes.codec`. Shapes: B batch, T samples, F frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from speech_trainer.modules.discriminators import (
    SLOPE,
    DiscriminatorSettings,
    Judgement,
    PeriodDiscriminator,
    judge_each,
)


@dataclass(frozen=True)
class BandSettings:
    """Sizes of the whole set; the defaults are those of DAC."""

    windows: tuple[int, ...] = (2048, 1024, 512)  # samples; a quarter of each as hop
    # Of the bands, as shares of the bins.
    edges: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
    channels: int = 32
    periods: DiscriminatorSettings = field(default_factory=DiscriminatorSettings)


class BandDiscriminator(nn.Module):
    """Judges the complex spectrum of one window, each band by layers of its own."""

    window: Tensor

    def __init__(self, size: int, settings: BandSettings) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        bins = size // 2 + 1
        edges = [round(edge * bins) for edge in settings.edges]
        self._bands = list(pairwise(edges))
        self.bands = nn.ModuleList(_band(settings.channels) for _ in self._bands)
        self.head = parametrizations.weight_norm(nn.Conv2d(settings.channels, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> Judgement:
        """Waveform [B, 1, T] → scores [B, *] and the features of every layer."""
        spectrum, features, tops = self._spectrum(waveform), [], []
        for (low, high), layers in zip(self._bands, self.bands, strict=True):
            hidden = spectrum[..., low:high]
            for layer in layers:  # type: ignore[attr-defined]
                hidden = functional.leaky_relu(layer(hidden), SLOPE)
                features.append(hidden)
            tops.append(hidden)
        scores: Tensor = self.head(torch.cat(tops, dim=-1))
        return scores.flatten(1), [*features, scores]

    def _spectrum(self, waveform: Tensor) -> Tensor:
        """[B, 2, F, bins] in float32: real and imaginary part."""
        with torch.autocast(waveform.device.type, enabled=False):
            complex_ = torch.stft(
                waveform.squeeze(1).float(),
                self.size,
                self.size // 4,
                window=self.window,
                return_complex=True,
            )
            return torch.view_as_real(complex_).permute(0, 3, 2, 1)


class CodecDiscriminator(nn.Module):
    """All of them behind one forward, so that DDP can wrap them."""

    def __init__(self, settings: BandSettings) -> None:
        super().__init__()
        periods = (PeriodDiscriminator(p, settings.periods) for p in settings.periods.periods)
        bands = (BandDiscriminator(size, settings) for size in settings.windows)
        self.members = nn.ModuleList([*periods, *bands])

    def forward(self, *waveforms: Tensor) -> list[list[Judgement]]:
        """For each waveform [B, 1, T] one judgement per member."""
        return judge_each(self.members, waveforms)


def _band(channels: int) -> nn.ModuleList:
    """Five layers over (time, frequency); three of them halve the frequencies."""
    shapes = [(2, (3, 9), 1), *[(channels, (3, 9), 2)] * 3, (channels, (3, 3), 1)]
    return nn.ModuleList(
        parametrizations.weight_norm(
            nn.Conv2d(
                inputs,
                channels,
                kernel,
                stride=(1, stride),
                padding=(1, kernel[1] // 2),
            )
        )
        for inputs, kernel, stride in shapes
    )
