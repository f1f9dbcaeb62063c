"""`data validate`: each kind of damage is found on its line, with field, value, rule and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech_trainer.data.checks import digest
from speech_trainer.data.prepare import PrepareOptions, prepare
from speech_trainer.data.validate import validate_manifest
from speech_trainer.errors import DataError

Spoil = Callable[[Path, list[dict[str, object]]], None]


def spoil_file(folder: Path, name: str, content: bytes) -> None:
    (folder / "wavs" / name).write_bytes(content)


def cut(path: Path) -> None:
    """The header still promises all samples; libsndfile reads what is there, and says nothing."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_nan(folder: Path, name: str) -> None:
    samples = np.full(22050, 0.1, dtype=np.float32)
    samples[100] = np.nan
    soundfile.write(folder / "wavs" / name, samples, 22050, subtype="FLOAT")


def write_silence(folder: Path, name: str) -> None:
    soundfile.write(folder / "wavs" / name, np.zeros(22050, dtype=np.float32), 22050)


CASES: list[tuple[str, Spoil, str, str]] = [
    ("corrupt WAV", lambda f, _: spoil_file(f, "6.wav", b"RIFFnoise"), "audio_filepath", "DecodeError"),
    ("cut header", lambda f, _: spoil_file(f, "6.wav", b""), "audio_filepath", "DecodeError"),
    ("no file", lambda f, _: (f / "wavs/6.wav").unlink(), "audio_filepath", "MissingFile"),
    ("NaN samples", lambda f, _: write_nan(f, "6.wav"), "audio_filepath", "NonFiniteAudio"),
    ("silence", lambda f, _: write_silence(f, "6.wav"), "audio_filepath", "Silent"),
    ("empty text", lambda _, r: r[6].update(text=" ", phonemes=""), "text", "EmptyText"),
    ("punctuation alone", lambda _, r: r[6].update(text="।!?…", phonemes=""), "text", "EmptyText"),
    ("no width", lambda _, r: r[6].update(text="\u200b\u200d", phonemes=""), "text", "EmptyText"),
    ("emoji alone", lambda _, r: r[6].update(text="😀😀", phonemes=" "), "text", "EmptyText"),
    ("too many letters", lambda _, r: r[6].update(text="a" * 90, phonemes=""), "duration", "TooShort"),
    ("half a file", lambda f, r: cut(f / "wavs/6.wav"), "duration", "Manifest"),
    ("wrong duration", lambda _, r: r[6].update(duration=99.0), "duration", "Manifest"),
    ("wrong digest", lambda _, r: r[6].update(sha256="0" * 64), "sha256", "Manifest"),
    ("twice", lambda _, r: r[6].update(r[1]), "audio_filepath", "Manifest"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "field", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_damage_is_found_on_its_line(
    own_voice: Path, spoil: Spoil, field: str, reason: str
) -> None:
    path = own_voice / "train.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    spoil(own_voice, records)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    report = validate_manifest(path)
    assert not report.ok
    (problem,) = report.problems
    assert (problem.line, problem.field, problem.reason) == (7, field, reason)
    assert problem.rule
    assert problem.remedy
    assert report.by_reason() == {reason: 1}
    prepared = prepare(path, own_voice / "prepared", PrepareOptions())
    assert prepared.problems == report.problems  # left out and told, never mended
    assert (prepared.utterances, validate_manifest(prepared.manifest).ok) == (11, True)


def test_a_whole_manifest_has_no_problem_and_its_totals(own_voice: Path) -> None:
    report = validate_manifest(own_voice / "train.jsonl")
    assert report.ok
    assert (report.lines, report.speakers, report.languages) == (12, 1, 1)
    assert report.seconds == pytest.approx(sum(0.12 * (4 + n % 5) for n in range(12)), rel=1e-3)


def test_an_utterance_is_too_long_for_whoever_says_so(own_voice: Path) -> None:
    longest = 0.12 * 8
    assert validate_manifest(own_voice / "train.jsonl", max_seconds=longest + 0.01).ok
    report = validate_manifest(own_voice / "train.jsonl", max_seconds=longest - 0.01)
    assert report.by_reason() == {"TooLong": 2}
    with pytest.raises(DataError, match="maxSeconds: 0 is not above 0"):
        validate_manifest(own_voice / "train.jsonl", max_seconds=0)


def test_an_empty_manifest_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("", encoding="utf-8")
    assert "has no lines" in str(validate_manifest(tmp_path / "m.jsonl").problems[0])


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert digest(tmp_path / "a").startswith("e3b0c442")
