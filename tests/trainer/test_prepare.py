"""`data prepare`: one rate, mono, digests; bad lines are reported, never fixed in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_trainer.audio.files import read_info
from speech_trainer.data.manifest import read_manifest
from speech_trainer.data.prepare import PrepareOptions, prepare
from speech_trainer.data.validate import validate_manifest
from speech_trainer.errors import DataError


def test_prepared_data_is_valid_and_at_the_wanted_rate(own_voice: Path, tmp_path: Path) -> None:
    report = prepare(own_voice / "train.jsonl", tmp_path / "out", PrepareOptions(16000))
    assert (report.utterances, report.problems) == (12, ())
    assert validate_manifest(report.manifest).ok
    manifest = read_manifest(report.manifest)
    first = manifest.utterances[0]
    info = read_info(manifest.audio_path(first))
    assert (info.sample_rate, info.channels) == (16000, 1)
    assert first.phonemes == "abcd"
    assert len(first.sha256) == 64


def test_max_samples_counts_good_lines(own_voice: Path, tmp_path: Path) -> None:
    (own_voice / "wavs/0.wav").write_bytes(b"broken")
    done: list[int] = []
    options = PrepareOptions(max_samples=3)
    report = prepare(own_voice / "train.jsonl", tmp_path / "out", options, done.append)
    assert report.utterances == 3
    assert [problem.reason for problem in report.problems] == ["DecodeError"]
    assert done == [1, 2, 3]


def test_files_of_the_same_name_in_two_folders_stay_apart(own_voice: Path, tmp_path: Path) -> None:
    path = own_voice / "train.jsonl"
    (own_voice / "other").mkdir()
    (own_voice / "wavs/1.wav").rename(own_voice / "other/0.wav")
    text = path.read_text(encoding="utf-8").replace("wavs/1.wav", "other/0.wav")
    path.write_text(text, encoding="utf-8")
    report = prepare(path, tmp_path / "out", PrepareOptions())
    assert len(list((tmp_path / "out/wavs").iterdir())) == report.utterances == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 300}, "sampleRate: 300 is not between 8000 and 192000"),
        ({"max_samples": 0}, "maxSamples: 0 is not above 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        PrepareOptions(**options)


def test_the_source_is_never_overwritten(own_voice: Path) -> None:
    with pytest.raises(DataError, match="name another folder"):
        prepare(own_voice / "train.jsonl", own_voice, PrepareOptions())


def test_nothing_usable_is_an_error_with_the_first_reason(own_voice: Path, tmp_path: Path) -> None:
    for path in (own_voice / "wavs").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has no usable line, first: line 1, audio_filepath"):
        prepare(own_voice / "train.jsonl", tmp_path / "out", PrepareOptions())
