"""How far a decoded waveform is from the recorded one, at several resolutions. Called by `recipes.codec`.

The multi-scale mel loss of DAC (Kumar et al. 2023, section 3.3): mean absolute difference of log10 mels, summed over
windows. Always in float32: in half precision the power of a full-scale tone overflows.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelScale, Spectrogram

_FLOOR: Final = 1e-5  # quieter mel magnitudes count as this


@dataclass(frozen=True)
class Scale:
    """One resolution: window in samples, a quarter of it as hop, mel bins."""

    window: int
    mel_bins: int


class MelDistance(nn.Module):
    """waveforms [B, T] → scalar; without parameters, so it never enters a checkpoint."""

    def __init__(self, sample_rate: int, scales: tuple[Scale, ...]) -> None:
        super().__init__()
        self._spectra = nn.ModuleList(
            Spectrogram(scale.window, hop_length=scale.window // 4, power=2.0) for scale in scales
        )
        self._mels = nn.ModuleList(_mel(sample_rate, scale) for scale in scales)

    def forward(self, candidate: Tensor, reference: Tensor) -> Tensor:
        """Sum over scales of the mean difference; the gradient goes to the candidate."""
        with torch.autocast(candidate.device.type, enabled=False):
            return torch.stack(
                [
                    (self._log(candidate, i) - self._log(reference.detach(), i)).abs().mean()
                    for i in range(len(self._mels))
                ]
            ).sum()

    def _log(self, waveform: Tensor, index: int) -> Tensor:
        power: Tensor = self._spectra[index](waveform.float())
        # The root of an exact zero has no finite gradient.
        mel: Tensor = self._mels[index](power.clamp_min(_FLOOR**2).sqrt())
        return mel.clamp_min(_FLOOR).log10()


def _mel(sample_rate: int, scale: Scale) -> MelScale:
    with warnings.catch_warnings():
        # Narrow bands of a short window hold no FFT bin: they are constant, and so without effect.
        warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
        return MelScale(scale.mel_bins, sample_rate, n_stft=scale.window // 2 + 1)
