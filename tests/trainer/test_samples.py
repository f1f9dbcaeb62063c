"""Loading one sample: each way it can fail has its own type and reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speech_contract.metrics import SKIP_REASONS
from speech_trainer.audio.files import write_wav
from speech_trainer.data import errors, samples
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.data.samples import SampleLimits, load_sample

LIMITS = SampleLimits(sample_rate=16000, hop_length=256, min_samples=1024, max_seconds=2.0)
TEXT = [1, 2, 3]


def load(folder: Path, tokens: list[int] | None = None) -> torch.Tensor:
    utterance = Utterance("a.wav", 1.0, "abc")
    manifest = Manifest(folder / "m.jsonl", (utterance,))
    encode = lambda _: TEXT if tokens is None else tokens  # noqa: E731
    return load_sample(manifest, utterance, encode, LIMITS).waveform


def write(folder: Path, seconds: float, rate: int = 16000, level: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(0)
    write_wav(folder / "a.wav", level * torch.randn(int(seconds * rate), generator=generator), rate)


def test_a_good_sample_is_resampled_to_the_recipe_s_rate(tmp_path: Path) -> None:
    write(tmp_path, 1.0, rate=8000)
    assert load(tmp_path).numel() == 16000


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(errors.MissingFile, match="paths are relative to the manifest"):
        load(tmp_path)


def test_corrupt_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF....WAVEgarbage")
    with pytest.raises(errors.DecodeError, match="replace it by a whole file"):
        load(tmp_path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()
    with pytest.raises(errors.OtherSampleError, match="check the file"):
        load(tmp_path)


def test_empty_text(tmp_path: Path) -> None:
    write(tmp_path, 1.0)
    with pytest.raises(errors.EmptyText, match="write what is spoken"):
        load(tmp_path, tokens=[])


def test_nan_samples(tmp_path: Path) -> None:
    samples = np.full(16000, np.nan, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(errors.NonFiniteAudio, match="holds NaN or Inf"):
        load(tmp_path)


@pytest.mark.parametrize(("seconds", "level"), [(1.0, 0.0), (1.0, 1e-4), (0.0, 0.1)])
def test_silence(tmp_path: Path, seconds: float, level: float) -> None:
    write(tmp_path, seconds, level=level)
    with pytest.raises(errors.Silent, match="below -60 dB"):
        load(tmp_path)


def test_too_long(tmp_path: Path) -> None:
    write(tmp_path, 2.1)
    with pytest.raises(errors.TooLong, match="longer than 2 s"):
        load(tmp_path)


@pytest.mark.parametrize(("seconds", "tokens"), [(0.05, 1), (0.5, 40)])
def test_too_short_for_its_text(tmp_path: Path, seconds: float, tokens: int) -> None:
    write(tmp_path, seconds)
    with pytest.raises(errors.TooShort, match="check that text and audio belong"):
        load(tmp_path, tokens=[1] * tokens)


def test_reasons_are_the_contract_s() -> None:
    kinds = errors.SampleError.__subclasses__()
    assert {kind.reason for kind in kinds} == set(SKIP_REASONS)


def test_audio_alone_is_loaded_whatever_the_text(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m.jsonl", (Utterance("a.wav", 1.0),))
    write(tmp_path, 1.0)
    sample = load_sample(manifest, manifest.utterances[0], None, LIMITS)
    assert (sample.waveform.numel(), sample.tokens) == (16000, [])
    write(tmp_path, 0.05)
    with pytest.raises(errors.TooShort, match=r"is shorter than 0\.064 s; leave it out"):
        load_sample(manifest, manifest.utterances[0], None, LIMITS)


@pytest.mark.parametrize(
    ("size", "count", "first"),
    [(6, 3, [0, 2, 4]), (7, 3, [0, 2, 4]), (3, 8, [0, 1, 2]), (0, 4, [])],
)
def test_a_few_samples_come_from_all_over_a_manifest(
    size: int, count: int, first: list[int]
) -> None:
    order = list(samples.spread(size, count))
    assert order[: len(first)] == first
    assert sorted(order) == list(range(size))


def test_another_one_takes_the_place_of_a_bad_sample() -> None:
    def load(index: int) -> int:
        if index == 2:
            raise errors.Silent("audio_filepath", "two.wav", "is silent", "record it again")
        return index

    assert samples.usable(6, 3, load) == [0, 4, 1]
