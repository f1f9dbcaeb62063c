"""`data import higgs`: both forms of the community, field by field, and each field that is wrong by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tones import RATE, tone

from speech_trainer.audio.files import write_wav
from speech_trainer.data.higgs import ImportReport, import_higgs
from speech_trainer.data.manifest import Manifest, read_manifest
from speech_trainer.data.references import references
from speech_trainer.errors import DataError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with four recordings of half a second and their words."""
    folder = tmp_path / "higgs"
    folder.mkdir()
    for name in "abcd":
        write_wav(folder / f"{name}.wav", tone(0.5), RATE)
        (folder / f"{name}.txt").write_text(f" words of {name}\n", "utf-8")
    return folder


def sample(name: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"tun_{name}",
        "audio_file": f"{name}.wav",
        "transcript_file": f"{name}.txt",
        "duration": 0.5,
        "speaker_id": "tun",
        "language": "zh",
    } | more


def taken(place: Path, samples: list[Any], **info: Any) -> tuple[ImportReport, Manifest]:
    document = {"dataset_info": info, "samples": samples}
    (place / "metadata.json").write_text(json.dumps(document), "utf-8")
    report = import_higgs(place, place.parent / "out" / "train.jsonl")
    return report, read_manifest(place.parent / "out" / "train.jsonl")


def swift(place: Path, *records: Any) -> tuple[ImportReport, Manifest]:
    path = place / "train.jsonl"
    rows = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    report = import_higgs(path, place.parent / "out.jsonl")
    return report, read_manifest(place.parent / "out.jsonl")


def turns(*turns: str) -> list[dict[str, str]]:
    """`role: content` each."""
    parts = [turn.partition(": ") for turn in turns]
    return [{"role": role, "content": content} for role, _, content in parts]


def test_a_sample_becomes_a_line_and_what_has_no_place_is_counted(place: Path) -> None:
    samples = [
        sample(
            "a", scene="quiet_room", emotion="neutral", speaker_name="Tun", user_instruction=None
        ),
        sample("b", scene="phone_call", duration=0),
    ]
    report, manifest = taken(place, samples, total_samples=2)
    one, two = manifest.utterances
    assert manifest.audio_path(one).resolve() == (place / "a.wav").resolve()
    assert (one.text, one.speaker, one.language, one.duration) == ("words of a", "tun", "zh", 0.5)
    assert one.extra == {"id": "tun_a"}
    assert two.duration == pytest.approx(0.5, abs=0.01)  # of the file
    assert report.dropped == {"scene": 2, "emotion": 1, "speaker_name": 1}
    assert (report.lines, report.added, report.problems) == (2, 0, ())


def test_a_reference_that_is_no_sample_becomes_a_line(place: Path) -> None:
    told = {"ref_audio_file": "c.wav", "ref_transcript": "words of c"}
    report, manifest = taken(
        place,
        [
            sample("a", **told),
            sample("b", ref_audio_file="a.wav"),
            sample("d", ref_audio_file="lost.wav"),
        ],
    )
    a, b, d, c = manifest.utterances
    assert references(manifest) == (c, a, None, None)
    assert (c.text, c.speaker, c.extra) == ("words of c", "tun", {})
    assert d.text == "words of d"
    assert (report.added, report.with_reference) == (1, 2)
    assert report.dropped == {"ref_audio_file without its words": 1}
    assert b.extra["id"] == "tun_b"


def test_a_reference_that_is_not_there_is_told_and_its_target_kept(place: Path) -> None:
    lost = {"ref_audio_file": "lost.wav", "ref_transcript": "gone"}
    report, manifest = taken(place, [sample("a", **lost), sample("b", ref_audio_file="b.wav")])
    assert references(manifest) == (None, None)
    (problem,) = report.problems
    assert str(problem).startswith("samples[0], ref_audio_file: ")
    assert "does not exist" in str(problem)
    assert report.dropped == {"ref_audio_file, the target itself": 1}


def test_of_several_speakers_references_the_own_one_is_taken(place: Path) -> None:
    several = [
        {"speaker_id": "huo", "ref_audio_file": "b.wav", "ref_transcript": "other"},
        {"speaker_id": "tun", "ref_audio_file": "c.wav", "ref_transcript": "own"},
    ]
    report, manifest = taken(place, [sample("a", ref_speakers=several)])
    assert [u.text for u in manifest.utterances] == ["words of a", "own"]
    assert report.dropped == {"ref_speakers of others": 1}


def test_a_speaker_whom_nobody_named_is_none(place: Path) -> None:
    report, manifest = taken(place, [sample("a", speaker_id="unknown_speaker")])
    assert manifest.utterances[0].speaker == ""
    assert report.dropped == {"speaker 'unknown_speaker'": 1}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "sample: []"),
        (sample("b", audio_file=None), "audio_file: None is missing"),
        (sample("b", audio_file=7), "audio_file: 7 is no string"),
        (sample("b", audio_file="lost.wav"), "does not exist; paths are relative"),
        (sample("b", audio_file="b.txt", duration=0), "can't be read"),
        (sample("b", transcript_file="lost.txt"), "transcript_file: 'lost.txt' can't be read"),
        (sample("b", transcript_file="", transcript=" "), "transcript: ' ' says nothing"),
        (sample("b", duration="long"), "duration: 'long' is no number of seconds"),
        (sample("b", ref_speakers="tun"), "ref_speakers: 'tun' is no list"),
        (sample("a"), "is the audio of a sample before"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_its_sample_left_out(
    place: Path, wrong: Any, words: str
) -> None:
    report, manifest = taken(place, [sample("a"), wrong])
    assert len(manifest.utterances) == 1
    (problem,) = report.problems
    assert str(problem).startswith("samples[1], ")
    assert words in str(problem)
    assert (problem.line, report.dropped) == (2, {})


def test_swift_lines_in_their_three_forms(place: Path) -> None:
    report, manifest = swift(
        place,
        {"messages": turns("assistant: <think>of a"), "audios": ["a.wav"], "speaker": "tun"},
        {"messages": turns("user: <audio>What is said?", "assistant: of b"), "audios": ["b.wav"]},
        {
            "messages": turns(
                "system: Be clear.", "user: of c", "assistant: <audio>", "user: of d", "assistant: <audio>"
            ),
            "audios": ["c.wav", "d.wav"],
            "speaker": "huo",
            "tools": "[]",
        },
    )  # fmt: skip
    a, b, d, c = manifest.utterances
    assert [u.text for u in (a, b, c, d)] == ["of a", "of b", "of c", "of d"]
    assert (a.speaker, b.speaker, c.speaker) == ("tun", "", "huo")
    assert references(manifest) == (None, None, c, None)
    assert d.duration == pytest.approx(0.5, abs=0.01)
    assert report.dropped == {
        "<think>": 1,
        "words of the user": 1,
        "words of the system": 1,
        "tools": 1,
    }


def test_a_voice_in_the_instruction_is_told_of(place: Path) -> None:
    messages = turns("system: Speak like <audio>", "user: of a", "assistant: <audio>")
    report, manifest = swift(place, {"messages": messages, "audios": ["b.wav", "a.wav"]})
    assert [u.text for u in manifest.utterances] == ["of a"]
    assert report.dropped == {"words of the system": 1, "audios that nobody speaks": 1}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ('{"half', "line: '{\"half' is no JSON"),
        ([], "line: [] is no JSON object"),
        ({"audios": ["b.wav"]}, "messages: None is no list"),
        (
            {"messages": [{"role": "user"}], "audios": ["b.wav"]},
            "messages[0]: {'role': 'user'} has",
        ),
        ({"messages": turns("assistant: of b"), "audios": []}, "audios: [] is no list of files"),
        (
            {"messages": turns("assistant: of b"), "audios": ["b.wav", "c.wav"]},
            "are 2 for 0 <audio> in the messages",
        ),
        ({"messages": turns("user: of b"), "audios": ["b.wav"]}, "are 1 for 0 <audio>"),
        ({"messages": turns("assistant: <audio>"), "audios": ["b.wav"]}, "say no word"),
        ({"messages": turns("user: <audio>"), "audios": ["b.wav"]}, "speak 0 recordings"),
        (
            {"messages": turns("assistant: <audio><audio>"), "audios": ["b.wav", "c.wav"]},
            "holds several recordings",
        ),
    ],
)
def test_a_swift_line_that_is_wrong_is_named(place: Path, wrong: Any, words: str) -> None:
    right = {"messages": turns("assistant: of a"), "audios": ["a.wav"]}
    report, manifest = swift(place, right, wrong)
    assert len(manifest.utterances) == 1
    (problem,) = report.problems
    assert str(problem).startswith("line 2, ")
    assert words in str(problem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("{}", "samples: no list of samples"),
        ('{"samples": []}', "nothing can be used, first: no sample"),
    ],
)
def test_what_is_no_data_set_is_refused(place: Path, content: str, words: str) -> None:
    (place / "metadata.json").write_text(content, "utf-8")
    with pytest.raises(DataError, match=r"metadata\.json") as caught:
        import_higgs(place, place / "out.jsonl")
    assert words in str(caught.value)
    assert not (place / "out.jsonl").exists()


def test_source_and_target_differ_and_a_dry_run_writes_nothing(place: Path) -> None:
    (place / "metadata.json").write_text(json.dumps({"samples": [sample("a")]}), "utf-8")
    with pytest.raises(DataError, match="is the source"):
        import_higgs(place, place / "metadata.json")
    report = import_higgs(place / "metadata.json", place / "out.jsonl", dry_run=True)
    assert (report.manifest, report.lines) == (None, 1)
    assert not (place / "out.jsonl").exists()
