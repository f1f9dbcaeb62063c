"""Codes of recordings: what a line of a manifest says of them, how they lie in shards, and how they are read back.

    {"audio_filepath": "…", "duration": 1.36, "codes": {"file": "codes/00003.safetensors", "key": "17", "frames": 68,
     "sha256": "…"}}

`file` is relative to the manifest; in it lies one tensor [Q, F] for each `key`, of int16 where that holds all codes,
and in its header, as JSON under `codec`, which codec made them. Written by `data.shards`; `read_codes` is for recipes
that train on codes. Shapes: B batch, T samples, Q codebooks, F frames.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from speech_contract import codec
from speech_contract.errors import ContractError
from speech_trainer.audio.files import open_regular
from speech_trainer.data.checks import DURATION_TOLERANCE
from speech_trainer.data.errors import BadCodes
from speech_trainer.data.manifest import Manifest, Utterance

FIELD: Final = "codes"
METADATA: Final = "codec"  # in the header of a shard
_AGAIN: Final = "write the codes anew: `speechtrain data encode`"
_DTYPES: Final = (torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True)
class CodecFacts:
    """Which codec, as far as codes depend on it. `digest`: SHA-256 of its weights."""

    kind: str  # model_type of its config.json
    digest: str
    codebooks: int
    codebook_size: int
    sample_rate: int  # Hz
    hop: int  # samples a frame

    def __str__(self) -> str:
        """In a sentence."""
        books = f"{self.codebooks} books of {self.codebook_size}"
        return f"{self.kind} {self.digest[:8]} ({books}, {self.frame_rate:g} frames a second)"

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    @property
    def dtype(self) -> torch.dtype:
        """The smallest that all codes fit."""
        return torch.int16 if self.codebook_size <= 1 << 15 else torch.int32


class Encoder(Protocol):
    """A codec that is asked for codes."""

    facts: CodecFacts

    def __call__(self, waveforms: Tensor) -> Tensor:
        """Waveforms [B, 1, T], T a multiple of the hop → codes [B, Q, F] on the host."""


@dataclass(frozen=True)
class CodesReference:
    """Where the codes of one utterance lie. `sha256`: of the codes, see `digest_of`."""

    file: str
    key: str
    frames: int
    sha256: str


def reference_of(utterance: Utterance) -> CodesReference:
    """What the line says of its codes. Raises: BadCodes when it says nothing, or something else."""
    found = utterance.extra.get(FIELD)
    if found is None:
        raise BadCodes(FIELD, None, "is missing", _AGAIN)
    try:
        return codec.from_document(CodesReference, found, FIELD)
    except ContractError as error:
        raise BadCodes(error.field, error.value, error.rule, _AGAIN) from error


def read_codes(
    manifest: Manifest, utterance: Utterance, made_by: CodecFacts | None = None
) -> Tensor:
    """Codes [Q, F], int64, of one utterance of `manifest`; `made_by`: the codec of all other codes of a run.

    Raises: BadCodes when they are not there or not whole (digest), out of their codebook, of another length than the
    recording, or another codec's: the same number is another sound there. Keeps no file open, so that any thread may
    call it.
    """
    reference = reference_of(utterance)
    codes, facts = _stored(manifest.path.parent / reference.file, reference)
    if made_by is not None and facts != made_by:
        rule = f"was made by another codec: {facts}, the first recordings by {made_by}"
        raise BadCodes(
            f"{FIELD}.file", reference.file, rule, "encode all recordings with one codec"
        )
    check_codes(codes, facts, utterance)
    if codes.size(1) != reference.frames or digest_of(codes) != reference.sha256:
        raise BadCodes(
            FIELD, reference.key, f"is not what {reference.file} was written with", _AGAIN
        )
    return codes


def check_codes(codes: Tensor, facts: CodecFacts, utterance: Utterance) -> None:
    """Raises: BadCodes for codes [Q, F] that the codec has not, or as many frames as the recording has not."""
    name = utterance.audio_filepath
    if codes.dim() != 2 or codes.size(0) != facts.codebooks:
        rule = f"has codes of shape {list(codes.shape)}, not [{facts.codebooks}, frames]"
        raise BadCodes(FIELD, name, rule, _AGAIN)
    lowest, highest = (int(codes.min()), int(codes.max())) if codes.numel() else (0, 0)
    if lowest < 0 or highest >= facts.codebook_size:
        rule = f"has codes from {lowest} to {highest}, outside of 0 to {facts.codebook_size - 1}"
        raise BadCodes(FIELD, name, rule, "look whether codec and config.json belong together")
    expected = utterance.duration * facts.frame_rate
    if abs(codes.size(1) - expected) > 1.0 + DURATION_TOLERANCE * expected:
        rule = f"has {codes.size(1)} frames for {utterance.duration:g} s, not about {expected:.0f}"
        raise BadCodes(
            FIELD, name, rule, "look whether the duration is that of the file, and encode it anew"
        )


def digest_of(codes: Tensor) -> str:
    """SHA-256 of codes [Q, F] as rows of little-endian int32, whatever they are stored as."""
    return hashlib.sha256(
        codes.to(torch.int32).contiguous().numpy().astype("<i4").tobytes()
    ).hexdigest()


def codec_of(manifest: Manifest) -> CodecFacts | None:
    """The codec of the first line whose shard is whole; None when there is none."""
    for utterance in manifest.utterances:
        try:
            found = facts_of(manifest.path.parent / reference_of(utterance).file)
        except BadCodes:
            continue
        if found is not None:
            return found
    return None


def facts_of(path: Path) -> CodecFacts | None:
    """Which codec wrote a shard; None when it is no shard of ours, or not whole."""
    try:
        with open_regular(path), safe_open(path, "pt") as shard:
            return _facts(shard)
    except (OSError, SafetensorError, ValueError):
        return None


def _stored(path: Path, reference: CodesReference) -> tuple[Tensor, CodecFacts]:
    try:
        with open_regular(path), safe_open(path, "pt") as shard:
            codes, facts = shard.get_tensor(reference.key), _facts(shard)
    except FileNotFoundError as error:
        remedy = "paths are relative to the manifest: keep its shards beside it, or encode anew"
        raise BadCodes(f"{FIELD}.file", str(path), "does not exist", remedy) from error
    except (OSError, SafetensorError, ValueError) as error:
        raise BadCodes(f"{FIELD}.file", str(path), f"can't be read ({error})", _AGAIN) from error
    if codes.dtype not in _DTYPES:
        raise BadCodes(f"{FIELD}.file", str(path), f"holds {codes.dtype}, no codes", _AGAIN)
    return codes.long(), facts


def _facts(shard: Any) -> CodecFacts:
    """Raises: ValueError when the header names no codec."""
    return codec.loads(CodecFacts, (shard.metadata() or {}).get(METADATA, json.dumps(None)))
