"""Sequences and batches: labels stand one place before their row, and no row lies in a neighbour's place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speech_trainer.data.delay import IGNORED, Grid
from speech_trainer.data.sequences import Piece, Sequence, collate, lay

GRID = Grid(books=3, codes=50)
PADDING, SLOT = 99, 7
Made = list[tuple[Sequence, Tensor, Tensor | None]]


def made(
    frames: int, reference: int, text: int, seed: int
) -> tuple[Sequence, Tensor, Tensor | None]:
    """A sequence, the rows of its target and of its reference."""
    chance = torch.Generator().manual_seed(seed)
    target = GRID.delayed(torch.randint(0, GRID.codes, (3, frames), generator=chance))
    pieces = [Piece([1])]
    heard = None
    if reference:
        heard = GRID.delayed(torch.randint(0, GRID.codes, (3, reference), generator=chance))
        pieces += [Piece([SLOT] * len(heard), heard, reference=True)]
    pieces += [Piece([2] * text), Piece([SLOT] * len(target), target, learned=True), Piece([3])]
    return lay(pieces, GRID), target, heard


@st.composite
def batches(draw: st.DrawFn) -> Made:
    sizes = st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(1, 5))
    return [
        made(*one, seed) for seed, one in enumerate(draw(st.lists(sizes, min_size=1, max_size=5)))
    ]


@given(batches())
def test_every_row_lies_at_its_own_place_in_a_batch(several: Made) -> None:
    columns = collate([sequence for sequence, _, _ in several], PADDING)
    length = columns.tokens.size(1)
    for number, (_, target, heard) in enumerate(several):
        own = (columns.row_at // length) == number
        expected = target if heard is None else torch.cat([heard, target])
        assert torch.equal(columns.rows[own], expected)
        assert int(columns.reference[own].sum()) == (0 if heard is None else len(heard))
    assert bool((columns.tokens.flatten()[columns.row_at] == SLOT).all())


@given(batches())
def test_a_label_is_the_row_of_the_next_place(several: Made) -> None:
    columns = collate([sequence for sequence, _, _ in several], PADDING)
    rows = dict(zip(columns.row_at.tolist(), columns.rows.tolist(), strict=True))
    for place, labels in zip(columns.label_at.tolist(), columns.labels.tolist(), strict=True):
        following = rows[place + 1]
        assert all(label in (IGNORED, code) for label, code in zip(labels, following, strict=True))


@given(batches())
def test_prompt_reference_and_padding_are_not_learned(several: Made) -> None:
    columns = collate([sequence for sequence, _, _ in several], PADDING)
    expected = sum(GRID.learned_codes(len(target) - GRID.extra) for _, target, _ in several)
    assert int((columns.labels != IGNORED).sum()) == expected
    heard = set(columns.row_at[columns.reference].tolist())
    assert heard.isdisjoint((columns.label_at + 1).tolist())


@given(batches())
def test_every_place_is_text_or_a_row_or_padding(several: Made) -> None:
    columns = collate([sequence for sequence, _, _ in several], PADDING)
    text, rows = set(columns.text_at.tolist()), set(columns.row_at.tolist())
    padding = set((columns.tokens.flatten() == PADDING).nonzero().flatten().tolist())
    assert text | rows | padding == set(range(columns.tokens.numel()))
    assert len(text) + len(rows) + len(padding) == columns.tokens.numel()


def test_rows_and_placeholders_that_do_not_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="5 rows for 4 placeholders"):
        Piece([SLOT] * 4, GRID.delayed(torch.zeros(3, 3, dtype=torch.long)), learned=True)
