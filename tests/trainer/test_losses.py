"""VITS losses at points where their value is known."""

from __future__ import annotations

import math

import pytest
import torch

from speech_trainer.losses import adversarial as gan
from speech_trainer.losses import vits as losses
from speech_trainer.models.vits import gamma_deviance


def test_mel_loss_is_the_mean_absolute_difference() -> None:
    assert float(losses.mel_loss(torch.zeros(2, 3, 4), torch.full((2, 3, 4), -1.5))) == 1.5


def kl(flowed: float, prior_mean: float, scale: float = 0.0, frames: int = 3) -> float:
    shape = (1, 2, 5)
    mask = torch.zeros(1, 1, 5)
    mask[..., :frames] = 1.0
    value = losses.kl_loss(
        torch.full(shape, flowed),
        torch.full(shape, scale),
        torch.full(shape, prior_mean),
        torch.zeros(shape),
        mask,
    )
    return float(value)


def test_kl_counts_channels_per_frame_and_ignores_padding() -> None:
    # per channel: log ratio 0, minus one half, plus half the squared distance
    assert kl(3.0, 1.0) == pytest.approx(2 * (-0.5 + 0.5 * 4.0))
    assert kl(3.0, 1.0, frames=1) == pytest.approx(kl(3.0, 1.0, frames=5))


def test_kl_of_a_matching_prior_is_zero_on_average() -> None:
    torch.manual_seed(0)
    flowed = torch.randn(4, 8, 500)
    zero = torch.zeros_like(flowed)
    value = losses.kl_loss(flowed, zero, zero, zero, torch.ones(4, 1, 500))
    assert abs(float(value)) < 0.15


@pytest.mark.parametrize(
    ("real", "generated", "expected"),
    [(1.0, 0.0, 0.0), (0.0, 1.0, 2.0), (0.5, 0.5, 0.5)],
)
def test_discriminator_loss(real: float, generated: float, expected: float) -> None:
    value = gan.discriminator_loss([torch.full((2, 7), real)], [torch.full((2, 7), generated)])
    assert float(value) == pytest.approx(expected)


def test_adversarial_loss_sums_over_discriminators() -> None:
    assert float(gan.adversarial_loss([torch.zeros(2, 3), torch.full((2, 5), 2.0)])) == 2.0


def test_feature_matching_sums_layers_and_never_trains_the_real_side() -> None:
    real = torch.ones(1, 2, 3, requires_grad=True)
    generated = torch.zeros(1, 2, 3, requires_grad=True)
    scores = torch.zeros(1, 1)
    value = gan.feature_matching_loss([(scores, [real, real])], [(scores, [generated, generated])])
    value.backward()
    assert float(value.detach()) == 2.0
    assert real.grad is None
    assert generated.grad is not None


def test_duration_loss_is_zero_where_rounding_up_gives_the_duration() -> None:
    durations = torch.tensor([[[1.0, 2.0, 7.0]]])
    log_duration = torch.log(durations - 0.5)
    mask = torch.ones(1, 1, 3)
    assert float(gamma_deviance(log_duration, durations, mask)) == pytest.approx(0.0, abs=1e-6)
    assert torch.equal(log_duration.exp().ceil(), durations)


def test_duration_loss_has_the_arithmetic_mean_as_its_optimum() -> None:
    durations = torch.tensor([[[1.0, 9.0]]])
    guess = torch.tensor(math.log(4.5), requires_grad=True)  # mean of 0.5 and 8.5
    gamma_deviance(guess.expand(1, 1, 2), durations, torch.ones(1, 1, 2)).backward()
    assert guess.grad is not None
    assert float(guess.grad) == pytest.approx(0.0, abs=1e-6)


def test_duration_loss_ignores_padding() -> None:
    durations = torch.tensor([[[2.0, 0.0]]])
    mask = torch.tensor([[[1.0, 0.0]]])
    log_duration = torch.tensor([[[math.log(1.5), 5.0]]])
    assert float(gamma_deviance(log_duration, durations, mask)) == pytest.approx(0.0, abs=1e-6)
