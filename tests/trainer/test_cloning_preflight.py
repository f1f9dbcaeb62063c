"""What the preflight of voice cloning finds before step 1: each fault that looks like a falling loss, by its name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_cloning
import torch
from small_cloning import recipe_of

from speech_contract.preflight import CheckResult, Mark
from speech_trainer.data.delay import IGNORED
from speech_trainer.data.sequences import Columns
from speech_trainer.engine.recipe import Built
from speech_trainer.models.higgs_v3 import HiggsV3
from speech_trainer.recipes.voice_cloning import inputs, parts, preflight
from speech_trainer.recipes.voice_cloning.batch import CloningBatch, Collate
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning

Spoil = Callable[[Columns], Columns]


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_cloning.settled():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    small_cloning.write_set(tmp_path / "data", "train", 12, 0)
    small_cloning.write_set(tmp_path / "data", "validation", 6, 1)
    return tmp_path / "data"


@pytest.fixture
def recipe(tmp_path: Path, data: Path) -> VoiceCloning:
    return recipe_of(tmp_path / "run", data)


def batch_of(recipe: VoiceCloning) -> CloningBatch:
    material = recipe.material
    return Collate(material)([material.load(material.training, index) for index in range(4)])


def failed(rows: list[CheckResult]) -> list[str]:
    return [row.field for row in rows if row.mark is Mark.FAILED]


def input_rows(recipe: VoiceCloning, built: Built, batch: CloningBatch) -> list[CheckResult]:
    return inputs.input_rows(recipe.material, built, [batch])


def test_a_sound_batch_passes_and_its_prompt_is_shown(recipe: VoiceCloning) -> None:
    rows = input_rows(recipe, recipe.build(), batch_of(recipe))
    assert failed(rows) == []
    assert "<|tts|><|ref_text|>" in rows[0].measured
    assert len(rows) == 15


def unshifted(columns: Columns) -> Columns:
    return dataclasses.replace(columns, label_at=columns.label_at + 1)


def without_ends(columns: Columns) -> Columns:
    eoc = small_cloning.CODES + 1
    return dataclasses.replace(
        columns, labels=columns.labels.masked_fill(columns.labels == eoc, IGNORED)
    )


def with_learned_reference(columns: Columns) -> Columns:
    place, row = columns.row_at[columns.reference][0], columns.rows[columns.reference][0]
    return dataclasses.replace(
        columns,
        label_at=torch.cat([place[None] - 1, columns.label_at]),
        labels=torch.cat([row[None], columns.labels]),
    )


def with_a_frame_of_the_neighbour(columns: Columns) -> Columns:
    """One utterance gets a row too many, the next one too few: the totals still meet."""
    length = columns.tokens.size(1)
    owner = columns.row_at // length
    moved = columns.row_at.clone()
    first = int((owner == 1).nonzero()[0])
    moved[first] = length - 1
    return dataclasses.replace(columns, row_at=moved.sort().values)


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (unshifted, "labels"),
        (without_ends, "ends"),
        (with_learned_reference, "reference hidden from the loss"),
        (with_a_frame_of_the_neighbour, "frames and placeholders"),
    ],
)
def test_a_fault_of_a_batch_is_named(recipe: VoiceCloning, spoil: Spoil, field: str) -> None:
    batch = batch_of(recipe)
    spoiled = dataclasses.replace(batch, columns=spoil(batch.columns))
    assert field in failed(input_rows(recipe, recipe.build(), spoiled))


class Seeing(torch.nn.Module):
    """Layers that look at the whole sequence: attention without its mask."""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, *, inputs_embeds: torch.Tensor, **rest: Any) -> Any:
        seen = inputs_embeds + inputs_embeds.mean(dim=1, keepdim=True)
        return self.body(inputs_embeds=seen, **rest)


def test_attention_that_sees_the_future_is_named(recipe: VoiceCloning) -> None:
    built = recipe.build()
    backbone = parts.backbone_of(built)
    assert isinstance(backbone, HiggsV3)
    inner = backbone.body
    seeing = Seeing(inner)
    backbone.hidden = lambda embedded, columns: (
        seeing(  # type: ignore[method-assign]
            inputs_embeds=embedded, use_cache=False
        ).last_hidden_state
    )
    assert failed(input_rows(recipe, built, batch_of(recipe))) == ["no label leaks into its input"]


def test_a_reference_that_never_gets_in_is_named(recipe: VoiceCloning) -> None:
    built = recipe.build()
    backbone = parts.backbone_of(built)
    embed = backbone.embed

    def deaf(columns: Columns) -> torch.Tensor:
        rows = columns.rows.masked_fill(columns.reference[:, None], 0)
        return embed(dataclasses.replace(columns, rows=rows))

    backbone.embed = deaf  # type: ignore[method-assign]
    found = failed(input_rows(recipe, built, batch_of(recipe)))
    assert found == ["the reference reaches the output"]


def test_a_looked_at_model_is_as_it_was(recipe: VoiceCloning) -> None:
    built, batch = recipe.build(), batch_of(recipe)
    rows = batch.columns.rows.clone()
    input_rows(recipe, built, batch)
    assert parts.cloner_of(built).training
    assert torch.equal(batch.columns.rows, rows)


# -- manifests --------------------------------------------------------------------------------------------------------


def rewritten(data: Path, name: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = data / f"{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def data_rows(tmp_path: Path, data: Path) -> dict[str, CheckResult]:
    recipe = recipe_of(tmp_path / "run", data)
    rows = preflight.data_rows(recipe.material, recipe.context.config.training)
    return {row.field: row for row in rows}


def test_a_recording_that_is_its_own_reference_fails(tmp_path: Path, data: Path) -> None:
    rewritten(data, "train", lambda lines: lines[3].update(ref_audio=lines[3]["audio_filepath"]))
    found = data_rows(tmp_path, data)["reference apart from its target, training"]
    assert found.mark is Mark.FAILED
    assert found.measured == "1 of 12 are one recording, line 4 first"


def test_lines_without_a_reference_and_sentences_that_are_known_are_warned_of(
    tmp_path: Path, data: Path
) -> None:
    def spoil(lines: list[dict[str, Any]]) -> None:
        lines[0].pop("ref_audio")
        lines[1]["text"] = "Known  Sentence"

    rewritten(data, "train", spoil)
    rewritten(data, "validation", lambda lines: lines[0].update(text="known sentence"))
    rows = data_rows(tmp_path, data)
    assert rows["lines without a reference"].mark is Mark.WARNED
    assert rows["held-out sentences in training"].mark is Mark.WARNED


def test_sequences_that_no_micro_batch_has_room_for_are_warned_of(
    tmp_path: Path, data: Path
) -> None:
    training = recipe_of(tmp_path / "run", data).context.config.training
    for tokens, mark in ((20, Mark.WARNED), (500, Mark.PASSED)):
        recipe = recipe_of(tmp_path / "run", data, recipe={"micro_batch_tokens": tokens})
        rows = {row.field: row for row in preflight.data_rows(recipe.material, training)}
        assert rows["longest sequences"].mark is mark
    assert "longest sequences" not in data_rows(tmp_path, data)
