"""Voice cloning through the engine: it listens, resumes bit by bit, counts codes and not sentences."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_cloning
import torch
from small_cloning import config_of, make, recipe_of
from test_engine_loop import equal
from torch import Tensor

from speech_contract import codec as wire_codec
from speech_contract import paths
from speech_contract.phases import Phase
from speech_contract.recipes import Adapters, CloningBackbone, CloningPreset
from speech_contract.result import Result
from speech_trainer import replay_batch
from speech_trainer.data.delay import IGNORED
from speech_trainer.data.errors import BadCodes
from speech_trainer.engine.recipe import Built, StepRecord
from speech_trainer.engine.state import collect_tensors
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.recipes.voice_cloning import parts
from speech_trainer.recipes.voice_cloning.backbones import BACKBONES
from speech_trainer.recipes.voice_cloning.batch import CloningBatch, Collate
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning
from speech_trainer.strategic.collect import failed


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_cloning.settled():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 training lines and 12 held out, of three voices each."""
    folder = tmp_path_factory.mktemp("codes")
    small_cloning.write_set(folder, "train", 72, 0)
    small_cloning.write_set(folder, "validation", 12, 1)
    return folder


def collated(recipe: VoiceCloning, *indexes: int) -> CloningBatch:
    """A batch of these training lines."""
    material = recipe.material
    return Collate(material)([material.load(material.training, index) for index in indexes])


def test_it_is_checked_listens_and_exports_what_it_can_be_trained_on_again(
    tmp_path: Path, data: Path
) -> None:
    run = make(config_of(tmp_path / "run", data, training={"max_steps": 90}), checked=True)
    assert run.engine.run() == 0
    training = [d.losses for d in run.said.datagrams if d.phase is Phase.TRAINING and d.losses]
    assert set(training[0]) == {"total", "codes/cross_entropy", *(f"book/q{n}" for n in range(4))}
    assert training[0]["total"] == pytest.approx(math.log(18), rel=0.05)
    result = wire_codec.loads(Result, (tmp_path / "run" / paths.RESULT).read_text("utf-8"))
    scores, baselines = result.scores, result.baselines
    assert scores["cross_entropy"] < 0.75 * baselines["chance"]["cross_entropy"]
    for name in ("unigram", "previous_frame", "reference_swapped"):
        assert scores["cross_entropy"] < baselines[name]["cross_entropy"], name
    assert scores["swap_gain_low"] > 0
    assert scores["never_ended"] <= 0.25
    assert scores["length_error"] < 0.6
    recipe, built = run.engine.recipe, run.engine.built
    shown = {s.title: s.facts for s in recipe.strategic_sections(built, collated(recipe, 0), 90)}
    verdict = shown["Zero-shot verification"]["verdict"]
    assert verdict.startswith("the output follows the reference")
    again = {"pretrained": str(tmp_path / "run" / paths.EXPORT)}
    other = recipe_of(tmp_path / "again", data, recipe=again)
    assert other.run_facts().fresh is False
    batch = collated(other, 0, 1)
    found = other.train_step(other.build(), batch, 1).losses["total"]
    same = run.engine.recipe.train_step(run.engine.built, batch, 1).losses["total"]
    assert float(found) == pytest.approx(float(same), rel=1e-5)


def test_v2_trains_the_same_way(tmp_path: Path, data: Path) -> None:
    config = config_of(
        tmp_path / "run",
        data,
        training={"max_steps": 25},
        recipe={"backbone": CloningBackbone.V2},
    )
    run = make(config, checked=True)
    assert run.engine.run() == 0
    losses = [d.losses["total"] for d in run.said.datagrams if d.losses]
    assert losses[-1] < 0.85 * losses[0]


class Dying(VoiceCloning):
    """Killed at the ninth step."""

    def train_step(self, built: Built, batch: CloningBatch, step: int) -> StepRecord:
        if step == 9:
            raise KeyboardInterrupt
        return super().train_step(built, batch, step)


def test_a_killed_and_resumed_run_equals_an_undisturbed_one(tmp_path: Path, data: Path) -> None:
    saves = {"every_steps": 4}
    whole = make(config_of(tmp_path / "a", data, checkpoint=saves))
    whole.engine.run()

    def dying(recipe: VoiceCloning) -> VoiceCloning:
        return Dying(recipe.context)

    with pytest.raises(KeyboardInterrupt):
        make(config_of(tmp_path / "b", data, checkpoint=saves), wrap=dying).engine.run()
    again = make(config_of(tmp_path / "b", data, checkpoint=saves, attempt=2))
    assert again.engine.run() == 0
    assert again.said.last.resumed_from_step == 8
    assert equal(collect_tensors(whole.engine.built), collect_tensors(again.engine.built)) == []


# -- the loss ---------------------------------------------------------------------------------------------------------


def gradient(recipe: VoiceCloning, batches: list[CloningBatch]) -> tuple[float, Tensor]:
    """Loss and gradient of the table, weights as the engine gives them."""
    torch.manual_seed(0)
    built = recipe.build()
    total = sum(batch.count for batch in batches)
    losses = [
        recipe.train_step(built, dataclasses.replace(b, weight=b.count / total), 1).losses["total"]
        for b in batches
    ]
    found = parts.backbone_of(built).table.weight.grad
    assert found is not None
    return float(sum(losses)), found


def test_codes_are_counted_however_they_are_cut_into_micro_batches(
    tmp_path: Path, data: Path
) -> None:
    """A mean of the micro-batches' means would weigh short sentences up."""
    recipe = recipe_of(tmp_path / "run", data)
    frames = [recipe.material.load(recipe.material.training, i).sequence.length for i in range(12)]
    short, long = frames.index(min(frames)), frames.index(max(frames))
    whole = gradient(recipe, [collated(recipe, short, long)])
    cut = gradient(recipe, [collated(recipe, short), collated(recipe, long)])
    assert cut[0] == pytest.approx(whole[0], rel=1e-5)
    torch.testing.assert_close(cut[1], whole[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("backbone", list(CloningBackbone))
def test_lengths_are_known_before_anything_is_loaded(
    backbone: CloningBackbone, tmp_path: Path, data: Path
) -> None:
    material = recipe_of(tmp_path / "run", data, recipe={"backbone": backbone}).material
    lines = dataclasses.replace(
        material.training, references=(None, *material.training.references[1:])
    )
    loaded = [material.load(lines, index).sequence.length for index in range(72)]
    assert material.lengths(lines) == loaded


def test_a_run_by_budget_learns_what_a_run_by_number_does(tmp_path: Path, data: Path) -> None:
    """Other micro-batches of the same global batches: the same losses, up to the order of sums."""

    def losses(name: str, **recipe: Any) -> list[float]:
        taken = Counter[int]()

        def counting(made: VoiceCloning) -> VoiceCloning:
            original = made.train_step

            def train_step(built: Built, batch: CloningBatch, step: int) -> StepRecord:
                taken[step] += 1
                assert batch.columns.tokens.numel() <= (made.settings.micro_batch_tokens or 10_000)
                return original(built, batch, step)

            made.train_step = train_step  # type: ignore[method-assign]
            return made

        config = config_of(tmp_path / name, data, training={"max_steps": 5}, recipe=recipe)
        run = make(config, wrap=counting)
        run.engine.run()
        assert set(taken.values()) == {1} if name == "whole" else min(taken.values()) > 1
        return [d.losses["total"] for d in run.said.datagrams if d.losses]

    assert losses("cut", micro_batch_tokens=160) == pytest.approx(
        losses("whole", micro_batch_tokens=100_000), rel=1e-4
    )


def test_a_batch_without_samples_teaches_nothing_and_goes_through_everything(
    tmp_path: Path, data: Path
) -> None:
    recipe = recipe_of(tmp_path / "run", data)
    built, batch = recipe.build(), Collate(recipe.material)([])
    record = recipe.train_step(built, dataclasses.replace(batch, weight=0.0), 1)
    assert (batch.count, batch.samples, record.tokens) == (0, 0, 0)
    assert {float(value) for value in record.losses.values()} == {0.0}
    gradients = [p.grad for p in parts.cloner_of(built).parameters()]
    assert all(g is not None and not bool(g.any()) for g in gradients)


def test_z_loss_is_told_and_trained(tmp_path: Path, data: Path) -> None:
    recipe = recipe_of(tmp_path / "run", data, recipe={"z_loss": "0.1"})
    losses = recipe.train_step(recipe.build(), collated(recipe, 0, 1), 1).losses
    expected = losses["codes/cross_entropy"] + 0.1 * losses["codes/z"]
    assert float(losses["total"]) == pytest.approx(float(expected), rel=1e-6)
    assert float(losses["codes/z"]) == pytest.approx(math.log(18) ** 2, rel=0.1)


def test_a_step_that_is_no_number_is_gated_kept_and_replayed(tmp_path: Path, data: Path) -> None:
    class Spoilt(VoiceCloning):
        def train_step(self, built: Built, batch: CloningBatch, step: int) -> StepRecord:
            record = super().train_step(built, batch, step)
            bad = float("nan") if step == 3 else 1.0
            return dataclasses.replace(
                record, losses={k: v * bad for k, v in record.losses.items()}
            )

    config = config_of(tmp_path / "run", data, training={"max_steps": 5})
    run = make(config, wrap=lambda recipe: Spoilt(recipe.context))
    assert run.engine.run() == 0
    assert run.said.last.non_finite_steps == 1
    found = replay_batch.replay(tmp_path / "run", None, lambda name, context: Spoilt(context))
    assert (found.step, found.reproduced) == (3, True)
    assert len(found.samples) == 8
    assert all(name.endswith(".wav") for name in found.samples)


# -- adapters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", list(CloningBackbone))
def test_adapters_train_alone_and_merge_into_an_equal_model(
    backbone: CloningBackbone, tmp_path: Path, data: Path
) -> None:
    fresh = recipe_of(tmp_path / "a", data, recipe={"backbone": backbone})
    fresh.export(fresh.build(), tmp_path / "base")
    recipe = {
        "backbone": backbone,
        "pretrained": str(tmp_path / "base"),
        "adapters": Adapters.LORA,
    }
    run = make(config_of(tmp_path / "b", data, recipe=recipe), checked=True)
    before = BACKBONES[backbone].load(tmp_path / "base").state_dict()
    assert run.engine.run() == 0
    adapted, batch = parts.cloner_of(run.engine.built).eval(), collated(fresh, 0, 1, 2)
    merged = BACKBONES[backbone].load(tmp_path / "b" / paths.EXPORT).eval()
    with torch.no_grad():
        mine, theirs = adapted.backbone(batch.columns), merged(batch.columns)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    moved = {n for n, t in merged.state_dict().items() if not torch.equal(t, before[n])}
    assert any("q_proj" in name for name in moved)
    assert not any("norm" in name or "embed_tokens" in name for name in moved)


def test_lora_of_nothing_is_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ConfigError, match="pretrained: '' is missing, preset Lora4B"):
        recipe_of(tmp_path, data, recipe={"preset": CloningPreset.LORA_4B})


# -- data -------------------------------------------------------------------------------------------------------------


def test_batches_depend_on_the_place_in_the_stream_alone(tmp_path: Path, data: Path) -> None:
    def first_two(name: str) -> list[Tensor]:
        stream = recipe_of(tmp_path / name, data).data()
        try:
            return [stream.next_batch().columns.rows for _ in range(2)]
        finally:
            stream.close()

    for one, other in zip(first_two("a"), first_two("b"), strict=True):
        assert torch.equal(one, other)


def test_a_model_from_random_weights_has_the_books_of_the_codec(tmp_path: Path, data: Path) -> None:
    assert recipe_of(tmp_path / "run", data).effective_config()["books"] == small_cloning.BOOKS
    bare = tmp_path / "bare"
    small_cloning.write_set(bare, "train", 3, 0)
    small_cloning.write_set(bare, "validation", 3, 1)
    (bare / "train.codes").unlink()
    with pytest.raises(
        DataError, match=r"train\.jsonl: codes is missing or can't be read in every"
    ):
        recipe_of(tmp_path / "none", bare)


def test_held_out_codes_of_another_codec_are_refused(tmp_path: Path, data: Path) -> None:
    material = recipe_of(tmp_path / "run", data).material
    other = dataclasses.replace(small_cloning.CODEC, digest="another")
    with pytest.raises(BadCodes, match="another codec"):
        dataclasses.replace(material, codec=other).load(material.held_out, 0)


def test_a_reference_that_is_no_line_is_named(tmp_path: Path, data: Path) -> None:
    small_cloning.write_set(tmp_path, "train", 3, 0)
    small_cloning.write_set(tmp_path, "validation", 3, 1)
    text = (tmp_path / "train.jsonl").read_text("utf-8")
    (tmp_path / "train.jsonl").write_text(text.replace('"train-0.wav"}', '"lost.wav"}'), "utf-8")
    with pytest.raises(DataError, match=r"ref_audio: 'lost\.wav' is the audio of no other line"):
        recipe_of(tmp_path / "run", tmp_path)


def test_a_strategic_log_shows_prompt_prediction_and_label(tmp_path: Path, data: Path) -> None:
    recipe = recipe_of(tmp_path / "run", data)
    built, batch = recipe.build(), collated(recipe, 0, 1)
    found = recipe.strategic_sections(built, batch, 1)
    assert not any(failed(section) for section in found)
    shown: dict[str, Any] = {section.title: section.facts for section in found}
    assert list(shown) == ["Input", "Output", "Shared attention", "Zero-shot verification"]
    prompt = shown["Input"]["utterances"][0]["prompt"]
    assert prompt.startswith("<|tts|><|ref_text|>")
    assert "rows of the reference]<|text|>" in prompt
    assert shown["Input"]["data received"]["training"]["with a reference"] == 72
    labels = batch.columns.labels[:, 0]
    book = shown["Output"]["books"][0]
    assert book["label"].get("all", book["label"].get("first"))[0] == int(labels[0])
    assert int((batch.columns.labels != IGNORED).sum()) == batch.count
