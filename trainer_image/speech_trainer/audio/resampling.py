"""Change of sample rate, offline (`data prepare`) and, with a warning by the loader, on the fly."""

from torch import Tensor
from torchaudio import functional


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Waveform [..., T] at `source_rate` Hz as [..., T'] at `target_rate` Hz (windowed sinc)."""
    if source_rate == target_rate:
        return waveform
    resampled: Tensor = functional.resample(waveform, source_rate, target_rate)
    return resampled
