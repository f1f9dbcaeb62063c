"""`speechtrain speak` with tiny exported voices: a file to hear, the same for the same seed, refusals in a sentence."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from speech_contract import paths

pytest.importorskip("torch")

import small_cloning
import soundfile
import torch
from tones import tone
from transformers import VitsConfig, VitsModel

from speech_cli.commands.speak import command
from speech_trainer.audio.files import write_wav
from speech_trainer.models.encoders import FOLDER, copy_codec, weights_digest
from speech_trainer.models.sampling import Sampling
from speech_trainer.recipes.vits.tokens import BLANK, Vocabulary, export_tokenizer

Call = Callable[..., Result]
RATE = small_cloning.CODEC.sample_rate
VITS = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 8, "flow_size": 8,
    "prior_encoder_num_flows": 1, "prior_encoder_num_wavenet_layers": 1, "posterior_encoder_num_wavenet_layers": 1,
    "use_stochastic_duration_prediction": False, "duration_predictor_filter_channels": 8,
    "upsample_initial_channel": 8, "upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8],
    "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]], "spectrogram_bins": 9, "sampling_rate": 8000,
}  # fmt: skip


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cloning.write_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory, codec: Path) -> Path:
    """A run directory whose export is a v3 of random weights with its codec."""
    run = tmp_path_factory.mktemp("run")
    model, export = small_cloning.v3(), run / paths.EXPORT
    model.save(export, None)
    small_cloning.tokens_of(type(model)).save(export)
    copy_codec(codec, export / FOLDER)
    (run / paths.CONFIG).write_text("{}", "utf-8")
    return run


def write_vits(folder: Path, *, phonemes: bool = False, speakers: int = 1) -> Path:
    symbols = {BLANK: 0} | {letter: n for n, letter in enumerate(" abcdefgh", start=1)}
    several = {"speaker_embedding_size": 4} if speakers > 1 else {}
    torch.manual_seed(0)
    model = VitsModel(VitsConfig(vocab_size=len(symbols), num_speakers=speakers, **several, **VITS))
    model.save_pretrained(folder)
    export_tokenizer(Vocabulary(symbols, phonemes), folder)
    return folder


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_wav(tmp_path / "clip.wav", tone(0.4)[::2], 11025)
    return tmp_path / "clip.wav"


@pytest.fixture
def speak(call: Call, state: Path, tmp_path: Path) -> Callable[..., Result]:
    """`speak(RUN, …)` at most a second, into `said.wav`."""

    def run(voice: object, *more: object) -> Result:
        out = ("--out", tmp_path / "said.wav", "--max-seconds", 1)
        return call("speak", voice, "--text", "abc", *out, *more)

    return run


def heard(folder: Path) -> tuple[list[float], int]:
    samples, rate = soundfile.read(folder / "said.wav")
    return samples.tolist(), rate


def test_a_cloned_voice_speaks_like_a_clip_and_the_same_for_the_same_seed(
    speak: Call, cloned: Path, clip: Path, tmp_path: Path
) -> None:
    reference = ("--reference", clip, "--reference-text", "fgh")
    takes = []
    for seed in (1, 1, 2):
        answer = speak(cloned, *reference, "--seed", seed, "--temperature", 3)
        assert answer.exit_code == 0, answer.output
        takes.append(heard(tmp_path)[0])
    assert f"{clip} was resampled from 11025 to {RATE} Hz" in answer.output
    assert f"at {RATE} Hz" in answer.output
    assert takes[0] == takes[1] != takes[2]
    assert 0 < len(takes[0]) <= RATE


def test_v2_speaks_too_and_without_a_reference_that_is_said(
    speak: Call, codec: Path, tmp_path: Path
) -> None:
    model = small_cloning.v2()
    model.save(tmp_path / "v2", None)
    small_cloning.tokens_of(type(model)).save(tmp_path / "v2")
    answer = speak(tmp_path / "v2", "--codec", codec, "-o", "json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert told["file"] == str(tmp_path / "said.wav")
    assert "the voice is invented" in told["notes"][0]
    assert told["seconds"] == pytest.approx(len(heard(tmp_path)[0]) / RATE)


def test_a_line_of_a_manifest_is_a_reference_with_its_words_and_codes(
    speak: Call, cloned: Path, tmp_path: Path
) -> None:
    """Its audio is not there: the codes are those of this codec and are taken as they are."""
    digest = weights_digest(cloned / paths.EXPORT / FOLDER)
    manifest = small_cloning.write_set(tmp_path, "lines", 3, 0, digest=digest)
    answer = speak(cloned, "--reference", f"{manifest}:2")
    assert answer.exit_code == 0, answer.output
    foreign = small_cloning.write_set(tmp_path / "other", "lines", 3, 0)
    answer = speak(cloned, "--reference", f"{foreign}:2")
    assert answer.exit_code == 65
    assert "lines-1.wav' does not exist" in answer.output


def test_what_never_ends_is_cut_and_told(speak: Call, cloned: Path, tmp_path: Path) -> None:
    answer = speak(cloned, "--max-seconds", 0.08, "--temperature", 0, "--top-p", 1)
    assert answer.exit_code == 0, answer.output
    assert "it did not end by itself" in answer.output
    assert len(heard(tmp_path)[0]) <= 2 * small_cloning.CODEC.hop


def test_a_job_of_this_machine_is_a_voice(
    speak: Call, runs: Any, make: dict[str, Callable[..., Any]], cloned: Path
) -> None:
    runs.jobs["voice"], runs.run_dir = make["complete"](), cloned
    assert speak("voice").exit_code == 0
    answer = speak("voise")
    assert answer.exit_code == 64
    assert "is no folder, and no job: job: 'voise'" in answer.output
    assert "did you mean voice?" in answer.output


def test_a_job_without_an_export_is_told(
    speak: Call, runs: Any, make: dict[str, Callable[..., Any]], tmp_path: Path
) -> None:
    runs.jobs["voice"], runs.run_dir = make["job"](), tmp_path / "young"
    answer = speak("voice")
    assert answer.exit_code == 64
    assert "'voice' has no export in" in answer.output
    assert "Running" in answer.output


@pytest.mark.parametrize("speakers", [1, 3])
def test_a_vits_voice_speaks_by_its_letters(speak: Call, tmp_path: Path, speakers: int) -> None:
    voice = write_vits(tmp_path / "vits", speakers=speakers)
    answer = speak(voice, "--speaker", speakers - 1)
    assert answer.exit_code == 0, answer.output
    samples, rate = heard(tmp_path)
    assert rate == 8000
    assert len(samples) > 0
    answer = speak(voice, "--speaker", speakers)
    assert (answer.exit_code, f"this voice has {speakers}" in answer.output) == (64, True)


def test_a_vits_voice_of_phonemes_asks_espeak(speak: Call, tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    voice = write_vits(tmp_path / "vits", phonemes=True)
    assert "language: is missing" in speak(voice).output
    answer = speak(voice, "--language", "en-us")
    assert answer.exit_code == 65  # its few symbols hold no IPA
    assert "has phonemes that this voice has never learned" in answer.output


def test_what_cannot_be_said_is_refused(
    call: Call, cloned: Path, codec: Path, clip: Path, tmp_path: Path, state: Path
) -> None:
    vits, bare, empty = tmp_path / "vits", tmp_path / "bare", tmp_path / "empty"
    write_vits(vits)
    shutil.copytree(cloned / paths.EXPORT, bare)
    shutil.rmtree(bare / FOLDER)
    (empty / paths.CHECKPOINTS).mkdir(parents=True)
    other = tmp_path / "lines.jsonl"
    other.write_text(json.dumps({"audio_filepath": "a.wav", "duration": 1, "text": "a"}), "utf-8")
    reference = ["--reference", clip]
    for code, words, arguments in (
        (64, "for a cloned voice; a VITS voice speaks as it was trained", [vits, *reference]),
        (64, "codec: '", [vits, "--codec", codec]),
        (65, "characters that this voice has never learned: 'ß', 'é'", [vits, "--text", "abßé"]),
        (65, "text: ' ' has nothing to say", [vits, "--text", " "]),
        (65, "text: ' ' has nothing to say", [cloned, "--text", " "]),
        (65, "a mark of the prompt", [cloned, "--text", "<|audio|>"]),
        (64, "codec: none is in", [bare]),
        (64, "reference-text: is missing", [cloned, *reference]),
        (64, "belongs to a reference", [cloned, "--reference-text", "abc"]),
        (64, "is a manifest; name a line of it", [cloned, "--reference", other]),
        (65, "has no line 7; its lines are 1 to 1", [cloned, "--reference", f"{other}:7"]),
        (65, "'none.wav' does not exist", [cloned, "--reference", "none.wav", "--reference-text", "a"]),
        (64, "speaker: 1 is for VITS", [cloned, "--speaker", 1]),
        (64, "top_p: 2.0 is not above 0 and at most 1", [cloned, "--top-p", 2]),
        (64, "device: 'tpux' is not there", [cloned, "--device", "tpux"]),
        (64, "is of model_type 'dac', no voice", [codec]),
        (64, "holds no export/", [empty]),
        (2, "--max-seconds", [cloned, "--max-seconds", 0]),
    ):  # fmt: skip
        voice, *more = arguments
        answer = call("speak", voice, "--text", "abc", "--out", tmp_path / "no.wav", *more)
        assert (answer.exit_code, words in answer.output) == (code, True), answer.output
        assert not (tmp_path / "no.wav").exists()


def test_the_command_draws_as_evaluations_do() -> None:
    """Two defaults of one thing: a command line is read without torch."""
    options = {option.name: option.default for option in command.params}
    drawn = {f.name: f.default for f in dataclasses.fields(Sampling) if f.name != "max_frames"}
    assert {name: options[name] for name in drawn} == drawn


def test_a_codec_of_other_sizes_is_refused(speak: Call, cloned: Path, tmp_path: Path) -> None:
    from transformers import DacConfig, DacModel

    sizes = {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "n_codebooks": 2}
    DacModel(DacConfig(**sizes, downsampling_ratios=[8, 8])).save_pretrained(tmp_path / "two")
    answer = speak(cloned, "--codec", tmp_path / "two")
    assert answer.exit_code == 64
    assert "codec: it has 2 books of 1024, the voice 4 of 16" in answer.output


def test_an_export_that_is_broken_is_named_as_what_was_typed(
    speak: Call, cloned: Path, tmp_path: Path
) -> None:
    shutil.copytree(cloned / paths.EXPORT, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"half")
    answer = speak(tmp_path / "broken")
    assert answer.exit_code == 64
    assert answer.output.startswith("Error: RUN: ")
