"""`speechtrain data pair` and `data import higgs`: what they say, and where it is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Call = Callable[..., Result]

pytest.importorskip("torch")


def written(path: Path, *rows: dict[str, Any]) -> Path:
    lines = [{"duration": 4.0, "text": f"words {n}"} | row for n, row in enumerate(rows)]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two recordings of one speaker, one of another, and one of nobody."""
    speakers = ("a", "a", "b", "")
    rows = [
        {"audio_filepath": f"{n}.wav", "speaker": s, "sha256": str(n)}
        for n, s in enumerate(speakers)
    ]
    return written(tmp_path / "train.jsonl", *rows)


def heard(path: Path) -> list[str | None]:
    return [json.loads(line).get("ref_audio") for line in path.read_text("utf-8").splitlines()]


def test_pair_says_who_was_left_alone_and_writes_beside(call: Call, manifest: Path) -> None:
    answer = call("data", "pair", manifest, "--seed", "3")
    assert answer.exit_code == 0
    target = manifest.with_name("train.paired.jsonl")
    assert f"2 of 4 lines have a reference, 2 from now: {target}" in answer.output
    assert "left alone: 1 line of 1 speaker with one recording: b" in answer.output
    assert "left alone: 1 line without speaker and reference" in answer.output
    assert heard(target) == ["1.wav", "0.wav", None, None]
    assert heard(manifest) == [None] * 4


def test_pair_lists_references_that_were_none(call: Call, manifest: Path, tmp_path: Path) -> None:
    text = manifest.read_text("utf-8").replace(
        '"sha256": "0"', '"sha256": "0", "ref_audio": "2.wav"'
    )
    manifest.write_text(text, "utf-8")
    report = call("data", "pair", manifest, "--dry-run", "-o", "json")
    document = json.loads(report.stdout)
    assert (document["manifest"], document["given"], document["unnamed"]) == (None, 2, 1)
    assert document["alone"] == [{"speaker": "b", "lines": 1}]
    answer = call("data", "pair", manifest, "--out", tmp_path / "new" / "x.jsonl")
    assert "wrong before: 1 Reference" in answer.output
    assert "line 1, ref_audio: '2.wav' is of another speaker; another was given" in (answer.output)
    assert heard(tmp_path / "new" / "x.jsonl")[:2] == ["../1.wav", "../0.wav"]


def test_pair_without_two_of_anybody_is_refused(call: Call, tmp_path: Path) -> None:
    path = written(tmp_path / "train.jsonl", {"audio_filepath": "a.wav", "speaker": "a"})
    answer = call("data", "pair", path)
    assert answer.exit_code == 65
    assert "no two recordings of one speaker; fill in `speaker`" in answer.output
    assert "no range" in call("data", "pair", path, "--prefer-seconds", "9", "3").output


def test_import_says_what_had_no_place(call: Call, tmp_path: Path) -> None:
    samples = [
        {"audio_file": "a.wav", "transcript": "hello", "duration": 1.0, "scene": "street"},
        {"audio_file": "lost.wav", "transcript": "gone", "duration": 1.0},
    ]
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "metadata.json").write_text(json.dumps({"samples": samples}), "utf-8")
    arguments = ["data", "import", "higgs", tmp_path, "--out", tmp_path / "train.jsonl"]
    assert "nothing was written" in call(*arguments, "--dry-run").output
    assert not (tmp_path / "train.jsonl").exists()
    answer = call(*arguments)
    assert answer.exit_code == 0
    assert f"1 line, 0 with a reference: {tmp_path / 'train.jsonl'}" in answer.output
    assert "no place for: 1 scene" in answer.output
    assert "not taken: 1 Manifest" in answer.output
    assert "samples[1], audio_file:" in answer.output
    (tmp_path / "metadata.json").write_text("{}", "utf-8")
    assert call(*arguments).exit_code == 65
