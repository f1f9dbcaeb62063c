"""The residual quantiser: codes follow the residual, start where latents are, come back to life, ignore stand-ins."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from speech_trainer.modules.quantizer import (
    MARKED_EVERY,
    QuantizerSettings,
    ResidualQuantizer,
    alone,
    closest,
    kmeans,
)

SMALL = QuantizerSettings(
    levels=3, codes=16, decay=0.9, start_step=4, revive_every=2, dead_share=0.1
)
BY_ANGLE = QuantizerSettings(
    levels=3, codes=16, dimensions=4, decay=0.9, start_step=4, revive_every=2, dead_share=0.1
)
HIDDEN = 8
pytestmark = pytest.mark.usefixtures("seeded")


def latents(batch: int = 4, frames: int = 32) -> Tensor:
    """Correlated, far from 0: what an encoder gives."""
    mix = torch.linspace(-1.0, 1.0, HIDDEN * HIDDEN).reshape(HIDDEN, HIDDEN)
    return torch.einsum("ij,bjf->bif", mix, torch.randn(batch, HIDDEN, frames)) + 0.5


def trained(settings: QuantizerSettings, steps: int) -> ResidualQuantizer:
    quantizer = ResidualQuantizer(HIDDEN, settings).train()
    for step in range(1, steps + 1):
        quantizer(latents(), coded=step >= settings.start_step)
        quantizer.update(step, 0, alone, alone)
    return quantizer


def error(quantizer: ResidualQuantizer) -> float:
    """Share of the energy that is lost."""
    with torch.no_grad():
        hidden = latents(16)
        quantizer.eval()
        found = quantizer(hidden).hidden
    return float((hidden - found).square().sum() / hidden.square().sum())


def test_before_the_start_latents_pass_unrounded() -> None:
    hidden = latents().requires_grad_()
    found = ResidualQuantizer(HIDDEN, SMALL)(hidden, coded=False)
    assert torch.equal(found.hidden, hidden)
    assert found.levels == []
    assert float(found.commitment) == 0.0


def test_codes_start_among_the_latents_and_get_better_by_following_the_residual() -> None:
    at_start, later = error(trained(SMALL, 3)), error(trained(SMALL, 60))
    assert later < at_start < 0.5
    assert later < 0.15


def test_codes_that_do_not_move_stay_worse() -> None:
    """What a moving average of the *quantised* vector comes to: its fixed point is the codebook itself."""
    frozen = QuantizerSettings(levels=3, codes=16, decay=1.0, start_step=4, revive_every=10**6)
    assert error(trained(SMALL, 60)) < 0.9 * error(trained(frozen, 60))


@pytest.mark.parametrize("settings", [SMALL, BY_ANGLE])
def test_the_gradient_goes_straight_through_and_none_writes_a_code(
    settings: QuantizerSettings,
) -> None:
    quantizer = trained(settings, 6)
    hidden = latents().requires_grad_()
    found = quantizer(hidden)
    (found.hidden.square().mean() + found.commitment).backward()
    assert hidden.grad is not None
    assert float(hidden.grad.abs().sum()) > 0.0
    assert all(not level.codes.requires_grad for level in quantizer.levels)
    assert sum(p.numel() for p in quantizer.parameters()) == (
        0 if settings is SMALL else 3 * (4 * 8 + 4 + 8 * 4 + 8)
    )


def test_commitment_pulls_the_latent_to_its_code_and_not_the_code() -> None:
    quantizer = trained(SMALL, 6)
    hidden = latents().requires_grad_()
    found = quantizer(hidden)
    (gradient,) = torch.autograd.grad(found.commitment, hidden)
    moved = (hidden - 10.0 * gradient).detach()
    assert quantizer(moved).commitment.item() < found.commitment.item()


def test_a_dead_code_comes_back_with_averages_of_its_own() -> None:
    quantizer = trained(SMALL, 6)
    level = quantizer.levels[0]
    level.codes[3] = 1e3
    level.sums[3] = 0.0
    level.counts[3] = 0.0
    assert bool(level.dead(0.1)[3])
    vectors = torch.randn(16, HIDDEN)
    level.revive(0.1, vectors)
    assert torch.equal(level.codes[3], vectors[3])
    assert not bool(level.dead(0.1)[3])
    assert torch.allclose(level.sums[3] / level.counts[3], vectors[3], atol=1e-6)


def test_living_codes_are_left_alone_by_a_revival() -> None:
    level = trained(SMALL, 6).levels[0]
    living = ~level.dead(0.1)
    before = level.codes.clone()
    level.revive(0.1, torch.randn(16, HIDDEN))
    assert torch.equal(level.codes[living], before[living])


def test_a_stand_in_teaches_nothing() -> None:
    quantizer = trained(SMALL, 6)
    before = {name: tensor.clone() for name, tensor in quantizer.staged().items()}
    quantizer(torch.zeros(1, HIDDEN, 4), real=False)
    after = quantizer.staged()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_stand_in_fills_no_place_of_the_reservoir() -> None:
    quantizer = ResidualQuantizer(HIDDEN, SMALL).train()
    quantizer(torch.full((1, HIDDEN, 4), 7.0), coded=False, real=False)
    quantizer.update(1, 0, alone, alone)
    assert float(quantizer.filled.sum()) == 0.0
    assert not bool((quantizer.reservoir == 7.0).any())


def test_two_ranks_come_to_the_codes_of_one_with_all_the_data() -> None:
    """What the collectives add up is what one rank would have seen."""
    one = trained(SMALL, 5).levels[0]
    two = copy.deepcopy(one)
    left, right = torch.randn(64, HIDDEN), torch.randn(64, HIDDEN)
    both = torch.cat([left, right])
    one.collect(both, one.nearest(both))
    one.move(0.9, alone)
    two.collect(left, two.nearest(left))
    sums, counts = two.batch_sums.clone(), two.batch_counts.clone()
    two.batch_sums.zero_()
    two.batch_counts.zero_()
    two.collect(right, two.nearest(right))
    theirs = iter([counts, sums])
    two.move(0.9, lambda mine: mine.add_(next(theirs)))
    assert torch.allclose(one.codes, two.codes, atol=1e-6)


def test_usage_counts_every_vector_once() -> None:
    found = trained(SMALL, 6)(latents())
    assert [float(level.usage.sum()) for level in found.levels] == [128.0] * 3
    assert all(0.0 <= float(level.residual) <= 1.0 for level in found.levels)


def test_movement_is_measured_over_some_updates() -> None:
    quantizer = trained(SMALL, 3 + MARKED_EVERY)
    assert 0.0 < float(quantizer.levels[0].movement) < 10.0


def test_a_young_book_tells_its_movement_at_each_update_and_a_revival_is_none() -> None:
    quantizer = trained(SMALL, SMALL.start_step)
    level = quantizer.levels[0]
    first = float(level.movement)
    assert first > 0.0
    level.counts.zero_()
    level.counts[0] = 1.0  # the others are dead
    level.revive(0.1, torch.full_like(level.codes, 9.0))
    level.measure()
    assert float(level.movement) < first


def test_codes_decode_to_what_the_decoder_was_given() -> None:
    quantizer = trained(BY_ANGLE, 8).eval()
    found = quantizer(latents())
    assert torch.allclose(quantizer.decode(found.codes), found.hidden, atol=1e-5)


def test_dropout_codes_a_share_of_the_batch_with_fewer_levels() -> None:
    settings = QuantizerSettings(levels=3, codes=16, dropout=0.5, start_step=1)
    quantizer = ResidualQuantizer(HIDDEN, settings)
    for level in quantizer.levels:
        level.start(torch.randn(16, HIDDEN), torch.ones(16))
    hidden = latents(64)
    dropped, whole = quantizer.train()(hidden).hidden, quantizer.eval()(hidden).hidden
    differs = (dropped - whole).abs().amax(dim=(1, 2)) > 1e-5
    assert not bool(differs[32:].any())
    assert 10 <= int(differs[:32].sum()) < 32


@pytest.mark.parametrize("by_angle", [True, False])
def test_the_closest_code(by_angle: bool) -> None:
    vectors, codes = torch.randn(50, 5), torch.randn(9, 5)
    a, b = (
        (torch.nn.functional.normalize(t) if by_angle else t for t in (vectors, codes))
        if by_angle
        else (vectors, codes)
    )
    assert torch.equal(closest(vectors, codes, by_angle=by_angle), torch.cdist(a, b).argmin(dim=1))


def test_k_means_finds_clusters_and_ignores_what_has_no_weight() -> None:
    centres = torch.eye(4) * 10.0
    vectors = centres.repeat(64, 1) + 0.1 * torch.randn(256, 4)
    vectors = torch.cat([vectors, torch.full((64, 4), 99.0)])
    weights = torch.cat([torch.ones(256), torch.zeros(64)])
    settings = QuantizerSettings(codes=24, iterations=20)
    codes, counts = kmeans(
        vectors, weights, settings, torch.Generator().manual_seed(0), by_angle=False
    )
    assert float(torch.cdist(vectors[:256], codes).min(dim=1).values.max()) < 1.0
    assert float(codes.max()) < 20.0
    assert counts.shape == (24,)
