"""Synthesized speech to try everything with: manifests and WAV files in four languages. `data synthesize`.

Formant speech of espeak-ng: good for plumbing, learnability and regressions, not for claims of quality.
The same plan gives the same files, bit for bit.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch

from speech_contract.errors import nearest
from speech_trainer.audio.files import write_wav
from speech_trainer.data.checks import digest
from speech_trainer.data.espeak import Espeak, Speech, SpeechRequest
from speech_trainer.data.manifest import Utterance, write_manifest
from speech_trainer.data.words import WORDS
from speech_trainer.errors import DataError

ESPEAK_VOICES: Final = {"te": "te", "hi": "hi", "en": "en-us", "de": "de"}
# Of eSpeak's own; "" is the language's own voice. High among low ones, so that a few speakers sound unlike each other.
VARIANTS: Final = (
    "", "f3", "m7", "f2", "m3", "f5", "m1", "f4", "m8", "f1", "m2", "m5", "Annie", "m4", "m6", "aunty", "Alex",
    "adam", "belinda", "Denis", "Gene", "caleb", "Lee", "Mario", "grandma", "Michael", "Reed", "linda",
    "benjamin", "boris", "shelby", "david", "ed", "steph", "edward", "ian", "Nguyen", "john", "max", "Alicia",
    "michel", "norbert", "anika", "paul", "quincy", "Andrea", "robert", "victor",
)  # fmt: skip
TRAIN: Final = "train.jsonl"
VALIDATION: Final = "validation.jsonl"


class Speaker(Protocol):
    """What speaks: `Espeak`, or a double in tests."""

    def say(self, request: SpeechRequest) -> Speech: ...


@dataclass(frozen=True)
class SynthesisPlan:
    """What to speak. `utterances` and `validation` are numbers per speaker."""

    languages: tuple[str, ...] = ("te",)
    speakers: int = 1  # per language
    utterances: int = 144
    validation: int = 16
    min_words: int = 2
    max_words: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for language in self.languages:
            if language not in WORDS:
                guess = nearest(language, WORDS)
                remedy = f"did you mean {guess}?" if guess else f"use {', '.join(WORDS)}"
                raise DataError(f"languages: {language!r} is not available; {remedy}")
        _check_range("languages", len(self.languages), 1, len(WORDS))
        _check_range("speakers", self.speakers, 1, len(VARIANTS))
        _check_range("utterances", self.utterances, 1, 100_000)
        _check_range("validation", self.validation, 0, 100_000)
        _check_range("minWords", self.min_words, 1, self.max_words)
        _check_range("maxWords", self.max_words, self.min_words, 12)


@dataclass(frozen=True)
class SynthesisReport:
    """What was written."""

    train: Path
    validation: Path | None
    utterances: int
    seconds: float


@dataclass(frozen=True)
class _Line:
    """One sentence to speak, and where it belongs."""

    language: str
    speaker: str
    voice: str
    number: int
    text: str
    held_out: bool


def synthesize(
    plan: SynthesisPlan,
    folder: Path,
    speaker: Speaker | None = None,
    on_utterance: Callable[[int, int], None] = lambda done, total: None,
) -> SynthesisReport:
    """Write `train.jsonl`, `validation.jsonl` and `wavs/` into `folder`.

    No sentence of the validation set is in the training set. `on_utterance(done, total)` shows progress.
    Raises: DataError when espeak-ng can't speak; OSError when the folder can't be written.
    """
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    if speaker is not None:
        return _write(plan, folder, speaker, on_utterance)
    with Espeak() as espeak:
        return _write(plan, folder, espeak, on_utterance)


def sentences(language: str, count: int, plan: SynthesisPlan, rng: random.Random) -> list[str]:
    """`count` different sentences of the language. Raises: DataError when its words don't suffice."""
    found: dict[str, None] = {}
    for _ in range(100 * count):
        if len(found) == count:
            return list(found)
        words = rng.sample(WORDS[language], rng.randint(plan.min_words, plan.max_words))
        found.setdefault(" ".join(words))
    if len(found) == count:
        return list(found)
    raise DataError(
        f"utterances: {count} different sentences can't be made; use fewer, or more words each"
    )


def _lines(plan: SynthesisPlan) -> Iterator[_Line]:
    per_speaker = plan.utterances + plan.validation
    for language in plan.languages:
        rng = random.Random(f"{plan.seed}/{language}")
        texts = sentences(language, per_speaker * plan.speakers, plan, rng)
        for number, text in enumerate(texts):
            variant = VARIANTS[number // per_speaker]
            yield _Line(
                language=language,
                speaker=f"{language}-{variant or 'default'}",
                voice=ESPEAK_VOICES[language] + (f"+{variant}" if variant else ""),
                number=number,
                text=text,
                held_out=number % per_speaker >= plan.utterances,
            )


def _write(
    plan: SynthesisPlan, folder: Path, speaker: Speaker, on_utterance: Callable[[int, int], None]
) -> SynthesisReport:
    lines = list(_lines(plan))
    written: dict[bool, list[Utterance]] = {False: [], True: []}
    for done, line in enumerate(lines, start=1):
        written[line.held_out].append(_speak(line, folder, speaker))
        on_utterance(done, len(lines))
    write_manifest(folder / TRAIN, written[False])
    if written[True]:
        write_manifest(folder / VALIDATION, written[True])
    return SynthesisReport(
        train=folder / TRAIN,
        validation=folder / VALIDATION if written[True] else None,
        utterances=len(lines),
        seconds=sum(utterance.duration for part in written.values() for utterance in part),
    )


def _speak(line: _Line, folder: Path, speaker: Speaker) -> Utterance:
    speech = speaker.say(SpeechRequest(line.text, line.voice))
    if not speech.pcm:
        raise DataError(f"text: {line.text!r} gave no speech with voice {line.voice!r}")
    relative = f"wavs/{line.speaker}-{line.number:05d}.wav"
    samples = np.frombuffer(speech.pcm, dtype="<i2").astype(np.float32) / 32768.0
    write_wav(folder / relative, torch.from_numpy(samples), speech.sample_rate)
    return Utterance(
        audio_filepath=relative,
        duration=round(samples.size / speech.sample_rate, 4),
        text=line.text,
        speaker=line.speaker,
        language=line.language,
        phonemes=speech.phonemes,
        sha256=digest(folder / relative),
    )


def _check_range(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise DataError(f"{field}: {value} is not between {low} and {high}; change it")
