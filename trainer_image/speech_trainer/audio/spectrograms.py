"""Linear and log-mel spectrograms on the device of the waveform, always in float32.

Called by recipes inside the step (with gradient) and by evaluation. Shapes: B batch, T samples,
F frames = T // hop, N linear bins, M mel bins.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelScale, Spectrogram

LOG_FLOOR: Final = 1e-5  # quieter mel energies count as this: log -11.5
_POWER_FLOOR: Final = 1e-9  # keeps the gradient of the square root finite in digital silence


@dataclass(frozen=True)
class SpectrogramSettings:
    """One voice's time-frequency grid; sizes in samples, rates in Hz."""

    sample_rate: int
    fft_size: int = 1024
    hop_length: int = 256
    mel_bins: int = 80

    @property
    def linear_bins(self) -> int:
        return self.fft_size // 2 + 1


class Spectrograms(nn.Module):
    """STFT magnitude and its log-mel; no parameters, so it never enters a checkpoint."""

    def __init__(self, settings: SpectrogramSettings) -> None:
        super().__init__()
        self.settings = settings
        self._pad = (settings.fft_size - settings.hop_length) // 2
        self._power = Spectrogram(
            n_fft=settings.fft_size, hop_length=settings.hop_length, power=2.0, center=False
        )
        self._to_mel = MelScale(
            settings.mel_bins, settings.sample_rate, n_stft=settings.linear_bins
        )

    def linear(self, waveform: Tensor) -> Tensor:
        """Magnitudes [B, N, F] of waveform [B, T]; T must be at least one FFT frame long."""
        with torch.autocast(waveform.device.type, enabled=False):
            padded = functional.pad(
                waveform.float().unsqueeze(1), (self._pad, self._pad), mode="reflect"
            ).squeeze(1)
            power: Tensor = self._power(padded)
            return torch.sqrt(power + _POWER_FLOOR)

    def log_mel(self, linear: Tensor) -> Tensor:
        """Natural log of mel energies [B, M, F] of magnitudes [B, N, F]."""
        with torch.autocast(linear.device.type, enabled=False):
            mel: Tensor = self._to_mel(linear.float())
            return torch.log(mel.clamp_min(LOG_FLOOR))

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mel [B, M, F] of waveform [B, T]."""
        return self.log_mel(self.linear(waveform))
