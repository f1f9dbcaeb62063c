"""Batches of any recipe are taken apart for a record and come together again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from speech_trainer.engine.batch_fields import Fields, join, split


@dataclasses.dataclass(frozen=True)
class Deepest:
    codes: Tensor


@dataclasses.dataclass(frozen=True)
class Inner:
    rows: Tensor
    deepest: Deepest
    padded: bool = True


@dataclasses.dataclass(frozen=True)
class Recording:
    audio_filepath: str


@dataclasses.dataclass(frozen=True)
class Batch:
    waveform: Tensor
    columns: Inner
    lengths: tuple[int, ...] = (3, 4)
    weight: float = 1.0
    members: tuple[Recording, ...] = (Recording("a.wav"), Recording("b.wav"))
    note: Any = Recording("c.wav")


BATCH = Batch(torch.ones(2), Inner(torch.zeros(2, 3), Deepest(torch.arange(4))))
KINDS = {kind.__name__: kind for kind in (Batch, Inner, Deepest)}


def kind_of(document: Mapping[str, Any]) -> type[Any]:
    return KINDS[str(document["type"])]


def test_tensors_at_any_depth_come_together_again() -> None:
    fields = split(BATCH)
    assert set(fields.tensors) == {"waveform", "columns/rows", "columns/deepest/codes"}
    found = join(fields, kind_of)
    assert (found.lengths, found.weight, found.columns.padded) == ((3, 4), 1.0, True)
    assert torch.equal(found.columns.deepest.codes, torch.arange(4))
    assert torch.equal(found.columns.rows, BATCH.columns.rows)
    assert (found.members, found.note) == ((), ())


def test_what_only_people_need_is_told() -> None:
    document = split(BATCH).document
    assert document["empty"] == ["members", "note"]
    assert sorted(document["samples"]) == ["a.wav", "b.wav", "c.wav"]


def test_a_record_from_before_there_were_inner_parts_is_read() -> None:
    fields = split(Deepest(torch.arange(4)))
    del fields.document["inner"]
    assert torch.equal(join(fields, kind_of).codes, torch.arange(4))


def test_a_class_that_is_not_known_is_refused_at_any_depth() -> None:
    fields = split(BATCH)
    fields.document["inner"]["columns"]["type"] = "Stranger"
    with pytest.raises(KeyError, match="Stranger"):
        join(Fields(fields.tensors, fields.document), kind_of)
