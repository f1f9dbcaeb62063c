"""The delay pattern: nothing is lost on the way there and back, and exactly what is speech is learned."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from speech_trainer.data.delay import IGNORED, Grid

GRIDS = st.builds(Grid, st.integers(1, 9), st.integers(1, 12), st.booleans())


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Grid, Tensor]:
    grid, frames = draw(GRIDS), draw(st.integers(1, 12))
    seed = draw(st.integers(0, 2**31))
    chance = torch.Generator().manual_seed(seed)
    return grid, torch.randint(0, grid.codes, (grid.books, frames), generator=chance)


def test_the_grid_of_higgs_v3() -> None:
    """T frames become T + 7 rows; book 0 carries seven EOC rows, book 7 none."""
    grid = Grid()
    codes = torch.arange(8)[:, None] * 100 + torch.arange(5)[None]
    rows = grid.delayed(codes)
    assert rows.shape == (12, 8)
    assert (rows == grid.eoc).sum(0).tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    assert (rows == grid.boc).sum(0).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert rows[2].tolist() == [2, 101, 200, *[grid.boc] * 5]


def test_the_grid_of_higgs_v2() -> None:
    """As transformers' processor builds it: a frame of BOC and one of EOC are delayed with the codes."""
    grid = Grid(books=3, codes=10, framed=True)
    rows = grid.delayed(torch.tensor([[1, 2], [3, 4], [5, 6]]))
    b, e = grid.boc, grid.eoc
    assert rows.tolist() == [
        [b, b, b], [1, b, b], [2, 3, b], [e, 4, 5], [e, e, 6], [e, e, e],
    ]  # fmt: skip


@given(recordings())
def test_back_again(recording: tuple[Grid, Tensor]) -> None:
    grid, codes = recording
    assert torch.equal(grid.frames(grid.delayed(codes)), codes)


@given(recordings())
def test_every_code_is_learned_once_and_one_eoc_of_a_book(
    recording: tuple[Grid, Tensor],
) -> None:
    grid, codes = recording
    labels = grid.learned(grid.delayed(codes))
    assert not bool((labels == grid.boc).any())
    ends = (labels == grid.eoc).sum(0).tolist()
    assert ends[:-1] == [1] * (grid.books - 1)
    assert ends[-1] == int(grid.framed)
    for book, spoken in enumerate(codes):
        column = labels[:, book]
        assert column[(column != IGNORED) & (column != grid.eoc)].tolist() == spoken.tolist()
    assert int((labels != IGNORED).sum()) == grid.learned_codes(codes.size(1))


@given(recordings())
def test_an_end_stands_right_behind_the_last_code(recording: tuple[Grid, Tensor]) -> None:
    grid, codes = recording
    labels = grid.learned(grid.delayed(codes))
    places = torch.arange(labels.size(0))[:, None].expand_as(labels)
    last = places.masked_fill((labels == IGNORED) | (labels == grid.eoc), -1).amax(0)
    for book in range(grid.books - (not grid.framed)):
        assert int(labels[last[book] + 1, book]) == grid.eoc


@given(recordings())
def test_a_recording_is_what_its_grid_allows_and_its_structure_is_forced(
    recording: tuple[Grid, Tensor],
) -> None:
    grid, codes = recording
    frames = codes.size(1)
    for number, row in enumerate(grid.delayed(codes)):
        known = grid.allowed(number, frames)
        assert bool(known.gather(1, row[:, None]).all())
        structure = (row == grid.boc) | (row == grid.eoc)
        assert torch.equal(known.sum(dim=1), torch.where(structure, 1, grid.codes))
        if number <= frames + grid.framed:  # so far nobody could tell that it ends
            assert bool(grid.allowed(number, None)[0, row[0]])
        if number < frames + grid.framed:
            assert bool(grid.allowed(number, None).gather(1, row[:, None]).all())


@pytest.mark.parametrize("framed", [False, True])
def test_a_recording_without_a_frame_is_rows_all_the_same(framed: bool) -> None:
    grid = Grid(books=3, codes=4, framed=framed)
    rows = grid.delayed(torch.empty(3, 0, dtype=torch.long))
    assert rows.shape == (grid.extra, 3)
    assert grid.frames(rows).shape == (3, 0)
