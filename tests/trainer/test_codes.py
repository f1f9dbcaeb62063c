"""Reading codes back: whole, in their codebook, as long as the recording; anything else is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from speech_contract import codec
from speech_trainer.data import shards
from speech_trainer.data.codes import FIELD, CodecFacts, codec_of, facts_of, read_codes
from speech_trainer.data.errors import BadCodes
from speech_trainer.data.manifest import Manifest, Utterance

FACTS = CodecFacts("dac", "0" * 64, codebooks=2, codebook_size=64, sample_rate=16000, hop=320)
CODES = torch.arange(100).reshape(2, 50) % 64
SHARD = shards.Shard(0, ())


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """One utterance of a second, with its codes in a shard."""
    (tmp_path / shards.FOLDER).mkdir()
    shards.write(tmp_path, SHARD, FACTS, {1: CODES}, [])
    part = shards.finished(tmp_path, SHARD, FACTS)
    assert part is not None
    extra = {FIELD: codec.to_document(part.codes["1"])}
    return Manifest(tmp_path / "a.jsonl", (Utterance("a.wav", 1.0, extra=extra),))


def changed(manifest: Manifest, **fields: Any) -> Utterance:
    (one,) = manifest.utterances
    return dataclasses.replace(one, extra={FIELD: {**one.extra[FIELD], **fields}})


def test_what_was_written_is_read(manifest: Manifest) -> None:
    assert torch.equal(read_codes(manifest, manifest.utterances[0]), CODES)


def test_a_shard_says_which_codec_it_is_of(manifest: Manifest) -> None:
    path = shards.path_of(manifest.path.parent, SHARD)
    assert facts_of(path) == FACTS
    assert facts_of(manifest.path) is None
    other = dataclasses.replace(FACTS, digest="1" * 64)
    assert shards.finished(manifest.path.parent, SHARD, other) is None


def test_the_codec_of_a_manifest_is_that_of_the_first_line_whose_codes_are_there(
    manifest: Manifest,
) -> None:
    bare, lost = Utterance("b.wav", 1.0), changed(manifest, file="codes/none.safetensors")
    mixed = dataclasses.replace(manifest, utterances=(bare, lost, *manifest.utterances))
    assert codec_of(mixed) == FACTS
    assert codec_of(dataclasses.replace(manifest, utterances=(bare, lost))) is None


def test_codes_of_another_codec_are_refused(manifest: Manifest) -> None:
    (one,) = manifest.utterances
    assert torch.equal(read_codes(manifest, one, FACTS), CODES)
    other = dataclasses.replace(FACTS, digest="1" * 64)
    with pytest.raises(BadCodes, match=r"by another codec: dac 00000000.* by dac 11111111"):
        read_codes(manifest, one, other)


def test_large_codebooks_are_stored_wider() -> None:
    assert FACTS.dtype is torch.int16
    assert dataclasses.replace(FACTS, codebook_size=1 << 16).dtype is torch.int32


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"file": "codes/none.safetensors"}, "does not exist"),
        ({"key": "2"}, "can't be read"),
        ({"sha256": "0" * 64}, "is not what codes/00000.safetensors was written with"),
        ({"frames": 49}, "is not what codes/00000.safetensors was written with"),
        ({"frames": "50"}, "is no int"),
        ({"color": "red"}, "is an unknown field"),
    ],
)
def test_a_reference_that_does_not_hold_is_named(
    manifest: Manifest, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadCodes, match=r"data encode|beside it") as caught:
        read_codes(manifest, changed(manifest, **fields))
    assert words in str(caught.value)


def test_a_line_without_codes_is_named(manifest: Manifest) -> None:
    with pytest.raises(BadCodes, match="codes: None is missing"):
        read_codes(manifest, Utterance("a.wav", 1.0))


@pytest.mark.parametrize("duration", [0.5, 2.0])
def test_codes_of_another_length_than_the_recording_are_refused(
    manifest: Manifest, duration: float
) -> None:
    one = dataclasses.replace(manifest.utterances[0], duration=duration)
    with pytest.raises(BadCodes, match="has 50 frames for"):
        read_codes(manifest, one)


@pytest.mark.parametrize(
    ("stored", "facts", "words"),
    [
        (CODES.float(), FACTS, "holds torch.float32, no codes"),
        (CODES, dataclasses.replace(FACTS, codebook_size=32), "outside of 0 to 31"),
        (CODES[:1], FACTS, "not [2, frames]"),
        (CODES, None, "can't be read"),
    ],
)
def test_a_shard_of_something_else_is_named(
    manifest: Manifest, stored: torch.Tensor, facts: CodecFacts | None, words: str
) -> None:
    path = shards.path_of(manifest.path.parent, SHARD)
    save_file({"1": stored}, path, {"codec": codec.dumps(facts)} if facts else None)
    with pytest.raises(BadCodes) as caught:
        read_codes(manifest, manifest.utterances[0])
    assert words in str(caught.value)
