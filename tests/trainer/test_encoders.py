"""Codecs as encoders: codes are those of transformers, padding is seen to change them, and half a codec is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_tokenizer import HOP, save_tokenizer
from torch import Tensor
from transformers import DacConfig, DacModel

from speech_trainer.audio.files import read_audio, write_wav
from speech_trainer.data.batches import Batches
from speech_trainer.data.codes import read_codes
from speech_trainer.data.encode import EncodeOptions, encode
from speech_trainer.data.manifest import Utterance, read_manifest, write_manifest
from speech_trainer.errors import ConfigError
from speech_trainer.models.encoders import device_of, load_encoder

pytestmark = pytest.mark.usefixtures("seeded")
CPU = torch.device("cpu")


@pytest.fixture
def dac(tmp_path: Path) -> Path:
    config = DacConfig(
        encoder_hidden_size=4, downsampling_ratios=[2, 4], decoder_hidden_size=16, n_codebooks=3, codebook_size=16
    )  # fmt: skip
    DacModel(config).save_pretrained(tmp_path / "dac")
    return tmp_path / "dac"


@pytest.fixture
def higgs(tmp_path: Path) -> Path:
    return save_tokenizer(tmp_path / "higgs")


def speech(frames: int, clips: int = 1) -> Tensor:
    return 0.3 * torch.randn(clips, 1, frames * HOP)


def test_a_dac_gives_the_codes_of_transformers_and_says_what_it_is(dac: Path) -> None:
    encoder = load_encoder(dac, CPU)
    waveforms = speech(2, clips=2)
    with torch.no_grad():
        theirs = DacModel.from_pretrained(dac).eval().encode(waveforms).audio_codes
    assert torch.equal(encoder(waveforms), theirs)
    weights = (dac / "model.safetensors").read_bytes()
    facts = encoder.facts
    assert facts.digest == hashlib.sha256(weights).hexdigest()
    assert (facts.kind, facts.codebooks, facts.codebook_size) == ("dac", 3, 16)
    assert (facts.sample_rate, facts.hop, facts.frame_rate) == (16000, 8, 2000.0)


def test_the_higgs_tokenizer_gives_its_codes_and_zeros_behind_a_clip_change_them(
    higgs: Path,
) -> None:
    encoder = load_encoder(higgs, CPU)
    assert (encoder.facts.codebooks, encoder.facts.codebook_size) == (2, 16)
    assert (encoder.facts.hop, encoder.facts.frame_rate) == (HOP, 25.0)
    clip = speech(20)
    alone = encoder(clip)
    assert list(alone.shape) == [1, 2, 20]
    assert alone.unique().numel() > 4
    padded = encoder(torch.nn.functional.pad(clip, (0, 20 * HOP)))
    assert not torch.equal(padded[..., :20], alone)


def test_clips_of_one_length_have_the_same_codes_together_as_alone(higgs: Path) -> None:
    encoder = load_encoder(higgs, CPU)
    clips = {key: speech(20 + key // 3).reshape(-1) for key in range(6)}
    batches = Batches(encoder, seconds=10.0)
    together = batches.encode(clips)
    assert batches.one_by_one is False
    for key, clip in clips.items():
        assert torch.equal(together[key], encoder(clip.reshape(1, 1, -1))[0])


def test_a_folder_of_clips_is_encoded_by_two_ranks_as_each_clip_alone(
    higgs: Path, tmp_path: Path
) -> None:
    """Three lengths, two of them shared; of which the shortest is a fifth of a second."""
    encoder = load_encoder(higgs, CPU)
    clips = {
        f"{n}.wav": speech(frames).reshape(-1) for n, frames in enumerate((5, 20, 20, 20, 9, 9))
    }
    for name, clip in clips.items():
        write_wav(tmp_path / name, clip, 24000)
    lines = [Utterance(name, clip.numel() / 24000, "a") for name, clip in clips.items()]
    write_manifest(tmp_path / "train.jsonl", lines)
    reports = [
        encode(tmp_path / "train.jsonl", tmp_path / "out", encoder, EncodeOptions(rank, 2, 1.0))
        for rank in (0, 1)
    ]
    assert reports[1].manifest is not None
    assert reports[1].one_by_one is False
    found = read_manifest(reports[1].manifest)
    for utterance in found.utterances:
        clip, _ = read_audio(found.audio_path(utterance))
        alone = encoder(clip.reshape(1, 1, -1))[0]
        assert torch.equal(read_codes(found, utterance), alone)


def test_several_files_of_weights_have_one_digest(dac: Path) -> None:
    whole = load_encoder(dac, CPU).facts.digest
    DacModel.from_pretrained(dac).save_pretrained(dac, max_shard_size="20KB")
    (dac / "model.safetensors").unlink()
    assert len(list(dac.glob("*.safetensors"))) > 1
    assert load_encoder(dac, CPU).facts.digest != whole


def test_weights_that_are_missing_are_never_made_up(dac: Path) -> None:
    weights = load_file(dac / "model.safetensors")
    del weights["quantizer.quantizers.1.codebook.weight"]
    save_file(weights, dac / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights, quantizer\.quantizers\.1\.codebook"):
        load_encoder(dac, CPU)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("empty", "can't be read"),
        ("config", "can't be read"),
        ("kind", "is of model_type 'hubert'; known are dac and higgs_audio_v2_tokenizer"),
        ("weights", "can't be loaded"),
        ("none", "can't be loaded"),
    ],
)
def test_what_is_no_codec_is_named(dac: Path, tmp_path: Path, spoil: str, words: str) -> None:
    if spoil == "config":
        (dac / "config.json").write_text("[]", encoding="utf-8")
    if spoil == "kind":
        (dac / "config.json").write_text(json.dumps({"model_type": "hubert"}), encoding="utf-8")
    if spoil == "weights":
        (dac / "model.safetensors").write_bytes(b"half")
    if spoil == "none":
        (dac / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"^codec: ") as caught:
        load_encoder(tmp_path if spoil == "empty" else dac, CPU)
    assert words in str(caught.value)


def test_a_device_that_is_not_there_is_named() -> None:
    assert device_of("auto", {}).type in ("cpu", "cuda")
    assert device_of("cpu", {}) == CPU
    with pytest.raises(ConfigError, match=r"^device: 'tpux' is not there"):
        device_of("tpux", {})
