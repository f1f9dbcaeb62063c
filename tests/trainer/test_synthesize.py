"""Synthesized speech: same plan, same files; nothing held out is trained on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from speech_trainer.data.espeak import Espeak, Speech, SpeechRequest
from speech_trainer.data.manifest import read_manifest
from speech_trainer.data.synthesize import SynthesisPlan, sentences, synthesize
from speech_trainer.data.validate import validate_manifest
from speech_trainer.data.words import WORDS
from speech_trainer.errors import DataError


class Beeper:
    """A speaker that needs no espeak: loud samples as long as the text."""

    def say(self, request: SpeechRequest) -> Speech:
        return Speech(b"\x00\x20\x00\xe0" * 400 * len(request.text), 22050, request.text[::-1])


def test_a_plan_gives_manifests_speakers_and_progress(tmp_path: Path) -> None:
    plan = SynthesisPlan(languages=("te", "de"), speakers=2, utterances=3, validation=1)
    seen: list[tuple[int, int]] = []
    report = synthesize(plan, tmp_path, Beeper(), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16)
    train, held_out = read_manifest(report.train), read_manifest(tmp_path / "validation.jsonl")
    assert len(train.utterances) == 12
    assert len(held_out.utterances) == 4
    speakers = {"te-default", "te-f3", "de-default", "de-f3"}
    assert {u.speaker for u in train.utterances} == speakers
    assert {u.speaker for u in held_out.utterances} == speakers
    assert not {u.text for u in train.utterances} & {u.text for u in held_out.utterances}
    assert all(u.phonemes == u.text[::-1] for u in train.utterances)
    assert validate_manifest(report.train).ok


def test_without_validation_no_manifest_of_it_is_written(tmp_path: Path) -> None:
    report = synthesize(SynthesisPlan(utterances=2, validation=0), tmp_path, Beeper())
    assert report.validation is None
    assert not (tmp_path / "validation.jsonl").exists()


@pytest.mark.parametrize("language", WORDS)
def test_sentences_are_different_and_of_the_language(language: str) -> None:
    plan = SynthesisPlan(languages=(language,))
    found = sentences(language, 200, plan, random.Random(0))
    assert len(set(found)) == 200
    words = [sentence.split() for sentence in found]
    assert {word for sentence in words for word in sentence} <= set(WORDS[language])
    assert {len(sentence) for sentence in words} == {2, 3, 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"languages": ("tee",)}, "languages: 'tee' is not available; did you mean te"),
        ({"languages": ("xx",)}, "languages: 'xx' is not available; use te, hi, en, de"),
        ({"languages": ()}, "languages: 0 is not between 1 and 4"),
        ({"speakers": 49}, "speakers: 49 is not between 1 and 48"),
        ({"utterances": 0}, "utterances: 0 is not between 1"),
        ({"validation": -1}, "validation: -1 is not between 0"),
        ({"min_words": 5}, "minWords: 5 is not between 1 and 4"),
        ({"max_words": 13}, "maxWords: 13 is not between 2 and 12"),
    ],
)
def test_a_bad_plan_says_what_to_change(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SynthesisPlan(**change)  # type: ignore[arg-type]


def test_more_sentences_than_words_can_make_are_refused() -> None:
    plan = SynthesisPlan(min_words=1, max_words=1)
    with pytest.raises(DataError, match="different sentences can't be made"):
        sentences("te", 200, plan, random.Random(0))


def test_real_speech_is_deterministic_in_all_languages(tmp_path: Path) -> None:
    plan = SynthesisPlan(languages=("te", "hi", "en", "de"), speakers=2, utterances=1, validation=0)
    reports = [synthesize(plan, tmp_path / name) for name in ("a", "b")]
    assert reports[0].seconds == reports[1].seconds
    assert reports[0].train.read_bytes() == reports[1].train.read_bytes()  # digests and IPA too
    assert validate_manifest(reports[0].train).ok
    utterances = read_manifest(reports[0].train).utterances
    assert all(u.phonemes and u.phonemes != u.text for u in utterances)
    assert len({u.sha256 for u in utterances}) == 8


def test_an_unknown_voice_is_refused_and_the_process_goes_on() -> None:
    with Espeak() as espeak:
        with pytest.raises(DataError, match="voice: 'qqq' is unknown to espeak-ng"):
            espeak.say(SpeechRequest("hello", "qqq"))
        assert espeak.say(SpeechRequest("hello", "en-us")).phonemes == "həlˈoʊ"
