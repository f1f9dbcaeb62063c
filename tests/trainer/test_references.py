"""Whom a line is spoken like: names that follow their manifest, and names of nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from speech_trainer.data.manifest import Manifest, read_manifest, write_manifest
from speech_trainer.data.prepare import PrepareOptions, prepare
from speech_trainer.data.references import moved, references, with_reference
from speech_trainer.errors import DataError


def written(path: Path, *lines: dict[str, Any]) -> Manifest:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"duration": 1.0, "text": "a", **line} for line in lines]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return read_manifest(path)


def test_a_reference_is_another_line_however_its_path_is_written(tmp_path: Path) -> None:
    manifest = written(
        tmp_path / "m.jsonl",
        {"audio_filepath": "a.wav", "ref_audio": "sub/../b.wav"},
        {"audio_filepath": "b.wav"},
    )
    assert references(manifest) == (manifest.utterances[1], None)


def test_a_name_of_no_line_is_told_with_its_place(tmp_path: Path) -> None:
    manifest = written(tmp_path / "m.jsonl", {"audio_filepath": "a.wav", "ref_audio": "b.wav"})
    with pytest.raises(DataError, match=r"line 1, ref_audio: 'b\.wav' is the audio of no other"):
        references(manifest)


def test_paths_follow_a_manifest_into_another_folder(tmp_path: Path) -> None:
    codes = {"file": "codes/0.safetensors", "key": "1", "frames": 2, "sha256": ""}
    manifest = written(
        tmp_path / "one" / "m.jsonl",
        {"audio_filepath": "a.wav", "ref_audio": "b.wav", "codes": codes},
        {"audio_filepath": "b.wav"},
    )
    assert list(moved(manifest, tmp_path / "one")) == list(manifest.utterances)
    other = tmp_path / "two" / "m.jsonl"
    other.parent.mkdir()
    write_manifest(other, moved(manifest, other.parent))
    found = read_manifest(other)
    first, second = found.utterances
    assert references(found) == (second, None)
    assert found.audio_path(first).resolve() == (tmp_path / "one" / "a.wav").resolve()
    assert first.extra["codes"] == {**codes, "file": "../one/codes/0.safetensors"}


def test_a_name_can_be_taken_away(tmp_path: Path) -> None:
    line = written(
        tmp_path / "m.jsonl", {"audio_filepath": "a.wav", "ref_audio": "b.wav", "id": "7"}
    ).utterances[0]
    assert with_reference(line, None).extra == {"id": "7"}
    assert with_reference(line, "c.wav").extra == {"id": "7", "ref_audio": "c.wav"}


def test_prepared_lines_hear_prepared_files(own_voice: Path, tmp_path: Path) -> None:
    path = own_voice / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()][:4]
    for row, heard in zip(rows, (1, 0, 3, 2), strict=True):
        row["ref_audio"] = rows[heard]["audio_filepath"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (own_voice / rows[3]["audio_filepath"]).unlink()
    report = prepare(path, tmp_path / "out", PrepareOptions(sample_rate=16000))
    found = read_manifest(report.manifest)
    one, two, three = found.utterances
    assert references(found) == (two, one, None)
    assert "ref_audio" not in three.extra
    assert [(p.line, p.field) for p in report.problems] == [(4, "audio_filepath"), (3, "ref_audio")]
