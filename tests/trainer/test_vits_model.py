"""The VITS generator: its own passes against transformers', and gradient for every parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import VitsConfig, VitsModel

from speech_contract.recipes import Preset
from speech_trainer.errors import ConfigError
from speech_trainer.models.vits import (
    MAX_TOKEN_FRAMES,
    MODULES,
    VitsGenerator,
    load_pretrained,
    new_model,
    random_starts,
    segments,
)
from speech_trainer.recipes.vits.presets import PRESETS

TINY: dict[str, Any] = {
    **PRESETS[Preset.DEBUG].model,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "ffn_dim": 16,
    "flow_size": 8,
    "prior_encoder_num_flows": 2,
    "prior_encoder_num_wavenet_layers": 1,
    "posterior_encoder_num_wavenet_layers": 1,
    "duration_predictor_filter_channels": 8,
    "duration_predictor_num_flows": 2,
    "upsample_initial_channel": 16,
    "spectrogram_bins": 33,
    "vocab_size": 9,
    "sampling_rate": 22050,
}


def tiny(**changes: Any) -> VitsGenerator:
    torch.manual_seed(0)
    return VitsGenerator(new_model(VitsConfig(**{**TINY, **changes})), segment_frames=4)


def batch(size: int = 2) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    return (
        torch.randint(0, 9, (size, 7)),
        torch.tensor([7, 5])[:size],
        torch.rand(size, 33, 20),
        torch.tensor([20, 12])[:size],
        torch.tensor([0, 1])[:size],
    )


VARIANTS = [
    pytest.param({}, id="plain durations"),
    pytest.param({"use_stochastic_duration_prediction": True}, id="stochastic durations"),
    pytest.param({"num_speakers": 2, "speaker_embedding_size": 4}, id="two speakers"),
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_every_parameter_gets_gradient(changes: dict[str, Any]) -> None:
    """DDP without find_unused_parameters needs it; so does the rule NoGradient."""
    generator = tiny(**changes).train()
    output = generator(*batch())
    loss = output.waveform.square().mean() + output.duration_loss
    loss = loss + (output.flowed - output.prior_mean).square().mean()
    loss = loss + output.prior_log_scale.mean() + output.posterior_log_scale.mean()
    loss.backward()
    without = [name for name, p in generator.named_parameters() if p.grad is None]
    assert without == []
    for name in MODULES:
        gradients = [p.grad for p in getattr(generator.vits, name).parameters()]
        assert any(bool(g.any()) for g in gradients if g is not None), name


def test_the_alignment_covers_each_sample() -> None:
    output = tiny()(*batch())
    assert output.waveform.shape == (2, 1, 4 * 256)
    assert output.alignment.sum(dim=(1, 2)).tolist() == [20, 12]
    assert output.alignment.sum(dim=1)[1].tolist()[5:] == [0, 0]
    assert float(output.flowed.detach()[1, :, 12:].abs().sum()) == 0.0


@pytest.mark.parametrize("changes", VARIANTS)
def test_synthesis_is_that_of_transformers_without_noise(changes: dict[str, Any]) -> None:
    generator = tiny(**changes).eval()
    generator.vits.noise_scale = generator.vits.noise_scale_duration = 0.0
    tokens = torch.tensor([[0, 3, 0, 5, 0]])
    several = generator.vits.config.num_speakers > 1
    with torch.no_grad():
        expected = generator.vits(input_ids=tokens, speaker_id=1 if several else None)
    waveform = generator.synthesize(tokens, torch.tensor([1]))
    assert torch.allclose(waveform, expected.waveform[0], atol=1e-5)


def test_a_diverged_duration_predictor_can_not_fill_the_memory() -> None:
    generator = tiny().eval()
    with torch.no_grad():
        generator.vits.duration_predictor.proj.bias.fill_(50.0)
    waveform = generator.synthesize(torch.tensor([[0, 3, 0]]), torch.tensor([0]))
    assert waveform.numel() == 3 * MAX_TOKEN_FRAMES * 256


def test_nan_durations_still_end() -> None:
    generator = tiny().eval()
    with torch.no_grad():
        generator.vits.duration_predictor.proj.bias.fill_(float("nan"))
    assert generator.synthesize(torch.tensor([[0, 3, 0]]), torch.tensor([0])).numel() == 3 * 256


@pytest.mark.parametrize("stochastic", [False, True])
def test_bf16_autocast_keeps_the_losses_in_float32(stochastic: bool) -> None:
    generator = tiny(use_stochastic_duration_prediction=stochastic)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = generator(*batch())
    assert output.prior_mean.dtype == output.duration_loss.dtype == torch.float32
    assert output.alignment.dtype == torch.float32
    assert bool(torch.isfinite(output.waveform).all())


def test_reconstruction_has_the_length_of_its_input() -> None:
    waveform = tiny().eval().reconstruct(torch.rand(2, 33, 6), torch.tensor([0, 0]))
    assert waveform.shape == (2, 6 * 256)


def test_segments_start_inside_every_utterance() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([4, 5, 30, 2])
    starts = torch.stack([random_starts(lengths, 4) for _ in range(200)])
    assert starts.max(dim=0).values.tolist() == [0, 1, 26, 0]
    sequence = torch.arange(12.0).view(1, 1, 12)
    assert segments(sequence, torch.tensor([3]), 4).flatten().tolist() == [3, 4, 5, 6]


def test_flows_begin_as_the_identity() -> None:
    latent = torch.randn(1, 8, 5)
    model = new_model(VitsConfig(**TINY))
    flowed = model.flow(latent, torch.ones(1, 1, 5))
    assert torch.allclose(flowed, latent)  # two flips put the channels back


def test_pretrained_weights_come_back_as_float32(tmp_path: Path) -> None:
    model = tiny().vits
    model.half().save_pretrained(tmp_path)
    again = load_pretrained(tmp_path)
    assert isinstance(again, VitsModel)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    name = "decoder.conv_pre.weight"
    assert torch.equal(again.state_dict()[name], model.state_dict()[name].float())


def test_a_directory_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe.vits.pretrained: .* has no config.json; name"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vits"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="can't be loaded"):
        load_pretrained(tmp_path)
