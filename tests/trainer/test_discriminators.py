"""Discriminators: every layer judges, every weight learns, sizes are those of the settings."""

from __future__ import annotations

import pytest
import torch

from speech_contract.recipes import Preset
from speech_trainer.modules.discriminators import WaveformDiscriminator
from speech_trainer.recipes.vits.presets import PRESETS


@pytest.mark.parametrize("preset", list(Preset))
def test_one_judgement_per_member_with_the_features_of_every_layer(preset: Preset) -> None:
    settings = PRESETS[preset].discriminator
    with torch.device("meta"):
        (judgements,) = WaveformDiscriminator(settings)(torch.zeros(2, 1, 8192))
    assert len(judgements) == 1 + len(settings.periods)
    layers = [len(features) - 1 for _, features in judgements]
    assert layers[0] == len(settings.scale_channels)
    assert set(layers[1:]) == {len(settings.period_channels)}
    assert all(scores.shape[0] == 2 and scores.dim() == 2 for scores, _ in judgements)


def test_every_weight_gets_gradient_and_so_does_the_waveform() -> None:
    torch.manual_seed(0)
    discriminator = WaveformDiscriminator(PRESETS[Preset.DEBUG].discriminator)
    waveform = torch.randn(2, 1, 1001, requires_grad=True)  # no multiple of any period
    (judgements,) = discriminator(waveform)
    scores = [scores.square().mean() for scores, _ in judgements]
    torch.stack(scores).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in discriminator.parameters())
    assert waveform.grad is not None
    assert bool(waveform.grad.any())
