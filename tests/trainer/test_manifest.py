"""Manifests: what is kept, and what each malformed line says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speech_trainer.data.manifest import (
    Problem,
    Utterance,
    parse_line,
    read_manifest,
    scan_manifest,
    write_manifest,
)
from speech_trainer.errors import DataError

GOOD = {"audio_filepath": "a.wav", "duration": 1.5, "text": "hello"}


def line(**changes: object) -> str:
    return json.dumps({**GOOD, **changes})


@pytest.mark.parametrize(
    ("text", "field", "rule"),
    [
        ('{"audio_filepath": "a.wav", "dur', "line", "is no JSON"),
        ("[1, 2]", "line", "is no JSON object"),
        ('{"audio_filepath": "a.wav", "text": "x"}', "duration", "is missing"),
        ('{"duration": 1, "text": "x"}', "audio_filepath", "is missing"),
        (line(audio_filepath=""), "audio_filepath", "is empty"),
        (line(audio_filepath=3), "audio_filepath", "is no string"),
        (line(text=None), "text", "is no string"),
        (line(speaker=7), "speaker", "is no string"),
        (line(duration="1.5"), "duration", "is no number"),
        (line(duration=True), "duration", "is no number"),
        (line(duration=0), "duration", "is not above 0"),
        (line(duration=float("nan")), "duration", "is not above 0"),
    ],
)
def test_a_bad_line_names_field_value_rule_and_remedy(text: str, field: str, rule: str) -> None:
    problem = parse_line(text, 7)
    assert isinstance(problem, Problem)
    assert (problem.line, problem.field) == (7, field)
    assert rule in problem.rule
    assert problem.remedy
    assert str(problem).startswith(f"line 7, {field}: ")


def test_a_good_line_keeps_keys_it_does_not_know() -> None:
    utterance = parse_line(line(speaker="s", lang_id=3), 1)
    assert isinstance(utterance, Utterance)
    assert utterance.extra == {"lang_id": 3}
    assert utterance.speaker == "s"


def test_reading_names_the_malformed_line_and_how_to_see_all(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join([line()] * 6 + ["{broken", line(duration=-1)]), encoding="utf-8")
    with pytest.raises(DataError, match=r"line 7, line: '\{broken' is no JSON") as caught:
        read_manifest(path)
    assert "(1 more)" in str(caught.value)
    assert "data validate" in str(caught.value)
    assert caught.value.exit_code == 65
    manifest, problems = scan_manifest(path)
    assert len(manifest.utterances) == 6
    assert [problem.line for problem in problems] == [7, 8]


def test_a_missing_manifest_names_path_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl' does not exist; make one with"):
        read_manifest(tmp_path / "none.jsonl")


def test_a_binary_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="can't be read"):
        read_manifest(tmp_path / "m.jsonl")


def test_an_empty_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\n\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no lines"):
        read_manifest(tmp_path / "m.jsonl")


def test_writing_and_reading_round_trip(tmp_path: Path) -> None:
    written = [
        Utterance("w/a.wav", 1.25, "నమస్కారం", speaker="s", phonemes="n", extra={"k": [1]}),
        Utterance("w/b.wav", 2.0, ""),
    ]
    write_manifest(tmp_path / "m.jsonl", written)
    manifest = read_manifest(tmp_path / "m.jsonl")
    for before, after in zip(written, manifest.utterances, strict=True):
        assert (after.text, after.duration, after.extra) == (
            before.text,
            before.duration,
            before.extra,
        )
    assert [u.line for u in manifest.utterances] == [1, 2]
    assert manifest.audio_path(manifest.utterances[0]) == tmp_path / "w/a.wav"
    assert len(manifest.first(1).utterances) == 1
    assert len(manifest.first(None).utterances) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\ufeff" + line(), encoding="utf-8")
    assert read_manifest(tmp_path / "m.jsonl").utterances[0].text == "hello"


def test_audio_alone_needs_no_text(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a.wav", "duration": 1.5}\n', encoding="utf-8")
    with pytest.raises(DataError, match="text: None is missing"):
        read_manifest(path)
    (utterance,) = read_manifest(path, needs_text=False).utterances
    assert (utterance.text, utterance.duration) == ("", 1.5)
