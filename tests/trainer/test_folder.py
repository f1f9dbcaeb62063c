"""A folder as data: what counts as a recording, in which order, read once, the same for every attempt and rank."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import soundfile
from tones import RATE, tone

from speech_contract.run_config import DataSet
from speech_trainer.audio.files import write_wav
from speech_trainer.data import folder as folder_room
from speech_trainer.data.folder import CACHE, list_folder, listed_once
from speech_trainer.data.prepare import PrepareOptions, prepare
from speech_trainer.data.recordings import read_recordings
from speech_trainer.data.samples import decode
from speech_trainer.data.validate import validate_manifest
from speech_trainer.engine.recipe import alone
from speech_trainer.errors import DataError


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three recordings on two levels, and what must not be taken for one."""
    folder = tmp_path / "audio"
    for name, seconds in (("b.wav", 0.5), ("te/a.WAV", 0.25), ("a.wav", 1.0)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / name, tone(seconds), RATE)
    (folder / "._a.wav").write_bytes(b"a resource fork")
    (folder / ".trash").mkdir()
    shutil.copy(folder / "a.wav", folder / ".trash" / "z.wav")
    (folder / "readme.txt").write_text("no audio", encoding="utf-8")
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files whose header was read."""
    seen: list[str] = []

    def read_info(path: Path) -> folder_room.Any:
        seen.append(path.name)
        return real(path)

    real = folder_room.read_info
    monkeypatch.setattr(folder_room, "read_info", read_info)
    return seen


def test_audio_is_found_at_every_depth_by_name_and_the_rest_is_counted(audio: Path) -> None:
    found = list_folder(audio)
    assert [(f.path, f.seconds) for f in found.files] == [
        ("a.wav", 1.0),
        ("b.wav", 0.5),
        ("te/a.WAV", 0.25),
    ]
    assert (found.hidden, found.other) == (2, 1)
    manifest = found.manifest()
    assert all(manifest.audio_path(u).is_file() for u in manifest.utterances)
    assert [u.line for u in manifest.utterances] == [1, 2, 3]


def test_a_header_is_read_once_and_again_when_its_file_changes(
    audio: Path, reads: list[str]
) -> None:
    list_folder(audio)
    assert sorted(reads) == ["a.WAV", "a.wav", "b.wav"]
    reads.clear()
    again = list_folder(audio)
    assert (reads, again.other, again.hidden) == ([], 1, 2)  # its own file is nobody's recording
    write_wav(audio / "b.wav", tone(0.75), RATE)
    assert [f.seconds for f in list_folder(audio).files] == [1.0, 0.75, 0.25]
    assert reads == ["b.wav"]


def test_a_folder_that_cannot_be_written_is_read_all_the_same(
    audio: Path, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        if path.parent == audio:
            raise PermissionError
        real(path, text)

    real = folder_room.replace_text
    monkeypatch.setattr(folder_room, "replace_text", refuse)
    first = listed_once(audio, tmp_path / "run")
    assert not (audio / CACHE).exists()
    reads.clear()
    assert listed_once(audio, tmp_path / "run") == first
    assert reads == []


def test_a_cache_that_is_damaged_is_read_anew(audio: Path) -> None:
    first = list_folder(audio)
    for text in ("{", "[]", '{"files": [[1]]}', '{"files": [], "color": "red"}'):
        (audio / CACHE).write_text(text, encoding="utf-8")
        assert list_folder(audio) == first


def test_a_later_attempt_trains_on_what_the_first_one_found(audio: Path, tmp_path: Path) -> None:
    """A recording that arrives between two attempts would move every position of the training stream."""
    first = listed_once(audio, tmp_path / "run")
    write_wav(audio / "0.wav", tone(0.5), RATE)
    assert listed_once(audio, tmp_path / "run") == first
    assert listed_once(audio, tmp_path / "other").files[0].path == "0.wav"


def test_all_ranks_take_the_list_of_the_one_that_leads(audio: Path, tmp_path: Path) -> None:
    told = list_folder(audio)
    write_wav(audio / "0.wav", tone(0.5), RATE)  # arrives while this rank starts
    found = read_recordings(DataSet(folder=str(audio)), "train", tmp_path, lambda act: told)
    assert [u.audio_filepath for u in found.manifest.utterances] == ["a.wav", "b.wav", "te/a.WAV"]
    assert not any(tmp_path.glob("*.json"))  # nothing was looked at here


def test_a_file_without_a_header_stays_to_be_counted_by_training(
    audio: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (audio / "b.wav").write_bytes(b"RIFFnoise")
    found = list_folder(audio)
    assert found.unreadable == ["b.wav"]
    assert "1 of 3 files can't be read: b.wav" in caplog.text
    report = validate_manifest(audio, needs_text=False)
    assert [(p.file, p.reason) for p in report.problems] == [("b.wav", "DecodeError")]
    assert str(report.problems[0]).startswith("b.wav, audio_filepath: ")
    assert (report.lines, report.hidden, report.other) == (3, 2, 1)


@pytest.mark.parametrize("suffix", folder_room.SUFFIXES)
def test_every_format_that_is_named_is_read(tmp_path: Path, suffix: str) -> None:
    form = {".opus": {"format": "OGG", "subtype": "OPUS"}}.get(suffix, {})
    soundfile.write(tmp_path / f"a{suffix}", tone(0.5).numpy(), 48000, **form)
    (file,) = list_folder(tmp_path).files
    waveform, rate = decode(tmp_path / file.path)
    assert file.seconds == pytest.approx(waveform.numel() / rate, abs=1e-3)


def test_links_are_followed_and_a_circle_ends(audio: Path, tmp_path: Path) -> None:
    write_wav(tmp_path / "far.wav", tone(0.5), RATE)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "far.wav", tmp_path / "elsewhere" / "far.wav")
    (audio / "linked").symlink_to(tmp_path / "elsewhere")
    (audio / "circle").symlink_to(audio)
    names = [f.path for f in list_folder(audio).files]
    assert names == ["a.wav", "b.wav", "linked/far.wav", "te/a.WAV"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("empty", ["holds no audio file (1 other, 2 hidden)", ".flac, .mp3"]),
        ("missing", ["can't be read (No such file or directory)", "that exists"]),
        ("file", ["can't be read (Not a directory)"]),
    ],
)
def test_what_holds_no_recording_is_named(audio: Path, spoil: str, words: list[str]) -> None:
    for name in ("a.wav", "b.wav", "te/a.WAV"):
        (audio / name).unlink()
    place = {"empty": audio, "missing": audio / "none", "file": audio / "readme.txt"}[spoil]
    with pytest.raises(DataError, match=r"^data\.train\.folder: ") as caught:
        read_recordings(DataSet(folder=str(place)), "train", audio / "run", alone)
    for word in words:
        assert word in str(caught.value)


def test_a_recipe_of_text_refuses_a_folder_by_name(audio: Path) -> None:
    with pytest.raises(DataError, match=r"^data\.validation\.folder: .* has no text"):
        read_recordings(DataSet(folder=str(audio)), "validation", audio, alone, needs_text=True)
    with pytest.raises(DataError, match="add --audio-only"):
        validate_manifest(audio)


def test_a_run_directory_that_cannot_be_written_is_named(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    with pytest.raises(DataError, match=r"^checkpoint\.uri: "):
        listed_once(audio, tmp_path / "run")


def test_a_folder_is_prepared_into_a_manifest(audio: Path, tmp_path: Path) -> None:
    options = PrepareOptions(sample_rate=16000, needs_text=False)
    report = prepare(audio, tmp_path / "out", options)
    assert (report.manifest.name, report.utterances) == ("audio.jsonl", 3)
    first = json.loads(report.manifest.read_text(encoding="utf-8").splitlines()[0])
    assert first["duration"] == 1.0
    assert not (audio / CACHE).exists()  # what only looks writes nothing
