"""A sentence by an exported voice-cloning model, in the voice of a reference: codes drawn row by row, and a codec.

The same codec encodes the reference and decodes what is said: the one in the export (`models.encoders.FOLDER`), or
one that is named. Shapes: Q books, F frames, T samples.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from torch import Tensor
from torch.nn import functional

from speech_trainer.audio.resampling import resample
from speech_trainer.data.codes import FIELD, facts_of, read_codes, reference_of
from speech_trainer.data.manifest import Manifest, Utterance, read_manifest
from speech_trainer.data.samples import check_finite_and_audible, decode
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.models.backbone import Backbone, Spoken
from speech_trainer.models.encoders import FOLDER, CodecEncoder, load_encoder
from speech_trainer.models.sampling import Sampling, generate
from speech_trainer.models.tokens import load_tokens
from speech_trainer.speaking.request import Request, Said

LINE: Final = re.compile(r"(?P<manifest>.+\.jsonl):(?P<line>\d+)")
NOBODY: Final = "no reference was given: the voice is invented, and another seed has another one"


def speaker_of(kind: type[Backbone]) -> Callable[[Path, Request], Said]:
    """How this backbone is asked to speak."""
    return functools.partial(_speak, kind)


def _speak(kind: type[Backbone], export: Path, request: Request) -> Said:
    """Raises: ConfigError, DataError, SampleError."""
    if request.speaker:
        raise ConfigError(
            f"speaker: {request.speaker} is for VITS; a cloned voice takes a reference: leave it out"
        )
    _check_reference(request)
    codec = _codec(export, request)
    tokens, grid = load_tokens(export, kind.markers), kind.grid_of(export)
    if (codec.facts.codebooks, codec.facts.codebook_size) != (grid.books, grid.codes):
        raise ConfigError(
            f"codec: it has {codec.facts.codebooks} books of {codec.facts.codebook_size}, the voice {grid.books} of "
            f"{grid.codes}; name the codec that wrote the codes of its training data"
        )
    reference, notes = _reference(request, codec)
    prompt = kind.prompt(tokens, grid, request.text, reference, None)
    frames = max(1, int(request.max_seconds * codec.facts.frame_rate))
    how = Sampling(frames, request.temperature, request.top_k, request.top_p, request.seed)
    found = generate(kind.load(export).to(request.device).eval(), prompt, how)
    return Said(codec.decode(found.codes), codec.facts.sample_rate, found.ended, notes)


def _codec(export: Path, request: Request) -> CodecEncoder:
    folder = request.codec or export / FOLDER
    if request.codec is None and not folder.is_dir():
        raise ConfigError(
            f"codec: none is in {str(export)!r}; name the one that wrote the codes with --codec, or train with "
            "recipe.voiceCloning.codec, which puts it into the export"
        )
    return load_encoder(folder, request.device)


# -- the reference -------------------------------------------------------------------------------------------------


def _check_reference(request: Request) -> None:
    """What can be told before anything is loaded."""
    if request.reference_text and not request.reference:
        raise ConfigError(
            f"reference-text: {request.reference_text!r} belongs to a reference; name its recording with --reference"
        )
    if not request.reference or LINE.fullmatch(request.reference):
        return
    if request.reference.endswith(".jsonl"):
        raise ConfigError(
            f"reference: {request.reference!r} is a manifest; name a line of it, as {request.reference}:1"
        )
    if not request.reference_text.strip():
        raise ConfigError(
            f"reference-text: is missing; write what is said in {request.reference!r}: the voice was trained on "
            "recordings together with their text"
        )


def _reference(request: Request, codec: CodecEncoder) -> tuple[Spoken | None, tuple[str, ...]]:
    """Words and codes of whom is to be heard, and what to tell about them."""
    named = LINE.fullmatch(request.reference)
    if named:
        manifest = read_manifest(Path(named["manifest"]), needs_text=not request.reference_text)
        utterance = _line(manifest, int(named["line"]))
        text = request.reference_text or utterance.text
        if _wrote(codec, manifest, utterance):
            return Spoken(text, read_codes(manifest, utterance)), ()
        codes, notes = _encoded(manifest.audio_path(utterance), codec)
        return Spoken(text, codes), notes
    if request.reference:
        codes, notes = _encoded(Path(request.reference), codec)
        return Spoken(request.reference_text, codes), notes
    return None, (NOBODY,)


def _line(manifest: Manifest, number: int) -> Utterance:
    for utterance in manifest.utterances:
        if utterance.line == number:
            return utterance
    lines = [utterance.line for utterance in manifest.utterances]
    raise DataError(
        f"reference: {str(manifest.path)!r} has no line {number}; its lines are {min(lines)} to {max(lines)}"
    )


def _wrote(codec: CodecEncoder, manifest: Manifest, utterance: Utterance) -> bool:
    """Whether the codes of a line are there, and of this codec."""
    if FIELD not in utterance.extra:
        return False
    facts = facts_of(manifest.path.parent / reference_of(utterance).file)
    return facts is not None and facts.digest == codec.facts.digest


def _encoded(path: Path, codec: CodecEncoder) -> tuple[Tensor, tuple[str, ...]]:
    """Codes [Q, F] of an audio file, as `data encode` makes them."""
    waveform, rate = decode(path)
    check_finite_and_audible(waveform, path)
    wanted = codec.facts.sample_rate
    notes = () if rate == wanted else (f"{path} was resampled from {rate} to {wanted} Hz",)
    waveform = resample(waveform, rate, wanted)
    padded = functional.pad(waveform, (0, -waveform.numel() % codec.facts.hop))
    return codec(padded[None, None])[0], notes
