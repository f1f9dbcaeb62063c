"""PESQ and STOI where installed: asked clip by clip, and what has no score is counted, never made up."""

from __future__ import annotations

import logging
import sys
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from speech_contract.scores import Better
from speech_trainer.audio import perceptual

RATE = 24000


class NoUtterancesError(RuntimeError):
    """As `pesq` raises it."""


def pesq(rate: int, reference: Any, candidate: Any, mode: str) -> float:
    assert (rate, mode, reference.shape) == (16000, "wb", candidate.shape)
    if not abs(candidate).max() > 0:
        raise NoUtterancesError
    return 4.0 if abs(reference - candidate).max() < 1e-3 else 2.0


def stoi(reference: Any, candidate: Any, rate: int) -> float:
    assert (rate, reference.shape) == (RATE, candidate.shape)
    if reference.size < RATE // 2:
        warnings.warn("Not enough STFT frames", RuntimeWarning, stacklevel=1)
        return 1e-5
    return 1.0 if abs(reference - candidate).max() < 1e-3 else 0.5


def installed(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    for name in ("pesq", "pystoi"):
        monkeypatch.setitem(sys.modules, name, modules.get(name))  # type: ignore[arg-type]


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes: dict[str, object] = {
        "pesq": SimpleNamespace(pesq=pesq, PesqError=RuntimeError),
        "pystoi": SimpleNamespace(stoi=stoi),
    }
    installed(monkeypatch, **fakes)


def speech(seconds: float = 1.0) -> Tensor:
    return 0.3 * torch.sin(torch.arange(int(seconds * RATE)) * 0.05)


def test_without_the_packages_there_are_no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    assert perceptual.scores([(speech(), speech())], RATE) == {}


@pytest.mark.usefixtures("both")
def test_scores_are_means_over_recordings() -> None:
    pairs = [(speech(), speech()), (0.5 * speech(), speech())]
    assert perceptual.scores(pairs, RATE) == {"pesq": 3.0, "stoi": 0.75}
    assert {name: spec.better for name, spec in perceptual.SPECS.items()} == {
        "pesq": Better.HIGHER,
        "stoi": Better.HIGHER,
    }


@pytest.mark.usefixtures("both")
def test_what_has_no_score_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    silent, short = torch.zeros(RATE), speech(0.2)
    pairs = [(speech(), speech()), (silent, speech()), (speech(), silent), (short, short)]
    with caplog.at_level(logging.WARNING):
        found = perceptual.scores(pairs, RATE)
    assert found["pesq"] == 4.0  # of the first and the short one
    assert found["stoi"] == 0.75  # of the first two
    assert [record.message.split(" held-out")[0] for record in caplog.records] == [
        "pesq: 2 of 4",
        "stoi: 2 of 4",
    ]


@pytest.mark.usefixtures("both")
def test_where_nothing_has_a_score_none_is_told() -> None:
    short_and_silent = torch.zeros(100)
    assert perceptual.scores([(short_and_silent, short_and_silent)], RATE) == {}


def test_the_packages_themselves() -> None:
    """Where they are installed; the image and the checks have neither."""
    module: ModuleType = pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    assert issubclass(module.NoUtterancesError, module.PesqError)
    generator = torch.Generator().manual_seed(0)
    bursts = (torch.arange(2 * RATE) // 2000 % 2).float()
    clean = 0.3 * bursts * torch.randn(2 * RATE, generator=generator)
    noisy = clean + 0.1 * torch.randn(2 * RATE, generator=generator)
    silent = torch.zeros(2 * RATE)
    same = perceptual.scores([(clean, clean)], RATE)
    worse = perceptual.scores(
        [(noisy, clean), (silent, silent), (clean[:2000], clean[:2000])], RATE
    )
    assert same["stoi"] == pytest.approx(1.0, abs=1e-3)
    assert same["pesq"] > 4.5
    assert worse["pesq"] < same["pesq"]
    assert 0.2 < worse["stoi"] < same["stoi"]
