"""Waveform discriminators: one scale and several periods, as HiFi-GAN and VITS use them.

Called by GAN recipes. Each sub-discriminator returns its scores and the features of every layer,
which feature matching compares. Sizes are settings, so that the Debug preset can have a tiny one.
Shapes: B batch, T samples, D channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

Judgement = tuple[Tensor, list[Tensor]]  # scores [B, *], features of each layer [B, D, ...]

SLOPE = 0.1  # of the leaky ReLU, as in HiFi-GAN


@dataclass(frozen=True)
class DiscriminatorSettings:
    """Sizes of the whole set; the defaults are those of VITS."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)  # samples
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scale_channels: tuple[int, ...] = (16, 64, 256, 1024, 1024, 1024)
    scale_strides: tuple[int, ...] = (1, 4, 4, 4, 4, 1)
    scale_groups: tuple[int, ...] = (1, 4, 16, 64, 256, 1)
    weight_norm: bool = True


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample: waveform folded to [B, 1, T / period, period]."""

    def __init__(self, period: int, settings: DiscriminatorSettings) -> None:
        super().__init__()
        self.period = period
        channels = (1, *settings.period_channels)
        last = len(channels) - 2
        self.layers = nn.ModuleList(
            _normed(
                nn.Conv2d(
                    channels[i],
                    channels[i + 1],
                    kernel_size=(5, 1),
                    stride=(1 if i == last else 3, 1),
                    padding=(2, 0),
                ),
                settings,
            )
            for i in range(last + 1)
        )
        self.head = _normed(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)), settings)

    def forward(self, waveform: Tensor) -> Judgement:
        """Waveform [B, 1, T]."""
        padded = functional.pad(waveform, (0, -waveform.size(-1) % self.period), mode="reflect")
        folded = padded.reshape(*padded.shape[:2], -1, self.period)
        return _judge(folded, self.layers, self.head)


class ScaleDiscriminator(nn.Module):
    """Looks at the raw waveform with growing strides."""

    def __init__(self, settings: DiscriminatorSettings) -> None:
        super().__init__()
        channels = (1, *settings.scale_channels)
        shapes = zip(settings.scale_strides, settings.scale_groups, strict=True)
        self.layers = nn.ModuleList(
            _normed(
                nn.Conv1d(
                    channels[i],
                    channels[i + 1],
                    kernel_size=_scale_kernel(stride, groups),
                    stride=stride,
                    padding=_scale_kernel(stride, groups) // 2,
                    groups=groups,
                ),
                settings,
            )
            for i, (stride, groups) in enumerate(shapes)
        )
        self.head = _normed(nn.Conv1d(channels[-1], 1, 3, padding=1), settings)

    def forward(self, waveform: Tensor) -> Judgement:
        """Waveform [B, 1, T]."""
        return _judge(waveform, self.layers, self.head)


class WaveformDiscriminator(nn.Module):
    """All sub-discriminators of a recipe behind one forward, so that DDP can wrap them."""

    def __init__(self, settings: DiscriminatorSettings) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            [
                ScaleDiscriminator(settings),
                *(PeriodDiscriminator(period, settings) for period in settings.periods),
            ]
        )

    def forward(self, *waveforms: Tensor) -> list[list[Judgement]]:
        """For each waveform [B, 1, T] one judgement per sub-discriminator."""
        return judge_each(self.members, waveforms)


def judge_each(members: nn.ModuleList, waveforms: Sequence[Tensor]) -> list[list[Judgement]]:
    """Every waveform [B, 1, T] by every member; weight norm is worked out once for all of them."""
    with parametrize.cached():
        return [[member(waveform) for member in members] for waveform in waveforms]


def _scale_kernel(stride: int, groups: int) -> int:
    """HiFi-GAN's kernels: 41 where it strides, 15 at the start, 5 at the end."""
    if stride > 1:
        return 41
    return 15 if groups == 1 else 5


def _normed(layer: nn.Module, settings: DiscriminatorSettings) -> nn.Module:
    return parametrizations.weight_norm(layer) if settings.weight_norm else layer


def _judge(hidden: Tensor, layers: nn.ModuleList, head: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        hidden = functional.leaky_relu(layer(hidden), SLOPE)
        features.append(hidden)
    scores: Tensor = head(hidden)
    features.append(scores)
    return scores.flatten(1), features
