"""Speech row by row: known codes come back, books end as the grid says, and what is kept changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import small_cloning
import torch
from small_cloning import BOOKS, CODES
from torch import Tensor

from speech_trainer.data.delay import Grid
from speech_trainer.data.sequences import Columns, Piece, collate, lay
from speech_trainer.errors import ConfigError
from speech_trainer.losses.codes import code_losses
from speech_trainer.models.backbone import Backbone, Spoken
from speech_trainer.models.sampling import Continuation, Generated, Sampling, generate

MADE: dict[str, Callable[[], Backbone]] = {"v3": small_cloning.v3, "v2": small_cloning.v2}
PROMPT = [Piece([1, 2, 3])]
REFERENCE = Spoken("hello", small_cloning.codes(5, 1))


class Scripted:
    """Answers with logits [R, Q, V] by how many rows it has been shown."""

    def __init__(self, grid: Grid, script: Tensor) -> None:
        self.grid, self._script, self._shown = grid, script, 0
        self.table = SimpleNamespace(weight=torch.empty(0))

    def embed(self, columns: Columns) -> Tensor:
        self._shown += columns.rows.size(0)
        return torch.zeros(1, columns.tokens.size(1), 1)

    def hidden(self, embedded: Tensor, columns: Columns, past: object) -> Tensor:
        return embedded

    def logits(self, hidden: Tensor) -> Tensor:
        return self._script[min(self._shown, len(self._script) - 1)][None]


def peaks(rows: Tensor, grid: Grid) -> Tensor:
    """Logits [R, Q, V] that leave no doubt about rows [R, Q]."""
    return 50.0 * torch.nn.functional.one_hot(rows, grid.size).float()


def speak(backbone: Any, prompt: list[Piece] = PROMPT, frames: int = 40, **how: Any) -> Generated:
    return generate(backbone, prompt, Sampling(frames, **how))


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_known_codes_come_back(framed: bool, temperature: float) -> None:
    grid = Grid(BOOKS, CODES, framed)
    codes = small_cloning.codes(7)
    found = speak(Scripted(grid, peaks(grid.delayed(codes), grid)), temperature=temperature)
    assert torch.equal(found.codes, codes)
    assert found.ended


@pytest.mark.parametrize("framed", [False, True])
def test_what_does_not_end_is_cut_and_said(framed: bool) -> None:
    grid = Grid(BOOKS, CODES, framed)
    endless = peaks(torch.full((1, BOOKS), 3), grid)
    found = speak(Scripted(grid, endless), frames=5)
    assert found.codes.tolist() == [[3] * 5] * BOOKS
    assert not found.ended


def test_an_end_at_the_bound_is_an_end() -> None:
    grid = Grid(BOOKS, CODES)
    script = peaks(grid.delayed(small_cloning.codes(5)), grid)
    assert speak(Scripted(grid, script), frames=5).ended


def test_the_end_of_another_book_is_never_looked_at() -> None:
    """Nor a BOC in the middle, nor an end before the first frame: the grid of training has none of them."""
    grid = Grid(BOOKS, CODES)
    codes = small_cloning.codes(6)
    script = peaks(grid.delayed(codes), grid)
    script[3, 1, grid.eoc] = script[2, 0, grid.boc] = script[0, 0, grid.eoc] = 99.0
    assert torch.equal(speak(Scripted(grid, script)).codes, codes)


def test_likely_values_alone_are_drawn() -> None:
    grid = Grid(1, CODES)
    script = torch.zeros(1, 1, grid.size)
    script[0, 0, :3] = torch.tensor([3.0, 2.0, 1.0])  # 0.46, 0.17 and 0.06 of the mass
    for how, known in (({"top_k": 2, "top_p": 1.0}, {0, 1}), ({"top_p": 0.5, "top_k": 0}, {0, 1})):
        found = speak(Scripted(grid, script), frames=200, temperature=1.0, **how)
        assert set(found.codes.flatten().tolist()) == known
    every = speak(Scripted(grid, script), frames=200, temperature=1.0, top_k=0, top_p=1.0)
    assert len(set(every.codes.flatten().tolist())) > 3


@pytest.mark.parametrize("name", MADE)
def test_the_same_seed_says_the_same(name: str) -> None:
    model = MADE[name]().eval()
    prompt = model.prompt(small_cloning.tokens_of(type(model)), model.grid, "good", REFERENCE, None)
    said = [speak(model, prompt, 6, seed=seed, temperature=2.0).codes for seed in (1, 1, 2)]
    assert torch.equal(said[0], said[1])
    assert not torch.equal(said[0], said[2])


@pytest.mark.parametrize("name", MADE)
@torch.no_grad()
def test_what_is_kept_changes_no_logit(name: str) -> None:
    """Row by row on keys and values of earlier places, against one pass over the whole sequence."""
    model = MADE[name]().eval()
    tokens, spoken = small_cloning.tokens_of(type(model)), small_cloning.codes(6, 4)
    columns = collate(
        [lay(model.prompt(tokens, model.grid, "good", REFERENCE, spoken), model.grid)], 0
    )
    whole = model.logits(model.hidden(model.embed(columns), columns)[0])
    targets = columns.row_at[~columns.reference]
    sequence = Continuation(model, model.prompt(tokens, model.grid, "good", REFERENCE, None))
    for row, place in zip(model.grid.delayed(spoken), targets.tolist(), strict=True):
        torch.testing.assert_close(sequence.logits(), whole[place - 1], atol=1e-5, rtol=1e-5)
        sequence.add(row)


@pytest.mark.parametrize("name", MADE)
def test_a_model_that_was_taught_a_sentence_says_it(name: str) -> None:
    model, spoken = MADE[name](), small_cloning.codes(5, 4)
    tokens = small_cloning.tokens_of(type(model))
    columns = collate(
        [lay(model.prompt(tokens, model.grid, "hi", REFERENCE, spoken), model.grid)], 0
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        losses = code_losses(model(columns), model.head, columns.labels)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    prompt = model.prompt(tokens, model.grid, "hi", REFERENCE, None)
    found = speak(model.eval(), prompt, temperature=0.0)
    assert found.ended
    assert torch.equal(found.codes, spoken)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"temperature": -0.1}, "temperature: -0.1 is below 0"),
        ({"top_p": 0.0}, "top_p: 0.0 is not above 0"),
        ({"top_k": -1}, "top_k: -1 is below 0"),
        ({"max_frames": 0}, "max_frames: 0 is below 1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Sampling(**{"max_frames": 9, **how})
