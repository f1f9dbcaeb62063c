"""`data encode`: the same codes for any number of ranks, whole shards only, and what was killed goes on."""

from __future__ import annotations

import dataclasses
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tones import RATE, tone
from torch import Tensor

from speech_trainer.audio.files import write_wav
from speech_trainer.data import shards
from speech_trainer.data.codes import CodecFacts, read_codes
from speech_trainer.data.encode import EncodeOptions, EncodeReport, Progress, encode
from speech_trainer.data.manifest import read_manifest
from speech_trainer.data.references import references
from speech_trainer.errors import DataError

FACTS = CodecFacts("dac", "0" * 64, codebooks=2, codebook_size=64, sample_rate=16000, hop=320)
SHORT = EncodeOptions(shard_seconds=1.5)


class Fake:
    """A codec of loudness: each frame's codes depend on that frame alone. Counts what it is asked for."""

    def __init__(self, facts: CodecFacts = FACTS, dies_at: int | None = None) -> None:
        self.facts, self.batches = facts, list[int]()
        self._dies_at = dies_at

    def __call__(self, waveforms: Tensor) -> Tensor:
        if len(self.batches) == self._dies_at:
            raise KeyboardInterrupt
        self.batches.append(waveforms.size(0))
        frames = waveforms.squeeze(1).unfold(1, self.facts.hop, self.facts.hop).abs()
        high = (frames.mean(dim=2) * 200).long().clamp(0, 63)
        return torch.stack([high, (frames.amax(dim=2) * 60).long().clamp(0, 63)], dim=1)


Encode = Callable[..., EncodeReport]


@pytest.fixture
def source(own_voice: Path) -> Path:
    return own_voice / "train.jsonl"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def all_codes(manifest: Path) -> dict[str, list[list[int]]]:
    found = read_manifest(manifest)
    return {u.audio_filepath: read_codes(found, u).tolist() for u in found.utterances}


def test_every_line_gets_its_codes_and_keeps_what_it_said(source: Path, out: Path) -> None:
    report = encode(source, out, Fake(), SHORT)
    assert report.manifest == out / "train.jsonl"
    before, after = read_manifest(source), read_manifest(report.manifest)
    assert [(u.text, u.speaker, u.duration) for u in after.utterances] == [
        (u.text, u.speaker, u.duration) for u in before.utterances
    ]
    assert all(after.audio_path(u).is_file() for u in after.utterances)
    codes = read_codes(after, after.utterances[0])
    assert (codes.dtype, codes.size(0)) == (torch.int64, 2)
    assert codes.size(1) == pytest.approx(after.utterances[0].duration * 50, abs=1)
    assert (report.utterances, report.missing, report.kept) == (12, 0, 0)
    assert report.encoded == len(list((out / "codes").glob("*.safetensors"))) > 2
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (out / "codes").iterdir()}
    assert modes == {stat.S_IMODE(report.manifest.stat().st_mode)}  # others must read them


def test_a_reference_goes_along(source: Path, out: Path) -> None:
    rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    rows[0]["ref_audio"] = rows[1]["audio_filepath"]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    report = encode(source, out, Fake(), SHORT)
    assert report.manifest is not None
    found = read_manifest(report.manifest)
    assert references(found)[:2] == (found.utterances[1], None)


def test_ranks_share_the_audio_and_give_what_one_gives(
    source: Path, out: Path, tmp_path: Path
) -> None:
    whole = encode(source, tmp_path / "one", Fake(), SHORT)
    first = encode(source, out, Fake(), dataclasses.replace(SHORT, rank=0, world=2))
    assert (first.manifest, first.missing > 0) == (None, True)
    last = encode(source, out, Fake(), dataclasses.replace(SHORT, rank=1, world=2))
    assert last.encoded + first.encoded == whole.encoded
    assert whole.manifest is not None
    assert last.manifest is not None
    assert list(all_codes(last.manifest).values()) == list(all_codes(whole.manifest).values())


def test_shares_are_by_duration() -> None:
    planned = [
        shards.Shard(number, (shards.Utterance("a.wav", seconds),))
        for number, seconds in enumerate((1.0, 1.0, 1.0, 1.0, 1.0, 5.0))
    ]
    loads = [sum(s.seconds for s in shards.share(planned, rank, 2)) for rank in (0, 1)]
    assert loads == [5.0, 5.0]
    assert shards.share(planned, 0, 2) == [planned[5]]


def test_a_killed_call_goes_on_and_a_partial_shard_counts_for_nothing(
    source: Path, out: Path, tmp_path: Path
) -> None:
    whole = encode(source, tmp_path / "one", Fake(), SHORT)
    with pytest.raises(KeyboardInterrupt):
        encode(source, out, Fake(dies_at=5), SHORT)
    done = sorted(p.stem for p in (out / "codes").glob("*.json"))
    assert 0 < len(done) < whole.encoded
    assert not (out / "train.jsonl").exists()
    (out / "codes" / f".{done[-1]}.77").write_bytes(b"half")
    (out / "codes" / "00099.safetensors").write_bytes(b"half")  # without its part: nobody's
    seen: list[Progress] = []
    again = encode(source, out, Fake(), SHORT, on_shard=seen.append)
    assert (again.kept, again.encoded) == (len(done), whole.encoded - len(done))
    assert whole.manifest is not None
    assert again.manifest is not None
    assert list(all_codes(again.manifest).values()) == list(all_codes(whole.manifest).values())
    assert [p.done <= p.total for p in seen] == [True] * whole.encoded
    assert seen[-1].done == pytest.approx(whole.seconds)


@pytest.mark.parametrize("spoil", ["shard", "part", "gone"])
def test_a_shard_that_is_not_what_it_was_is_done_again(source: Path, out: Path, spoil: str) -> None:
    first = encode(source, out, Fake(), SHORT)
    assert first.manifest is not None
    codes = all_codes(first.manifest)
    path = out / "codes" / "00001.safetensors"
    if spoil == "shard":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    elif spoil == "part":
        path.with_suffix(".json").write_text("{", encoding="utf-8")
    else:
        path.unlink()
    again = encode(source, out, Fake(), SHORT)
    assert (again.encoded, again.kept) == (1, first.encoded - 1)
    assert all_codes(first.manifest) == codes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("codec", "begun with another codec"),
        ("recordings", "begun with another recordings"),
        ("shard", "begun with another shardSeconds"),
        ("plan", "begun with another recordings (None"),
    ],
)
def test_a_folder_of_other_codes_is_refused(
    source: Path, out: Path, changed: str, words: str
) -> None:
    encode(source, out, Fake(), SHORT)
    facts = dataclasses.replace(FACTS, digest="1" * 64) if changed == "codec" else FACTS
    if changed == "recordings":
        lines = source.read_text(encoding="utf-8").splitlines()
        source.write_text("\n".join(lines[1:]), encoding="utf-8")
    if changed == "plan":
        (out / shards.PLAN).write_text("{", encoding="utf-8")
    options = EncodeOptions(shard_seconds=9.0) if changed == "shard" else SHORT
    with pytest.raises(DataError) as caught:
        encode(source, out, Fake(facts), options)
    assert words in str(caught.value)


def test_what_cannot_be_read_is_left_out_and_told_again_by_the_next_call(
    source: Path, out: Path
) -> None:
    (source.parent / "wavs" / "3.wav").write_bytes(b"RIFFnoise")
    with source.open("a", encoding="utf-8") as file:
        file.write("[]\n")
    for _ in range(2):
        report = encode(source, out, Fake(), SHORT)
        assert [(p.line, p.reason) for p in report.problems] == [
            (4, "DecodeError"),
            (13, "Manifest"),
        ]
        assert report.utterances == 11


def test_nothing_to_encode_is_an_error_with_its_first_reason(source: Path, out: Path) -> None:
    for path in (source.parent / "wavs").iterdir():
        path.write_bytes(b"RIFFnoise")
    with pytest.raises(DataError, match="no usable line, first: line 1, audio_filepath"):
        encode(source, out, Fake(), SHORT)


def test_a_folder_is_encoded_as_it_was_first_found(own_voice: Path, out: Path) -> None:
    report = encode(own_voice / "wavs", out, Fake(), SHORT)
    assert report.manifest == out / "wavs.jsonl"
    write_wav(own_voice / "wavs" / "0new.wav", tone(0.5), RATE)
    again = encode(own_voice / "wavs", out, Fake(), SHORT)
    assert (again.utterances, again.kept) == (15, report.encoded)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda codes: codes + 63, "outside of 0 to 63"),
        (lambda codes: codes - 64, "has codes from -"),
        (lambda codes: codes[:, :, :3], "has 3 frames for"),
        (lambda codes: codes[:, :1], "not [2, frames]"),
    ],
)
def test_codes_that_the_codec_cannot_have_are_refused(
    source: Path, out: Path, wrong: Callable[[Tensor], Tensor], words: str
) -> None:
    class Wrong(Fake):
        def __call__(self, waveforms: Tensor) -> Tensor:
            return wrong(super().__call__(waveforms))

    with pytest.raises(DataError, match=r"^codec, line \d+: codes: 'wavs/") as caught:
        encode(source, out, Wrong(), SHORT)
    assert words in str(caught.value)
    assert list((out / "codes").glob("*.json")) == []


def test_clips_of_one_length_go_together_unless_that_changes_a_code(
    source: Path, out: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    for record in records[:8]:
        write_wav(source.parent / record["audio_filepath"], tone(0.5, 200.0 + len(record)), RATE)
        record["duration"] = 0.5
    source.write_text("".join(f"{json.dumps(r)}\n" for r in records), encoding="utf-8")

    class Leaks(Fake):
        def __call__(self, waveforms: Tensor) -> Tensor:
            codes = super().__call__(waveforms)
            return (codes + (codes.size(0) > 1)).clamp(max=63)

    sound, leaks = Fake(), Leaks()
    whole = EncodeOptions(shard_seconds=60.0, batch_seconds=2.0)
    good = encode(source, out, sound, whole)
    assert sorted(sound.batches)[-2:] == [4, 4]
    assert good.one_by_one is False
    bad = encode(source, tmp_path / "leaks", leaks, whole)
    assert bad.one_by_one is True
    assert sorted(leaks.batches)[-2:] == [1, 4]  # after the first batch, all go alone
    assert "has other codes than they have alone" in caplog.text
    assert good.manifest is not None
    assert bad.manifest is not None
    assert list(all_codes(good.manifest).values()) == list(all_codes(bad.manifest).values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rank": 2, "world": 2}, "rank: 2 is not between 0 and world - 1, 1"),
        ({"shard_seconds": 0.0}, "shardSeconds: 0 is not above 0"),
    ],
)
def test_options_are_checked(options: dict[str, float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        EncodeOptions(**options)  # type: ignore[arg-type]


def test_the_source_is_never_written_over(source: Path) -> None:
    with pytest.raises(DataError, match="holds the source manifest"):
        encode(source, source.parent, Fake(), SHORT)
