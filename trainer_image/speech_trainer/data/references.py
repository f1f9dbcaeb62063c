"""Whom a line is spoken like: `ref_audio` names the audio of another line of the same manifest, relative to it.

That line's text and codes are the reference. Given by `data.pairs` and `data.higgs`; read by `recipes.voice_cloning`.
Whoever writes a manifest into another folder (`data.encode`, `data.prepare`) takes the names along.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from speech_trainer.data.codes import FIELD
from speech_trainer.data.manifest import Manifest, Utterance
from speech_trainer.errors import DataError

REF_AUDIO: Final = "ref_audio"


def references(manifest: Manifest) -> tuple[Utterance | None, ...]:
    """The line that each line names, or None. Raises: DataError for a name that is no line's audio."""
    by_audio = {manifest.audio_path(u).resolve(): u for u in manifest.utterances}
    return tuple(_reference(manifest, u, by_audio) for u in manifest.utterances)


def named_by(manifest: Manifest, utterance: Utterance) -> Path | None:
    """Where the audio lies that a line names; None where it names none."""
    name = utterance.extra.get(REF_AUDIO)
    return (manifest.path.parent / str(name)).resolve() if name else None


def with_reference(utterance: Utterance, audio: str | None) -> Utterance:
    """The line, naming this audio; None: naming none."""
    extra = {key: value for key, value in utterance.extra.items() if key != REF_AUDIO}
    return dataclasses.replace(
        utterance, extra=extra if audio is None else {**extra, REF_AUDIO: audio}
    )


def moved(manifest: Manifest, home: Path) -> Iterator[Utterance]:
    """Every line with its paths (audio, reference, codes) relative to the folder `home`."""
    start = manifest.path.parent
    if start.resolve() == home.resolve():
        yield from manifest.utterances
        return
    for utterance in manifest.utterances:
        extra: dict[str, Any] = dict(utterance.extra)
        if extra.get(REF_AUDIO):
            extra[REF_AUDIO] = _from(home, start / str(extra[REF_AUDIO]))
        codes = extra.get(FIELD)
        if isinstance(codes, Mapping) and "file" in codes:
            extra[FIELD] = {**codes, "file": _from(home, start / str(codes["file"]))}
        audio = _from(home, start / utterance.audio_filepath)
        yield dataclasses.replace(utterance, audio_filepath=audio, extra=extra)


def _from(home: Path, path: Path) -> str:
    return os.path.relpath(path.resolve(), home.resolve())


def _reference(
    manifest: Manifest, utterance: Utterance, by_audio: Mapping[Path, Utterance]
) -> Utterance | None:
    named = named_by(manifest, utterance)
    if named is None:
        return None
    found = by_audio.get(named)
    if found is None:
        raise DataError(
            f"{manifest.path}, line {utterance.line}, {REF_AUDIO}: {utterance.extra[REF_AUDIO]!r} is the audio of no "
            "other line here; name one that is (`speechtrain data pair` does): its text and its codes are the reference"
        )
    return found
