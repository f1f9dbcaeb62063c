"""Free speech at an evaluation: its scores, its bound, its files, and the codec that has to be the right one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_cloning
import soundfile
import torch
from small_cloning import BOOKS, CODES, recipe_of
from transformers import (
    DacModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from speech_contract import paths
from speech_trainer.errors import ConfigError
from speech_trainer.models.encoders import FOLDER, load_encoder, weights_digest
from speech_trainer.models.recognizers import Recognizer, character_error_rate
from speech_trainer.models.sampling import Generated, Sampling
from speech_trainer.recipes.voice_cloning import generation, parts
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_cloning.settled():
        yield


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cloning.write_codec(tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, codec: Path) -> Path:
    """Codes that say they are of that codec."""
    folder = tmp_path_factory.mktemp("codes")
    small_cloning.write_set(folder, "train", 6, 0, digest=weights_digest(codec))
    small_cloning.write_set(folder, "validation", 6, 1, digest=weights_digest(codec))
    return folder


def said(monkeypatch: pytest.MonkeyPatch, *answers: Generated) -> list[Sampling]:
    """Let the model say this; what it is asked for."""
    asked, waiting = [], list(answers)

    def speak(backbone: Any, prompt: Any, settings: Sampling) -> Generated:
        asked.append(settings)
        return waiting.pop(0)

    monkeypatch.setattr(generation, "generate", speak)
    return asked


def evaluated(recipe: VoiceCloning, step: int = 7) -> Any:
    return recipe.evaluate(recipe.build(), step)


def test_lengths_and_ends_are_scored(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path / "run", data)
    true = [sample.spoken.codes for sample in recipe._evaluator.samples[:4]]
    longer = torch.cat([true[1], true[1]], dim=1)
    asked = said(
        monkeypatch,
        Generated(true[0], True),
        Generated(longer, False),
        Generated(true[2][:, : true[2].size(1) // 2], True),
        Generated(true[3], True),
    )
    found = evaluated(recipe)
    assert found.scores["length_error"] == pytest.approx((0 + 1 + 0.5 + 0) / 4)
    assert found.scores["never_ended"] == 0.25
    assert [settings.max_frames for settings in asked] == [2 * codes.size(1) for codes in true]
    assert found.scores["cross_entropy"] > 0  # beside those of teacher-forced predictions
    assert {"length_error", "never_ended"} <= set(found.specs)
    assert found.samples == ()  # no codec at hand
    assert not (recipe.context.run_dir / paths.SAMPLES).exists()


def test_a_model_of_nan_has_scores_of_nan(tmp_path: Path, data: Path) -> None:
    recipe = recipe_of(tmp_path / "run", data)
    built = recipe.build()
    with torch.no_grad():
        parts.backbone_of(built).table.weight.fill_(torch.nan)
    scores = recipe.evaluate(built, 7).scores
    verdict = recipe._probes.reference(parts.cloner_of(built), CPU)["verdict"]
    assert verdict == "nothing can be told: predictions are not finite"
    told = ("cross_entropy", "swap_gain_low", "length_error", "never_ended")
    assert all(math.isnan(scores[name]) for name in told)


def test_long_recordings_are_left_out(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "MOST_SECONDS", 0.0)
    asked = said(monkeypatch)
    found = evaluated(recipe_of(tmp_path / "run", data))
    assert asked == []
    assert "length_error" not in found.scores


def test_a_codec_at_hand_writes_what_was_said_beside_the_recording(
    tmp_path: Path, data: Path, codec: Path
) -> None:
    recipe = recipe_of(tmp_path / "run", data, recipe={"codec": str(codec)})
    found = evaluated(recipe)
    folder = recipe.context.run_dir / paths.SAMPLES / "step-7"
    names = {f"{n}-{kind}.wav" for n in (1, 2, 3, 4) for kind in generation.KINDS}
    assert {path.name for path in found.samples} == names == {p.name for p in folder.iterdir()}
    recorded, rate = soundfile.read(folder / "1-recorded.wav", dtype="float32")
    assert rate == small_cloning.CODEC.sample_rate
    codes = recipe._evaluator.samples[0].spoken.codes
    decoded = load_encoder(codec, CPU).decode(codes)
    torch.testing.assert_close(torch.from_numpy(recorded), decoded, atol=1e-4, rtol=0)


def test_the_codec_goes_into_the_export_and_is_found_there(
    tmp_path: Path, data: Path, codec: Path
) -> None:
    recipe = recipe_of(tmp_path / "run", data, recipe={"codec": str(codec)})
    recipe.export(recipe.build(), tmp_path / "export")
    (tmp_path / "export" / FOLDER / "README.md").write_text("not the codec's", "utf-8")
    assert weights_digest(tmp_path / "export" / FOLDER) == weights_digest(codec)
    again = {"pretrained": str(tmp_path / "export")}
    other = recipe_of(tmp_path / "again", data, recipe=again)
    assert other.codec == tmp_path / "export" / FOLDER
    other.export(other.build(), tmp_path / "export-2")
    kept = {path.name for path in (tmp_path / "export-2" / FOLDER).iterdir()}
    assert kept == {"config.json", "model.safetensors"}


def test_a_codec_that_wrote_other_codes_is_refused(tmp_path: Path, data: Path, codec: Path) -> None:
    other = small_cloning.write_codec(tmp_path / "other", seed=1)
    with pytest.raises(
        ConfigError, match=r"codec: '.*other' is not the codec that wrote the codes"
    ):
        recipe_of(tmp_path / "run", data, recipe={"codec": str(other)})
    with pytest.raises(ConfigError, match=r"codec: '.*lost.config\.json' can't be read"):
        recipe_of(tmp_path / "run", data, recipe={"codec": str(tmp_path / "lost")})


def test_audio_of_a_codec_has_the_length_of_its_codes(codec: Path) -> None:
    encoder = load_encoder(codec, CPU)
    codes = torch.randint(0, CODES, (BOOKS, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.decode(codes)
    assert found.dtype == torch.float32
    theirs = DacModel.from_pretrained(codec).eval().decode(audio_codes=codes[None]).audio_values
    torch.testing.assert_close(found, theirs[0].detach())


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CTC over eight letters by random weights, as a folder of transformers."""
    folder = tmp_path_factory.mktemp("recognizer")
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4}
    vocabulary |= {letter: n for n, letter in enumerate(small_cloning.LETTERS, start=5)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_dim=[8] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def test_a_recogniser_tells_how_much_can_be_understood(
    tmp_path: Path, data: Path, codec: Path, recognizer: Path
) -> None:
    named = {"codec": str(codec), "recognizer": str(recognizer)}
    recipe = recipe_of(tmp_path / "run", data, recipe=named)
    found = evaluated(recipe)
    recorded = found.baselines["recorded"]["cer"]
    assert found.scores["cer"] > 0
    assert found.specs["cer"].better is not None
    hear, decode = Recognizer(recognizer, CPU), load_encoder(codec, CPU).decode
    spoken = [sample.spoken for sample in recipe._evaluator.samples[:4]]
    understood = [hear(decode(s.codes), small_cloning.CODEC.sample_rate) for s in spoken]
    assert recorded == character_error_rate(understood, [s.text for s in spoken])
    assert recorded > 0  # nobody taught it


def test_characters_that_are_wrong_are_counted_over_all_sentences() -> None:
    assert character_error_rate(["Good  morning!", ""], ["good morning", "hi"]) == 2 / 14
    assert character_error_rate(["నమస్కరం"], ["నమస్కారం"]) == 1 / 8
    assert character_error_rate(["abc"], ["a"]) == 2.0
    with pytest.raises(ValueError, match="no letter"):
        character_error_rate(["a"], ["…"])


def test_a_recogniser_that_cannot_hear_is_refused(
    tmp_path: Path, data: Path, codec: Path, recognizer: Path
) -> None:
    with pytest.raises(ConfigError, match="hears nothing without a codec"):
        recipe_of(tmp_path / "a", data, recipe={"recognizer": str(recognizer)})
    named = {"codec": str(codec), "recognizer": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        recipe_of(tmp_path / "b", data, recipe=named)
    broken = recipe_of(tmp_path / "c", data, recipe={"codec": str(codec), "recognizer": str(codec)})
    with pytest.raises(ConfigError, match=r"recognizer: .* can't be loaded"):
        broken.build()
