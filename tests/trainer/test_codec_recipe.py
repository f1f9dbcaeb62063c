"""The codec recipe through the engine: it learns, resumes bit by bit, gates a NaN, exports, and says what it holds."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_codec
import torch
from ranks import run_ranks
from small_codec import config_of, make
from test_engine_loop import equal
from transformers import DacModel

from speech_contract import codec as wire_codec
from speech_contract import paths
from speech_contract.phases import Phase
from speech_contract.pictures import Pictures
from speech_contract.recipes import CodecPreset
from speech_contract.result import Result
from speech_contract.run_config import Data, DataSet
from speech_trainer.audio.resampling import resample
from speech_trainer.data.codes import read_codes
from speech_trainer.data.encode import EncodeOptions, encode
from speech_trainer.data.manifest import read_manifest
from speech_trainer.data.samples import decode
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.engine.state import collect_tensors
from speech_trainer.errors import ConfigError
from speech_trainer.models.encoders import load_encoder
from speech_trainer.recipes.codec import evaluation, presets
from speech_trainer.recipes.codec.batch import CodecBatch
from speech_trainer.recipes.codec.recipe import CodecTrainer


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_codec.settled():
        yield


def recipe_of(tmp_path: Path, voice: Path, **changes: object) -> CodecTrainer:
    config = config_of(tmp_path / "run", voice, **changes)
    (tmp_path / "run").mkdir(exist_ok=True)
    return CodecTrainer(RecipeContext(config, small_codec.CPU, 0, 1, tmp_path / "run"))


def first_batch(recipe: CodecTrainer) -> CodecBatch:
    stream = recipe.data()
    try:
        return stream.next_batch()
    finally:
        stream.close()


def test_it_is_checked_trains_scores_and_exports_what_transformers_reads(
    tmp_path: Path, voice: Path
) -> None:
    config = config_of(tmp_path / "run", voice, training={"max_steps": 40})
    run = make(config, checked=True)
    assert run.engine.run() == 0
    training = [d for d in run.said.datagrams if d.phase is Phase.TRAINING and d.losses]
    first, last = training[0], training[-1]
    assert first.losses is not None
    assert last.losses is not None
    assert last.losses["total"] < 0.8 * first.losses["total"]
    assert first.codebooks is None  # latents pass unrounded
    assert last.codebooks is not None
    assert list(last.codebooks) == ["q0", "q1"]
    assert all(0.0 <= (b.residual or 0.0) <= 1.0 for b in last.codebooks.values())
    result = wire_codec.loads(Result, (tmp_path / "run" / paths.RESULT).read_text("utf-8"))
    assert set(result.scores) == set(evaluation.SPECS)
    assert set(result.baselines) == {"silence", "shaped_noise", "nearest_clip"}
    assert result.baselines["silence"]["snr"] == 0.0
    assert result.best is not None
    (drawn,) = wire_codec.loads(
        Pictures,
        (tmp_path / "run" / result.samples[0]).with_name("pictures.json").read_text("utf-8"),
    ).maps
    used = [int(label.split()[1]) for label in drawn.rows]
    assert [label.partition(":")[0] for label in drawn.rows] == ["q0", "q1"]
    size = run.engine.built.models["generator"].config.codebook_size
    assert 1 - sum(used) / (2 * size) == pytest.approx(result.scores["dead_codes"])
    model = DacModel.from_pretrained(tmp_path / "run" / paths.EXPORT).eval()
    waveform = 0.3 * torch.randn(1, 1, 32 * 20)
    codec = run.engine.built.models["generator"].eval()
    with torch.no_grad():
        mine, theirs = codec(waveform), model(waveform)
    assert torch.equal(mine[1].codes, theirs.audio_codes)
    assert torch.allclose(mine[0].squeeze(1), theirs.audio_values, atol=1e-5)
    _encoded_as_by(codec, tmp_path, voice)


def _encoded_as_by(codec: torch.nn.Module, tmp_path: Path, voice: Path) -> None:
    """The chain: what was exported writes codes of files, and they are read as this codec has them."""
    encoder = load_encoder(tmp_path / "run" / paths.EXPORT, small_codec.CPU)
    report = encode(voice / "train.jsonl", tmp_path / "codes", encoder, EncodeOptions())
    assert report.manifest is not None
    manifest = read_manifest(report.manifest)
    assert len(manifest.utterances) == 12
    used: set[int] = set()
    for utterance in manifest.utterances:
        waveform = resample(*decode(manifest.audio_path(utterance)), 16000)
        whole = torch.nn.functional.pad(waveform, (0, -waveform.numel() % 32)).reshape(1, 1, -1)
        with torch.no_grad():
            expected = codec(whole)[1].codes[0]
        found = read_codes(manifest, utterance)
        assert torch.equal(found, expected)
        used |= set(found.flatten().tolist())
    assert len(used) > 4  # a codec of one code would pass all of the above


@pytest.mark.parametrize("dies_at", [3, 9])
def test_a_killed_and_resumed_run_equals_an_undisturbed_one(
    tmp_path: Path, voice: Path, dies_at: int
) -> None:
    """Before the codebooks start (the reservoir is half full) and after."""
    saves = {"every_steps": 2}
    whole = make(config_of(tmp_path / "a", voice, checkpoint=saves))
    whole.engine.run()
    with pytest.raises(KeyboardInterrupt):
        make(config_of(tmp_path / "b", voice, checkpoint=saves), dies_at=dies_at).engine.run()
    again = make(config_of(tmp_path / "b", voice, checkpoint=saves, attempt=2))
    assert again.engine.run() == 0
    assert again.said.last.resumed_from_step == dies_at - 1
    assert equal(collect_tensors(whole.engine.built), collect_tensors(again.engine.built)) == []


@pytest.mark.parametrize("step", [2, 3, 8])
def test_a_nan_leaves_codebooks_and_reservoir_finite(
    tmp_path: Path, voice: Path, step: int
) -> None:
    """While it fills, in the very step that starts the codebooks, and while they move."""
    run = make(config_of(tmp_path / "run", voice), nan_steps=(step,))
    assert run.engine.run() == 0
    assert run.said.last.non_finite_steps == 1
    assert all(bool(t.isfinite().all()) for t in collect_tensors(run.engine.built).values())


def test_ranks_with_uneven_data_keep_one_codebook_and_a_nan_on_one_stops_all(
    tmp_path: Path, voice: Path
) -> None:
    shutil.copytree(voice, tmp_path / "voice")
    seen = run_ranks(Path(__file__).with_name("codec_worker.py"), "codec", tmp_path)
    assert [one["code"] for one in seen] == [0, 0]
    assert seen[0]["digests"] == seen[1]["digests"]
    assert "staged" in seen[0]["digests"]
    assert [one["non_finite"] for one in seen] == [1, 1]
    assert [one["updates"] for one in seen] == [13, 13]


def test_the_discriminators_come_in_at_their_step(tmp_path: Path, voice: Path) -> None:
    recipe = recipe_of(tmp_path, voice, recipe={"adversarial_start_step": 2})
    built, batch = recipe.build(), first_batch(recipe)
    before = recipe.train_step(built, batch, 1).losses
    after = recipe.train_step(built, batch, 2).losses
    assert set(after) - set(before) == {
        "discriminator/adversarial",
        "generator/adversarial",
        "generator/feature_matching",
    }
    assert all(p.grad is not None for m in built.models.values() for p in m.parameters())


def test_crops_depend_on_their_place_in_the_stream_alone(tmp_path: Path, voice: Path) -> None:
    recipe = recipe_of(tmp_path, voice)
    a, b = recipe._crop(3, 17), recipe._crop(3, 17)
    assert (a.start, torch.equal(a.waveform, b.waveform)) == (b.start, True)
    assert len({recipe._crop(3, place).start for place in range(8)}) > 1


def test_crops_are_brought_to_their_loudness_without_clipping(tmp_path: Path, voice: Path) -> None:
    small_codec.settle(loudness=-16.0)
    for place in range(6):
        crop = recipe_of(tmp_path, voice)._crop(place, place)
        level = float(crop.waveform.square().mean().sqrt())
        assert float(crop.waveform.abs().max()) <= 1.0 + 1e-6
        assert (
            level == pytest.approx(10 ** (-16 / 20), rel=1e-3) or crop.waveform.abs().max() > 0.99
        )


def test_a_strategic_log_says_what_arrived_and_what_came_out(tmp_path: Path, voice: Path) -> None:
    recipe = recipe_of(tmp_path, voice)
    built, batch = recipe.build(), first_batch(recipe)
    first, later = (
        {s.title: s.facts for s in recipe.strategic_sections(built, batch, step)} for step in (1, 9)
    )
    received = first["Input"]["data received"]
    assert (received["recordings"], received["sample rate"]) == (12, 16000)
    assert "data received" not in later["Input"]
    assert later["Input"]["crops"][0]["from"].endswith(" s")
    assert later["Input"]["crops"][0]["file"].startswith("wavs/")
    assert later["Input"]["recorded at, Hz"] == {"22050": 4}
    loudness = later["Input"]["loudness, dB"]
    assert -30.0 < loudness["quietest"] <= loudness["median"] <= loudness["loudest"] < 0.0
    assert first["Output"]["codes"].startswith("none yet")
    assert [book["book"] for book in later["Output"]["codes"]] == ["q0", "q1"]
    assert "0-500 Hz" in later["Output"]["error by band, dB"]


def test_a_folder_is_trained_on_as_its_manifest_is(
    tmp_path: Path, voice: Path, own_voice: Path
) -> None:
    (own_voice / "wavs" / "notes.txt").write_text("no audio", encoding="utf-8")
    data = Data(DataSet(folder=str(own_voice / "wavs")), DataSet(str(voice / "validation.jsonl")))
    run = make(dataclasses.replace(config_of(tmp_path / "run", voice), data=data), checked=True)
    assert run.engine.run() == 0
    config = json.loads((tmp_path / "run" / paths.CONFIG).read_text("utf-8"))
    assert config["samples"] == 15
    step, (given, *_) = run.said.sections[0]
    received = given.facts["data received"]
    assert (step, received["folder"]) == (1, str(own_voice / "wavs"))
    assert (received["recordings"], received["no audio by name"]) == (15, 1)
    assert config["audioSeconds"] == pytest.approx(received["hours"] * 3600, abs=2.0)


def test_a_goal_and_its_bit_rate_are_facts_of_the_run(tmp_path: Path, voice: Path) -> None:
    facts = recipe_of(tmp_path, voice, recipe={"goal_snr": "30"}).run_facts()
    assert (facts.goal_snr, facts.bits_per_second) == (30.0, 2 * 4 * 16000 / 32)


def test_a_batch_too_small_for_k_means_is_refused(tmp_path: Path, voice: Path) -> None:
    with pytest.raises(ConfigError, match="globalBatchSize: 1 gives 48 latents"):
        recipe_of(tmp_path, voice, training={"global_batch_size": 1})


def test_a_folder_without_a_codec_is_named(tmp_path: Path, voice: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.codec\.pretrained"):
        recipe_of(tmp_path, voice, recipe={"pretrained": str(tmp_path)})


def test_an_export_is_trained_on(tmp_path: Path, voice: Path) -> None:
    run = make(config_of(tmp_path / "a", voice))
    run.engine.run()
    export = str(tmp_path / "a" / paths.EXPORT)
    recipe = recipe_of(tmp_path, voice, recipe={"pretrained": export})
    built = recipe.build()
    assert recipe.run_facts().fresh is False
    own = built.staged["quantizers.0.codes"]
    before = run.engine.built.staged["quantizers.0.codes"]
    assert torch.allclose(own, before, atol=1e-6)  # exported as seen from their middle
    assert recipe.train_step(built, first_batch(recipe), 1).codebooks is not None


@pytest.mark.parametrize("preset", list(CodecPreset))
def test_what_config_json_says_of_a_preset(
    preset: CodecPreset, tmp_path: Path, voice: Path
) -> None:
    presets.check(presets.PRESETS[preset])
    recipe = recipe_of(tmp_path, voice, recipe={"preset": preset})
    document = json.loads(json.dumps(recipe.effective_config()))
    assert document["recipe"] == "codec"
    assert document["bitsPerSecond"] == pytest.approx(
        {"Debug": 4000, "Speech16k": 6000, "Speech24k": 24000}[preset.value]
    )


def test_scores_of_known_waveforms() -> None:
    wave = torch.sin(torch.arange(4000) * 0.05)
    noise = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    assert evaluation.snr(wave + noise, wave) == pytest.approx(17.0, abs=0.5)
    assert evaluation.si_sdr(0.3 * (wave + noise), wave) == pytest.approx(17.0, abs=0.5)
    assert evaluation.snr(torch.zeros(4000), wave) == 0.0
    codes = [torch.arange(64).reshape(1, 64) % 16, torch.arange(64).reshape(1, 64) % 16]
    scores = evaluation.code_scores(codes, 32, 50.0)
    assert scores["perplexity"] == pytest.approx(16.0)
    assert scores["dead_codes"] == 0.5
    assert scores["bits_used"] == pytest.approx(200.0)
    (drawn,) = evaluation.usage_map(codes, 32).maps
    assert (drawn.rows, drawn.values) == (["q0: 16 of 32"], [[2.0] * 16 + [0.0] * 16])
    (joined,) = evaluation.usage_map(codes, 130).maps  # neighbours by rank together
    assert len(joined.values[0]) == 65
    assert sum(joined.values[0]) / 65 == pytest.approx(1.0, abs=1e-3)
