"""Both sides of a GAN step from one forward of the discriminators: the same gradients as from a forward for each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from speech_contract.recipes import CodecPreset, Preset
from speech_trainer.losses import adversarial as gan
from speech_trainer.modules.band_discriminators import CodecDiscriminator
from speech_trainer.modules.discriminators import WaveformDiscriminator
from speech_trainer.recipes.adversarial import Terms, convince, discriminate
from speech_trainer.recipes.codec import presets as codec
from speech_trainer.recipes.vits import presets as vits

WEIGHTS = codec.LossWeights(adversarial=0.5, feature_matching=3.0)
SIDES: dict[str, Callable[[], nn.Module]] = {
    "codec": lambda: CodecDiscriminator(codec.PRESETS[CodecPreset.DEBUG].discriminator),
    "vits": lambda: WaveformDiscriminator(vits.PRESETS[Preset.DEBUG].discriminator),
}
pytestmark = pytest.mark.usefixtures("seeded")


def gradients(discriminator: nn.Module) -> list[Tensor]:
    found = [p.grad.clone() for p in discriminator.parameters() if p.grad is not None]
    discriminator.zero_grad()
    return found


def waveforms() -> tuple[Tensor, Tensor]:
    """Recorded, and what a generator of one parameter makes."""
    return torch.randn(2, 1, 1200), torch.randn(2, 1, 1200, requires_grad=True)


@pytest.mark.parametrize("side", SIDES)
def test_gradients_are_those_of_two_passes(side: str) -> None:
    discriminator, (real, made), terms = SIDES[side](), waveforms(), Terms()
    (of_real,) = discriminator(real)
    (of_fake,) = discriminator(made.detach())
    loss = gan.discriminator_loss([s for s, _ in of_real], [s for s, _ in of_fake])
    (0.25 * loss).backward()
    wanted = gradients(discriminator)
    (of_fake,) = discriminator(made)
    total = 0.5 * gan.adversarial_loss([s for s, _ in of_fake])
    total = total + 3.0 * gan.feature_matching_loss(of_real, of_fake)
    (wanted_of_output,) = torch.autograd.grad(0.25 * total, made)

    judged = discriminate(discriminator, real, made, 0.25, terms, contextlib.nullcontext())
    part = convince(judged, made, terms, WEIGHTS)
    found = gradients(discriminator)
    assert made.grad is None
    (0.25 * part).backward()
    assert gradients(discriminator) == []
    assert judged.heard.grad is None
    assert float(part.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    torch.testing.assert_close(made.grad, wanted_of_output)
    torch.testing.assert_close(found, wanted)
    assert set(terms) == {
        "discriminator/adversarial", "generator/adversarial", "generator/feature_matching"
    }  # fmt: skip
