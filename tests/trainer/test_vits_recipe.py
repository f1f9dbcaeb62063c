"""The VITS recipe on a voice of tones: what the engine relies on, and what a user is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import VitsModel, VitsTokenizer
from twins import vits_step

from speech_contract import paths
from speech_contract.recipes import Preset
from speech_contract.run_config import Precision
from speech_trainer.audio.files import read_info
from speech_trainer.engine.recipe import Built, Evaluation, RecipeContext
from speech_trainer.errors import ConfigError, DataError
from speech_trainer.models.vits import MODULES
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.optimizers import rate_share
from speech_trainer.recipes.vits.batch import VitsBatch
from speech_trainer.recipes.vits.presets import PRESETS
from speech_trainer.recipes.vits.recipe import Vits, create
from speech_trainer.strategic.collect import failed

MakeContext = Callable[..., RecipeContext]
CPU = torch.device("cpu")


def first_batch(recipe: Vits) -> VitsBatch:
    stream = recipe.data()
    try:
        return stream.next_batch().to(CPU)
    finally:
        stream.close()


def gradient_norms(built: Built) -> dict[str, float]:
    """Norm by module; 0 where no parameter has a gradient."""
    norms = {}
    for plan in built.optimizers.values():
        for name, module in plan.modules.items():
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            norms[name] = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
    return norms


@pytest.fixture
def recipe(make_context: MakeContext, seeded: None) -> Vits:
    return create(make_context(adversarial_start_step=2))


def test_a_step_before_the_discriminators_trains_all_five_modules(recipe: Vits) -> None:
    built = recipe.build()
    losses = recipe.train_step(built, first_batch(recipe), 1).losses
    assert set(losses) == {"total", "generator/mel", "generator/kl", "generator/duration"}
    assert all(not loss.requires_grad and loss.dim() == 0 for loss in losses.values())
    norms = gradient_norms(built)
    assert all(norms[name] > 0 for name in MODULES)
    assert norms["discriminator"] == 0.0
    assert built.optimizers["discriminator"].active_from == 2


def test_a_step_with_them_leaves_both_gradients_and_steps_nothing(recipe: Vits) -> None:
    built = recipe.build()
    before = {k: v.clone() for m in built.models.values() for k, v in m.state_dict().items()}
    losses = recipe.train_step(built, first_batch(recipe), 2).losses
    after = {k: v for m in built.models.values() for k, v in m.state_dict().items()}
    assert set(losses) >= {
        "discriminator/adversarial",
        "generator/adversarial",
        "generator/feature_matching",
    }
    assert all(norm > 0 for norm in gradient_norms(built).values())
    assert all(torch.equal(before[name], after[name]) for name in before)
    for model in built.models.values():
        assert all(p.grad is not None and p.requires_grad for p in model.parameters())


def test_the_generator_s_pass_leaves_the_discriminator_s_gradient_alone(
    recipe: Vits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the discriminator learns is its own loss, not also the generator's."""
    built, batch = recipe.build(), first_batch(recipe)
    torch.manual_seed(3)
    recipe.train_step(built, batch, 2)
    gradients = [
        p.grad.clone() for p in built.models["discriminator"].parameters() if p.grad is not None
    ]
    for model in built.models.values():
        model.zero_grad()
    monkeypatch.setattr(adversarial, "convince", lambda *_: torch.zeros(()))
    torch.manual_seed(3)
    recipe.train_step(built, batch, 2)
    again = [p.grad for p in built.models["discriminator"].parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_bf16_trains_too(make_context: MakeContext, seeded: None) -> None:
    context = make_context(adversarial_start_step=1, precision=Precision.BF16)
    recipe = create(context)
    built = recipe.build()
    losses = recipe.train_step(built, first_batch(recipe), 1).losses
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    for model in built.models.values():
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_total_is_the_weighted_sum(recipe: Vits) -> None:
    losses = recipe.train_step(recipe.build(), first_batch(recipe), 2).losses
    expected = (
        45 * losses["generator/mel"]
        + losses["generator/kl"]
        + losses["generator/duration"]
        + losses["generator/adversarial"]
        + 2 * losses["generator/feature_matching"]
    )
    assert torch.allclose(losses["total"], expected)


def test_an_empty_batch_has_weight_zero_and_gradient_zero(recipe: Vits, own_voice: Path) -> None:
    built = recipe.build()
    stream = recipe.data()
    empty = stream._collate([])
    stream.close()
    assert (empty.weight, empty.samples, empty.audio_seconds) == (0.0, 0, 0.0)
    losses = recipe.train_step(built, empty, 2).losses
    assert all(float(loss) == 0.0 for loss in losses.values())
    for model in built.models.values():
        assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_training_is_a_function_of_seed_and_data(make_context: MakeContext, seeded: None) -> None:
    totals = []
    for _ in range(2):
        torch.manual_seed(5)
        recipe = create(make_context())
        built = recipe.build()
        totals.append(float(recipe.train_step(built, first_batch(recipe), 1).losses["total"]))
    assert totals[0] == totals[1]


def test_evaluation_scores_baselines_and_sounds(recipe: Vits) -> None:
    built = recipe.build()
    state = torch.get_rng_state()
    evaluation = recipe.evaluate(built, 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert built.models["generator"].training
    assert set(evaluation.scores) == {"dtw_mel", "length_ratio", "posterior_mel"}
    assert set(evaluation.baselines) == {"constant_frame", "other_sentence"}
    for baseline in evaluation.baselines.values():
        assert 0 < baseline["dtw_mel"] < evaluation.scores["dtw_mel"]  # nothing is learned yet
    folder = recipe.context.run_dir / paths.SAMPLES / "step-7"
    assert {path.name for path in folder.iterdir()} == {
        f"{n}-{kind}.wav" for n in (1, 2, 3) for kind in ("synthesized", "recorded")
    }
    assert recipe.evaluate(built, 8).scores == evaluation.scores
    _aligned(recipe, evaluation)


def _aligned(recipe: Vits, evaluation: Evaluation) -> None:
    """Every sentence's path leads over all its tokens through the last frame of its recording."""
    hop = recipe.settings.spectrogram.hop_length
    recorded = [path for path in evaluation.samples if path.stem.endswith("recorded")]
    assert [plot.title for plot in evaluation.pictures.plots] == [
        f"{n}: alignment" for n in (1, 2, 3)
    ]
    for plot, path in zip(evaluation.pictures.plots, recorded, strict=True):
        aligned, predicted = plot.lines
        assert aligned.x[-1] == read_info(path).num_samples // hop
        assert all(after - before >= 1 for before, after in pairwise(aligned.x))
        assert aligned.y == predicted.y == [float(n) for n in range(len(aligned.x))]


def test_without_held_out_data_there_are_sounds_but_no_scores(make_context: MakeContext) -> None:
    recipe = create(make_context(validation=False))
    evaluation = recipe.evaluate(recipe.build(), 1)
    assert (evaluation.scores, evaluation.baselines) == ({}, {})
    assert len(evaluation.samples) == 8


def test_strategic_sections_tell_what_went_in_and_out(recipe: Vits) -> None:
    built, batch = recipe.build(), first_batch(recipe)
    sections = {s.title: s for s in recipe.strategic_sections(built, batch, 1)}
    assert list(sections) == ["Input", "Output"]
    assert not any(failed(section) for section in sections.values())
    facts = sections["Input"].facts
    assert facts["data received"]["utterances"] == 12
    assert facts["samples"][0]["decoded"].startswith("·")
    assert "data received" not in recipe.strategic_sections(built, batch, 2)[0].facts
    durations = sections["Output"].facts["durations in frames"][0]
    assert durations["aligned sum"] == int(batch.frame_lengths[0])
    json.dumps([dict(section.facts) for section in sections.values()])


def test_export_speaks_with_stock_transformers(recipe: Vits, tmp_path: Path) -> None:
    built = recipe.build()
    recipe.export(built, tmp_path / "export")
    model = VitsModel.from_pretrained(tmp_path / "export")
    tokenizer = VitsTokenizer.from_pretrained(tmp_path / "export")
    utterance = recipe.voice.manifest.utterances[0]
    ids = tokenizer(utterance.phonemes)["input_ids"]
    assert ids == recipe.voice.vocabulary.encode(utterance)
    assert model(input_ids=torch.tensor([ids])).waveform.numel() > 0


def test_an_export_can_be_fine_tuned(
    recipe: Vits, make_context: MakeContext, tmp_path: Path
) -> None:
    built = recipe.build()
    recipe.export(built, tmp_path / "export")
    context = make_context(pretrained=str(tmp_path / "export"), run_dir=tmp_path / "second")
    tuned = create(context)
    assert tuned.settings.learning_rate == 2e-5
    assert tuned.settings.spectrogram == recipe.settings.spectrogram
    weights = tuned.build().models["generator"].state_dict()
    expected = built.models["generator"].state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_bad_samples_are_replaced_counted_and_listed(
    make_context: MakeContext, own_voice: Path
) -> None:
    (own_voice / "wavs/3.wav").write_bytes(b"broken")
    recipe = create(make_context(train=own_voice / "train.jsonl"))
    stream = recipe.data()
    batches = [stream.next_batch() for _ in range(3)]
    stream.close()
    assert [batch.samples for batch in batches] == [4, 4, 4]
    assert stream.skipped["DecodeError"] >= 1
    (record,) = (recipe.context.run_dir / paths.QUARANTINE).read_text().splitlines()
    assert json.loads(record)["line"] == 4


def test_a_run_directory_of_other_data_is_refused(
    make_context: MakeContext, own_voice: Path
) -> None:
    create(make_context()).build()
    path = own_voice / "train.jsonl"
    path.write_text(path.read_text().replace('"phonemes": "a', '"phonemes": "z'))
    with pytest.raises(DataError, match="start a new run directory"):
        create(make_context(train=path)).build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained": "/no/model"}, "recipe.vits.pretrained: '/no/model' has no config.json"),
        ({"train": Path("/no/train.jsonl")}, "manifest: '/no/train.jsonl' does not exist"),
    ],
)
def test_what_can_not_work_is_refused_with_a_remedy(
    make_context: MakeContext, changes: dict[str, object], message: str
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        create(make_context(**changes))


def test_effective_config_is_plain_json(recipe: Vits) -> None:
    config = json.loads(json.dumps(recipe.effective_config()))
    assert config["preset"] == "Debug"
    assert config["globalBatchSize"] == 4
    assert config["adversarialStartStep"] == 2
    assert config["vocabularySize"] == 9


@pytest.mark.parametrize("preset", list(Preset))
def test_the_learning_rate_warms_up_and_falls(preset: Preset) -> None:
    settings = PRESETS[preset]
    floor = settings.final_learning_rate_share
    shares = [rate_share(update, 10_000, settings.warmup_steps, floor) for update in range(10_001)]
    peak = shares.index(max(shares))
    assert 0 < shares[0] < 0.1
    assert peak == pytest.approx(settings.warmup_steps, abs=100)
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    assert shares[-1] == pytest.approx(floor)


def test_twin_dead_modules_learns_but_two_modules_get_nothing(recipe: Vits) -> None:
    twin = vits_step.dead_modules(recipe)
    built = twin.build()
    losses = twin.train_step(built, first_batch(twin), 1).losses
    norms = gradient_norms(built)
    assert float(losses["total"]) > 0
    assert norms["posterior_encoder"] == norms["duration_predictor"] == 0.0
    assert all(norms[name] > 0 for name in ("text_encoder", "flow", "decoder"))


def test_twin_no_backward_has_losses_and_no_gradient(recipe: Vits) -> None:
    twin = vits_step.no_backward(recipe)
    built = twin.build()
    losses = twin.train_step(built, first_batch(twin), 2).losses
    assert float(losses["total"]) > 0
    assert set(gradient_norms(built).values()) == {0.0}
