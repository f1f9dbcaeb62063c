"""Audio files, spectrograms, resampling and distances."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_trainer.audio.distance import (
    constant_distance,
    dtw_mel,
    length_ratio,
    median_frame,
)
from speech_trainer.audio.files import read_audio, read_info, write_wav
from speech_trainer.audio.resampling import resample
from speech_trainer.audio.spectrograms import LOG_FLOOR, Spectrograms, SpectrogramSettings
from speech_trainer.data.checks import digest
from speech_trainer.data.codes import facts_of

SETTINGS = SpectrogramSettings(sample_rate=22050)


def noise(size: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_a_written_file_reads_back(tmp_path: Path) -> None:
    waveform = noise(1000)
    write_wav(tmp_path / "a.wav", waveform, 16000)
    again, rate = read_audio(tmp_path / "a.wav")
    assert rate == 16000
    assert torch.allclose(again, waveform, atol=1 / 32768)
    info = read_info(tmp_path / "a.wav")
    assert (info.num_samples, info.channels, info.seconds) == (1000, 1, 1000 / 16000)


@pytest.mark.parametrize("read", [read_info, read_audio, digest, facts_of])
def test_a_pipe_in_a_manifest_is_an_error_and_never_a_wait(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "a.wav")
    if read is facts_of:  # asks whether it is a shard at all
        assert read(tmp_path / "a.wav") is None
        return
    with pytest.raises(OSError, match="is no regular file"):
        read(tmp_path / "a.wav")


def test_stereo_becomes_the_mean_of_its_channels(tmp_path: Path) -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    soundfile.write(tmp_path / "s.wav", stereo, 8000, subtype="FLOAT")
    waveform, _ = read_audio(tmp_path / "s.wav")
    assert waveform.shape == (100,)
    assert torch.allclose(waveform, torch.full((100,), 0.125))


def test_loud_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", torch.tensor([3.0, -3.0]), 8000)
    assert read_audio(tmp_path / "a.wav")[0].tolist() == pytest.approx([1.0, -1.0], abs=1e-3)


def test_spectrogram_has_one_frame_per_hop() -> None:
    spectrograms = Spectrograms(SETTINGS)
    linear = spectrograms.linear(torch.stack([noise(256 * 20), noise(256 * 20, 1)]))
    assert linear.shape == (2, 513, 20)
    assert spectrograms.log_mel(linear).shape == (2, 80, 20)


def test_digital_silence_has_a_finite_gradient() -> None:
    waveform = torch.zeros(1, 256 * 8, requires_grad=True)
    mel = Spectrograms(SETTINGS)(waveform)
    mel.sum().backward()
    assert waveform.grad is not None
    assert bool(torch.isfinite(waveform.grad).all())
    assert float(mel.detach().min()) >= np.log(LOG_FLOOR) - 1e-4


def test_spectrograms_hold_no_parameters() -> None:
    assert list(Spectrograms(SETTINGS).parameters()) == []


def test_spectrograms_stay_in_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Spectrograms(SETTINGS)(noise(256 * 8).unsqueeze(0)).dtype == torch.float32


def test_resample_keeps_duration_and_does_nothing_at_the_same_rate() -> None:
    waveform = noise(2205)
    assert resample(waveform, 22050, 16000).numel() == 1600
    assert resample(waveform, 22050, 22050) is waveform


def brute_dtw(x: np.ndarray, y: np.ndarray) -> float:
    """Least total cost over all paths, the plain way."""
    costs = np.abs(x[:, :, None] - y[:, None, :]).mean(axis=0)
    total = np.full((costs.shape[0] + 1, costs.shape[1] + 1), np.inf)
    total[0, 0] = 0.0
    for i, j in itertools.product(range(costs.shape[0]), range(costs.shape[1])):
        total[i + 1, j + 1] = costs[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    return float(total[-1, -1])


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31))
def test_dtw_finds_the_cheapest_path(first: int, second: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(3, first)), rng.normal(size=(3, second))
    total = brute_dtw(x, y)
    distance = dtw_mel(torch.from_numpy(x), torch.from_numpy(y))
    lengths = range(max(first, second), first + second)
    assert any(distance == pytest.approx(total / length) for length in lengths)


def test_dtw_forgives_tempo_but_not_other_sounds() -> None:
    mel = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    assert dtw_mel(mel, mel) == 0.0
    assert dtw_mel(mel.repeat_interleave(2, dim=1), mel) == pytest.approx(0.0)
    assert dtw_mel(mel.flip(1), mel) > 0.5


def test_median_frame_is_the_best_constant_guess() -> None:
    mels = [torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[0.0, 1.0]])]
    frame = median_frame(mels)
    assert frame.tolist() == [0.0]
    assert constant_distance(frame, mels[0]) == 3.0


def test_length_ratio() -> None:
    assert length_ratio(torch.zeros(2, 9), torch.zeros(2, 10)) == 0.9
