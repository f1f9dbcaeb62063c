"""Alignment search against every path there is, on small tables."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_trainer.modules.alignment import alignment_path


def best_score(scores: torch.Tensor) -> float:
    """The best monotonic path of scores [F, L], by trying all ways to cut F frames into L runs."""
    frames, tokens = scores.shape
    best = float("-inf")
    for cuts in itertools.combinations(range(1, frames), tokens - 1):
        edges = [0, *cuts, frames]
        total = sum(float(scores[edges[i] : edges[i + 1], i].sum()) for i in range(tokens))
        best = max(best, total)
    return best


@settings(max_examples=60)
@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 2**31))
def test_path_is_monotonic_complete_and_best(tokens: int, extra: int, seed: int) -> None:
    frames = tokens + extra
    scores = torch.randn(1, frames, tokens, generator=torch.Generator().manual_seed(seed))
    path = alignment_path(scores, torch.ones(1, frames, tokens, dtype=torch.bool))[0]
    token = path.argmax(dim=1)
    assert torch.equal(path.sum(dim=1), torch.ones(frames))
    assert bool((path.sum(dim=0) >= 1).all())
    assert token[0] == 0
    assert token[-1] == tokens - 1
    assert set(token.diff().tolist()) <= {0, 1}
    assert float((path * scores[0]).sum()) == pytest.approx(best_score(scores[0]), abs=1e-4)


def test_padding_changes_nothing() -> None:
    scores = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9, 5, dtype=torch.bool)
    mask[1, 6:] = False
    mask[1, :, 3:] = False
    path = alignment_path(scores, mask)
    alone = alignment_path(scores[1:, :6, :3], torch.ones(1, 6, 3, dtype=torch.bool))
    assert torch.equal(path[1, :6, :3], alone[0])
    assert float(path[1, 6:].sum()) == 0.0
    assert float(path[1, :, 3:].sum()) == 0.0


def test_very_unlikely_scores_still_give_a_whole_path() -> None:
    scores = torch.full((1, 6, 3), -1e6)
    path = alignment_path(scores, torch.ones(1, 6, 3, dtype=torch.bool))
    assert path.sum(dim=1).min() >= 1
    assert path.sum() == 6


@pytest.mark.gpu
def test_gpu_agrees_with_cpu() -> None:
    scores = torch.randn(3, 40, 11, generator=torch.Generator().manual_seed(2))
    mask = torch.ones(3, 40, 11, dtype=torch.bool)
    assert torch.equal(
        alignment_path(scores.cuda(), mask.cuda()).cpu(), alignment_path(scores, mask)
    )
