"""The strategic log of a cloned voice: where attention goes, and a dead reference that reads plainly as one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_cloning
import torch
from small_cloning import recipe_of
from torch import Tensor

from speech_contract.recipes import CloningBackbone
from speech_telemetry.report.inside import pictures_of
from speech_trainer.data.references import references
from speech_trainer.data.sequences import Columns, Piece
from speech_trainer.models.backbone import Spoken
from speech_trainer.recipes.voice_cloning import parts
from speech_trainer.recipes.voice_cloning.evaluation import Evaluator, low_end
from speech_trainer.recipes.voice_cloning.material import Lines, Material, Sample
from speech_trainer.recipes.voice_cloning.probing import GROUPS, NO_REFERENCE, Probes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_cloning.settled():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codes")
    small_cloning.write_set(folder, "train", 6, 0)
    small_cloning.write_set(folder, "validation", 6, 1)
    return folder


@dataclasses.dataclass
class Subject:
    """A fresh model and its probes."""

    cloner: Any
    material: Material
    probes: Probes

    def attention(self) -> dict[str, Any]:
        return dict(self.probes.attention(self.cloner.backbone))

    def reference(self) -> dict[str, Any]:
        return dict(self.probes.reference(self.cloner, CPU))


Make = Callable[..., Subject]


@pytest.fixture
def make(tmp_path: Path, data: Path) -> Make:
    def build(backbone: CloningBackbone = CloningBackbone.V3) -> Subject:
        recipe = recipe_of(tmp_path / "run", data, recipe={"backbone": backbone})
        torch.manual_seed(0)
        cloner = parts.cloner_of(recipe.build())
        with torch.no_grad():  # a fresh model hardly attends to anything in particular
            for parameter in cloner.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return Subject(cloner, recipe.material, probes_of(recipe.material))

    return build


def probes_of(material: Material) -> Probes:
    return Probes(material, Evaluator(material).samples)


@pytest.mark.parametrize("backbone", list(CloningBackbone))
def test_attention_of_every_layer_and_head_is_told(backbone: CloningBackbone, make: Make) -> None:
    subject = make(backbone)
    facts = subject.attention()
    assert facts["samples"] == 4
    layers = [facts["layer 0"], facts["layer 1"]]
    for shares in (facts["evenly spread"], *layers):
        assert sum(shares[name] for name in GROUPS) == pytest.approx(1.0, abs=1e-3)
        assert all(shares[name] > 0 for name in GROUPS)
    for layer in layers:
        heads = layer["reference audio, by head"]
        assert sum(heads) / len(heads) == pytest.approx(layer["reference audio"], abs=1e-3)
        assert layer["heads on one place"] == "none"
    assert "looks at the reference's audio most" in facts["verdict"]
    (drawn,) = pictures_of(None, [("Shared attention, step 1", facts)], []).maps
    assert drawn.values == [layer["reference audio, by head"] for layer in layers]


def planted(subject: Subject, target: Callable[[Tensor, Columns], Tensor]) -> None:
    """Attention of the model as `target` makes it of weights [1, H, L, L]."""
    backbone = subject.cloner.backbone
    found = backbone.attention

    def attention(columns: Columns) -> list[Tensor]:
        return [target(weights, columns) for weights in found(columns)]

    backbone.attention = attention


def test_a_head_that_looks_at_one_place_alone_is_named(make: Make) -> None:
    def stuck(weights: Tensor, _: Columns) -> Tensor:
        weights = weights.clone()
        weights[:, 1] = 0.0
        weights[:, 1, :, 3] = 1.0
        return weights

    subject = make()
    planted(subject, stuck)
    assert subject.attention()["layer 0"]["heads on one place"] == [1]


def test_attention_that_never_meets_the_reference_is_told(make: Make) -> None:
    def blind(weights: Tensor, columns: Columns) -> Tensor:
        weights = weights.clone()
        weights[..., columns.row_at[columns.reference]] = 0.0
        return weights / weights.sum(-1, keepdim=True)

    subject = make()
    planted(subject, blind)
    facts = subject.attention()
    assert facts["layer 1"]["reference audio"] == 0.0
    assert facts["verdict"] == "no head looks at the reference's audio"


def test_a_reference_that_is_heard_moves_predictions(make: Make) -> None:
    facts = make().reference()
    for name in ("swapped", "muted", "shuffled"):
        assert facts[name]["largest change"] > 1e-3, name
        assert facts[name]["nats a code more"] != 0.0
    assert facts["verdict"].startswith("the ")
    assert "not reach" not in facts["verdict"]
    by_speaker = facts["swapped, by speaker"]
    assert set(by_speaker) == {f"validation-{n}" for n in range(3)}
    assert "swapped, by language" not in facts  # the lines name none


def test_a_model_that_lost_its_reference_reads_as_one(make: Make) -> None:
    """Prompts that are built without it: the twin that every loss curve hides."""

    def deaf(kind: Any) -> type:
        class Deaf(kind):  # type: ignore[misc]
            @classmethod
            def prompt(cls, tokens: Any, grid: Any, text: str, _: Any, codes: Any) -> list[Piece]:
                found: list[Piece] = super().prompt(tokens, grid, text, None, codes)
                return found

        return Deaf

    subject = make()
    material = dataclasses.replace(subject.material, kind=deaf(subject.material.kind))
    subject.probes = probes_of(material)
    verdict = subject.reference()["verdict"]
    assert verdict.startswith("the reference does not reach the output")


def test_a_reference_whose_codes_are_lost_is_told_from_its_text(make: Make) -> None:
    subject = make()
    backbone = subject.cloner.backbone
    embed = backbone.embed

    def without_codes(columns: Columns) -> Tensor:
        found: Tensor = embed(columns).clone()
        found.flatten(0, 1)[columns.row_at[columns.reference]] = 0.0
        return found

    backbone.embed = without_codes
    assert subject.reference()["verdict"].startswith("the reference's audio does not reach")


def test_one_voice_alone_is_not_swapped(make: Make) -> None:
    subject = make()
    manifest = subject.material.held_out.manifest
    one = tuple(dataclasses.replace(u, speaker="same") for u in manifest.utterances)
    manifest = dataclasses.replace(manifest, utterances=one)
    lines = Lines(manifest, references(manifest))
    subject.probes = probes_of(dataclasses.replace(subject.material, held_out=lines))
    facts = subject.reference()
    assert "swapped" not in facts
    assert "no second voice" in facts["verdict"]


def test_without_any_reference_there_is_nothing_to_look_at(make: Make) -> None:
    subject = make()

    def bare(sample: Sample) -> Sample:
        return dataclasses.replace(sample, reference=None, heard=None)

    samples = [bare(sample) for sample in Evaluator(subject.material).samples]
    subject.probes = Probes(subject.material, samples)
    assert subject.reference() == subject.attention() == {"verdict": NO_REFERENCE}


def test_as_many_voices_and_languages_as_there_are_are_looked_at(make: Make) -> None:
    subject = make()
    samples = Evaluator(subject.material).samples
    voices = [("te", "a"), ("te", "a"), ("te", "b"), ("en", "c"), ("en", "c"), ("te", "d")]
    named = [
        dataclasses.replace(
            sample, utterance=dataclasses.replace(sample.utterance, language=language, speaker=name)
        )
        for sample, (language, name) in zip(samples, voices, strict=True)
    ]
    subject.probes = Probes(subject.material, named)
    facts = subject.reference()
    assert set(facts["swapped, by speaker"]) == {"a", "b", "c", "d"}
    assert set(facts["swapped, by language"]) == {"te", "en"}


def test_a_mean_that_may_be_chance_is_not_called_following() -> None:
    assert low_end([0.3, 0.31, 0.29]) > 0.2
    assert low_end([0.5, -0.4, 0.02]) < 0 < sum([0.5, -0.4, 0.02])
    assert math.isnan(low_end([0.3]))


def test_a_look_leaves_no_trace(make: Make) -> None:
    subject = make()
    subject.cloner.train()
    state, before = torch.get_rng_state(), subject.cloner.backbone.body.config._attn_implementation
    subject.attention()
    subject.reference()
    assert torch.equal(torch.get_rng_state(), state)
    assert subject.cloner.backbone.body.config._attn_implementation == before
    assert all(module.training for module in subject.cloner.modules())
    assert all(p.grad is None for p in subject.cloner.parameters())


def test_a_shuffled_reference_keeps_its_words_and_its_codes(make: Make) -> None:
    from speech_trainer.recipes.voice_cloning.references import shuffled

    subject = make()
    samples = Evaluator(subject.material).samples
    for sample, other in zip(samples, shuffled(subject.material, samples), strict=True):
        own, found = sample.reference, other and other.reference
        assert isinstance(own, Spoken)
        assert isinstance(found, Spoken)
        assert found.text == own.text
        assert not torch.equal(found.codes, own.codes)
        assert torch.equal(found.codes.sort(dim=1).values, own.codes.sort(dim=1).values)
