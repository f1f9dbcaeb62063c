"""The codec's network: transformers reads what it writes, it reads what transformers writes, and Snake is Snake."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DacConfig, DacModel
from transformers.models.dac.modeling_dac import Snake1d

from speech_trainer.models.codec import LOOKUP, Codec
from speech_trainer.modules.quantizer import QuantizerSettings, alone
from speech_trainer.modules.snake import Snake

pytestmark = pytest.mark.usefixtures("seeded")


def sizes(dimensions: int | None) -> tuple[DacConfig, QuantizerSettings]:
    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 4],
        decoder_hidden_size=16,
        n_codebooks=3,
        codebook_size=16,
        codebook_dim=dimensions or 8,
        sampling_rate=16000,
    )
    return config, QuantizerSettings(levels=3, codes=16, dimensions=dimensions, start_step=3)


def trained(dimensions: int | None) -> Codec:
    """After a few updates, so that codes, weight norms and biases are not what they began as."""
    codec = Codec(*sizes(dimensions)).train()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=1e-2)
    for step in range(1, 9):
        output, quantized = codec(speech(), coded=step >= 3)
        (output.square().mean() + quantized.commitment).backward()
        optimizer.step()
        optimizer.zero_grad()
        codec.quantizer.update(step, 0, alone, alone)
    return codec.eval()


def speech() -> Tensor:
    return 0.3 * torch.randn(2, 1, 256)


@pytest.mark.parametrize("dimensions", [4, None])
def test_transformers_encodes_and_decodes_the_same(dimensions: int | None, tmp_path: Path) -> None:
    codec = trained(dimensions)
    codec.plain().save_pretrained(tmp_path)
    theirs = DacModel.from_pretrained(tmp_path).eval()
    waveform = speech()
    with torch.no_grad():
        output, quantized = codec(waveform)
        found = theirs(waveform)
        decoded = theirs.decode(audio_codes=quantized.codes).audio_values
    assert torch.equal(found.audio_codes, quantized.codes)
    assert torch.allclose(found.audio_values, output.squeeze(1), atol=1e-5)
    assert torch.allclose(decoded, output.squeeze(1), atol=1e-5)


@pytest.mark.parametrize("dimensions", [4, None])
def test_what_was_exported_is_trained_on_as_it_was(dimensions: int | None, tmp_path: Path) -> None:
    codec = trained(dimensions)
    codec.plain().save_pretrained(tmp_path)
    config = DacConfig.from_pretrained(tmp_path)
    assert getattr(config, LOOKUP) == ("angle" if dimensions else "distance")
    again = Codec(config, sizes(dimensions)[1])
    again.load(DacModel.from_pretrained(tmp_path))
    waveform = speech()
    with torch.no_grad():
        mine, theirs = codec(waveform), again.eval()(waveform)
    assert torch.equal(mine[1].codes, theirs[1].codes)
    assert torch.allclose(mine[0], theirs[0], atol=1e-5)


def test_weights_of_transformers_are_taken_over() -> None:
    config, settings = sizes(4)
    theirs = DacModel(config).eval()
    codec = Codec(config, settings)
    codec.load(theirs)
    waveform = speech()
    with torch.no_grad():
        output, quantized = codec.eval()(waveform)
        found = theirs(waveform)
    assert torch.equal(found.audio_codes, quantized.codes)
    assert torch.allclose(found.audio_values, output.squeeze(1), atol=1e-5)


def test_every_weight_gets_a_gradient_before_and_after_the_codebooks_start() -> None:
    for coded in (False, True):
        codec = Codec(*sizes(4)).train()
        output, quantized = codec(speech(), coded=coded)
        (output.square().mean() + quantized.commitment).backward()
        assert all(p.grad is not None for p in codec.parameters())


def test_a_new_network_neither_dies_out_nor_saturates() -> None:
    """With DAC's constant deviation a network of this width gives waveforms of a millionth."""
    codec = Codec(*sizes(None))
    with torch.no_grad():
        output, _ = codec(speech(), coded=False)
        hidden = codec.encoder(speech())
    assert 1e-3 < float(output.abs().mean()) < 0.9
    assert 1e-2 < float(hidden.square().mean().sqrt()) < 100.0


def test_snake_is_that_of_transformers_with_its_gradients() -> None:
    theirs, mine = Snake1d(3), Snake(3)
    with torch.no_grad():
        mine.alpha.copy_(torch.tensor([0.5, 1.0, 2.0]).reshape(1, 3, 1))
        theirs.alpha.copy_(mine.alpha)
    a = torch.randn(2, 3, 20).requires_grad_()
    b = a.detach().clone().requires_grad_()
    weights = torch.randn(2, 3, 20)
    (theirs(a) * weights).sum().backward()
    (mine(b) * weights).sum().backward()
    assert torch.allclose(theirs(a), mine(b), atol=1e-6)
    assert a.grad is not None
    assert b.grad is not None
    assert torch.allclose(a.grad, b.grad, atol=1e-5)
    assert theirs.alpha.grad is not None
    assert mine.alpha.grad is not None
    assert torch.allclose(theirs.alpha.grad, mine.alpha.grad, atol=1e-4)


def test_snake_by_finite_differences() -> None:
    snake = Snake(2).double()
    with torch.no_grad():
        snake.alpha.mul_(torch.tensor([0.7, 1.3]).reshape(1, 2, 1))
    values = torch.randn(2, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(snake, (values,))
