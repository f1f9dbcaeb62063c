"""`speechtrain data` on real speech of two sentences, and on input that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from speech_telemetry.printed.reader import LineReader

Call = Callable[..., Result]

pytest.importorskip("torch")
pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Two training sentences and one held out, spoken once for the module."""
    from click.testing import CliRunner

    from speech_cli.main import cli

    folder = tmp_path_factory.mktemp("speech")
    arguments = ["data", "synthesize", "--language", "te", "--sentences", "2", "--validation", "1"]
    return CliRunner().invoke(cli, [*arguments, "--out", str(folder)]), folder


@pytest.fixture
def manifest(spoken: tuple[Result, Path], tmp_path: Path) -> Path:
    """A copy that a test may break."""
    lines = (spoken[1] / "train.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record["audio_filepath"] = str(spoken[1] / record["audio_filepath"])
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def test_synthesize_says_what_it_wrote(spoken: tuple[Result, Path]) -> None:
    result, folder = spoken
    assert result.exit_code == 0
    assert result.stdout.startswith("spoke 3 sentences, ")
    assert f"training: {folder / 'train.jsonl'}" in result.stdout
    assert f"held out: {folder / 'validation.jsonl'}" in result.stdout
    assert len((folder / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_what_was_spoken_is_valid(call: Call, spoken: tuple[Result, Path]) -> None:
    answer = call("data", "validate", spoken[1] / "train.jsonl")
    assert answer.exit_code == 0
    assert "2 readable lines" in answer.output
    assert "nothing is wrong" in answer.output


def test_faults_are_listed_with_line_field_value_and_remedy(call: Call, manifest: Path) -> None:
    with manifest.open("a", encoding="utf-8") as file:
        file.write('{"half\n{"audio_filepath": "none.wav", "duration": 1.0, "text": "a"}\n')
    answer = call("data", "validate", manifest)
    assert answer.exit_code == 65
    assert "line 3, line: '{\"half' is no JSON" in answer.output
    assert "line 4, audio_filepath:" in answer.output
    report = json.loads(call("data", "validate", manifest, "-o", "json").stdout)
    assert report["ok"] is False
    assert [problem["line"] for problem in report["problems"]] == [3, 4]


def test_prepare_leaves_bad_lines_out_and_says_so(
    call: Call, manifest: Path, tmp_path: Path
) -> None:
    with manifest.open("a", encoding="utf-8") as file:
        file.write("[]\n")
    answer = call("data", "prepare", manifest, "--out", tmp_path / "out", "--sample-rate", "16000")
    assert answer.exit_code == 0
    assert answer.output.startswith("2 utterances, ")
    assert "left out: 1 Manifest" in answer.output


def test_encode_says_what_it_wrote_and_goes_on_where_it_ended(
    call: Call, manifest: Path, tmp_path: Path
) -> None:
    from transformers import DacConfig, DacModel

    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "n_codebooks": 2}
    DacModel(DacConfig(**sizes, downsampling_ratios=[8, 8])).save_pretrained(tmp_path / "weights")
    arguments = [
        "data",
        "encode",
        manifest,
        "--codec",
        tmp_path / "weights",
        "--out",
        tmp_path / "out",
    ]
    ranks = [
        call(*arguments, "--rank", rank, "--world", 2, "--shard-seconds", 1) for rank in (0, 1)
    ]
    assert [answer.exit_code for answer in ranks] == [0, 0]
    assert "1 of other ranks are not there yet" in ranks[0].output
    lines = "".join(rank.output for rank in ranks).splitlines()
    steps = [line for line in lines if line.startswith("step 1 of 1: shard ")]
    assert len(steps) == 2
    sample = LineReader().feed(steps[0], now=1.0)  # so a job of it is seen to go on
    assert sample is not None
    assert (sample.step, sample.losses) == (1, None)
    assert "2 utterances, " in ranks[1].output
    assert str(tmp_path / "out" / "train.jsonl") in ranks[1].output
    again = json.loads(call(*arguments, "--shard-seconds", "1", "-o", "json").stdout)
    assert (again["encoded"], again["kept"], again["missing"]) == (0, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["validate", "."], 65, ["is a folder", "--audio-only"]),
        (["validate", ".", "--audio-only"], 65, ["holds no audio file (0 other, 0 hidden)"]),
        (["encode", ".", "--codec", "none", "--out", "x"], 64, ["codec: 'none/config.json'"]),
        (["encode", ".", "--codec", "none", "--out", "x", "--rank", "1"], 65, ["rank: 1"]),
        (["validate", "none.jsonl"], 65, ["none.jsonl", "does not exist"]),
        (
            ["synthesize", "--language", "tee", "--out", "x"],
            2,
            ["--language", "'tee'", "did you mean te?"],
        ),
        (
            ["synthesize", "--speakers", "0", "--out", "x"],
            2,
            ["--speakers", "0 is not in the range"],
        ),
        (
            ["synthesize", "--sentences", "2", "--out", "/dev/null/x"],
            64,
            ["/dev/null", "check path"],
        ),
        (["synthesize"], 2, ["--out"]),
    ],
)
def test_wrong_input_is_told(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, words: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    answer = call("data", *arguments)
    assert answer.exit_code == code
    for word in words:
        assert word in answer.output
