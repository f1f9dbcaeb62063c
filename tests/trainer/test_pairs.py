"""`data pair`: another recording of the same speaker, never the same audio, each heard about as often."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from speech_trainer.data.manifest import read_manifest
from speech_trainer.data.pairs import Alone, PairOptions, PairReport, pair
from speech_trainer.data.references import references
from speech_trainer.errors import DataError


def written(folder: Path, lines: list[dict[str, Any]]) -> Path:
    """A manifest, and a file of its own content for each `audio_filepath`; `content` is another one."""
    path = folder / "train.jsonl"
    for number, line in enumerate(lines):
        content = line.pop("content", f"{number:04d}")
        (folder / line["audio_filepath"]).write_text(content, "utf-8")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def lines(count: int, speaker: str = "s", **more: Any) -> list[dict[str, Any]]:
    return [
        {"audio_filepath": f"{speaker}{n}.wav", "duration": 4.0, "text": f"words {n}", "speaker": speaker} | more
        for n in range(count)
    ]  # fmt: skip


def paired(
    folder: Path, rows: list[dict[str, Any]], **options: Any
) -> tuple[PairReport, dict[str, str]]:
    """The report, and audio → audio that it hears."""
    report = pair(written(folder, rows), folder / "out.jsonl", PairOptions(**options))
    found = read_manifest(folder / "out.jsonl")
    pairs = zip(found.utterances, references(found), strict=True)
    return report, {u.audio_filepath: r.audio_filepath for u, r in pairs if r is not None}


def test_each_line_hears_another_one_of_its_speaker_and_all_are_heard_alike(tmp_path: Path) -> None:
    report, heard = paired(tmp_path, [*lines(40), *lines(7, "t")])
    assert len(heard) == 47
    assert all(a != b and a[0] == b[0] for a, b in heard.items())
    assert max(Counter(heard.values()).values()) <= 2
    assert report.most_heard == max(Counter(heard.values()).values())
    assert (report.given, report.kept, report.alone, report.same_words) == (47, 0, (), 0)


def test_a_seed_is_one_result_and_another_seed_another(tmp_path: Path) -> None:
    found = [paired(tmp_path, lines(12), seed=seed)[1] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_who_is_left_alone_is_named(tmp_path: Path) -> None:
    report, heard = paired(
        tmp_path, [*lines(2), *lines(1, "t"), *({**row, "speaker": ""} for row in lines(3, "u"))]
    )
    assert set(heard) == {"s0.wav", "s1.wav"}
    assert (report.alone, report.unnamed) == ((Alone("t", 1),), 3)


@pytest.mark.parametrize(
    "alike",
    [
        [{"sha256": "d"}, {"sha256": "d"}],
        [{"content": "the same bytes"}, {"content": "the same bytes"}],
        [{"codes": {"sha256": "c"}}, {"codes": {"sha256": "c"}}],
        [{"audio_filepath": "x.wav"}, {"audio_filepath": "./x.wav"}],
    ],
    ids=["sha256", "file", "codes", "path"],
)
def test_equal_audio_is_never_its_own_reference(
    tmp_path: Path, alike: list[dict[str, Any]]
) -> None:
    twice = [row | more for row, more in zip(lines(2), alike, strict=True)]
    with pytest.raises(DataError, match="no two recordings of one speaker"):
        paired(tmp_path, twice)
    third = lines(3)[2]
    for seed in range(5):
        twice = [row | more for row, more in zip(lines(2), alike, strict=True)]
        heard = paired(tmp_path, [*twice, third], seed=seed)[1]
        own = {row["audio_filepath"] for row in twice}
        assert {heard[name] for name in own} == {third["audio_filepath"]}


def test_other_words_are_heard_where_there_are_some(tmp_path: Path) -> None:
    rows = lines(6, text="Known  words")
    rows[5]["text"] = "others"
    report, heard = paired(tmp_path, rows)
    assert {heard[f"s{n}.wav"] for n in range(5)} == {"s5.wav"}
    assert report.same_words == 0
    report, heard = paired(tmp_path, lines(3, text="known words"))
    assert (len(heard), report.same_words) == (3, 3)


def test_useful_lengths_are_heard_more_often_and_never_alone(tmp_path: Path) -> None:
    rows = lines(20)
    for row in rows[10:]:
        row["duration"] = 0.5
    report, heard = paired(tmp_path, rows)
    short = [name for name in heard.values() if int(name[1:-4]) >= 10]
    assert short == []
    assert report.outside == 0
    rows = lines(20)
    for row in rows[1:]:
        row["duration"] = 30.0
    report, heard = paired(tmp_path, rows)
    assert Counter(heard.values())["s0.wav"] == report.most_heard == 5
    assert report.outside == 15


def test_a_sound_reference_is_kept_and_another_one_is_told(tmp_path: Path) -> None:
    rows = lines(4)
    rows[0]["ref_audio"] = "s2.wav"
    rows[1]["ref_audio"] = "s1.wav"
    rows[2]["ref_audio"] = "t0.wav"
    report, heard = paired(tmp_path, [*rows, *lines(1, "t", ref_audio="lost.wav")])
    assert heard["s0.wav"] == "s2.wav"
    assert (report.kept, report.given) == (1, 3)
    told = [(p.line, p.rule, p.remedy) for p in report.problems]
    assert told == [
        (2, "is the same audio", "another was given"),
        (3, "is of another speaker", "another was given"),
        (5, "is the audio of no line here", "it was taken away"),
    ]
    assert "t0.wav" not in heard


def test_a_reference_of_a_line_without_a_speaker_is_kept(tmp_path: Path) -> None:
    nobody = lines(2, "u")
    for row in nobody:
        row["speaker"] = ""
    nobody[0]["ref_audio"] = "u1.wav"
    for again in (False, True):
        rows = [dict(row) for row in nobody]
        report, heard = paired(tmp_path, [*rows, *lines(2)], again=again)
        assert heard["u0.wav"] == "u1.wav"
        assert (report.unnamed, report.kept, report.problems) == (1, 1, ())


def test_asked_again_every_line_gets_another(tmp_path: Path) -> None:
    rows = lines(30, ref_audio="s0.wav")
    report, heard = paired(tmp_path, rows, again=True)
    assert report.kept == 0
    assert max(Counter(heard.values()).values()) <= 2


def test_files_that_are_gone_are_told_by_codes_or_counted(tmp_path: Path) -> None:
    path = written(tmp_path, [*lines(2), *lines(2, "t", codes={"sha256": "c"})])
    for file in tmp_path.glob("*.wav"):
        file.unlink()
    report = pair(path, tmp_path / "out.jsonl", PairOptions())
    assert report.unproved == 2
    assert report.alone == (Alone("t", 2),)


def test_a_dry_run_says_it_all_and_writes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, lines(3))
    dry = pair(path, tmp_path / "x" / "out.jsonl", PairOptions(), dry_run=True)
    assert (dry.manifest, dry.given) == (None, 3)
    assert not (tmp_path / "x").exists()


def test_what_is_no_order_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, lines(3))
    with pytest.raises(DataError, match="is the source manifest"):
        pair(path, path, PairOptions())
    with pytest.raises(DataError, match="preferSeconds: 9 to 3"):
        PairOptions(shortest=9.0, longest=3.0)
