"""What a report says of itself."""

from __future__ import annotations

import dataclasses
import math

import pytest

from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample, from_datagram

NAN, INF = math.nan, math.inf


def sample(**fields: object) -> StepSample:
    return dataclasses.replace(StepSample(0.0, 0.0, 0, 1), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("losses", "headline"),
    [
        (None, None),
        ({}, None),
        ({"mel": 3.0, "total": 1.0, "loss": 2.0}, 1.0),
        ({"mel": 3.0, "loss": 2.0}, 2.0),
        ({"mel": 3.0, "kl": 2.0}, 3.0),
    ],
)
def test_headline_is_total_then_loss_then_the_first(
    losses: dict[str, float] | None, headline: float | None
) -> None:
    assert sample(losses=losses).headline == headline


@pytest.mark.parametrize(
    ("losses", "norm", "bad"),
    [
        ({"loss": 1.0}, 1.0, None),
        ({"loss": 1.0, "mel": NAN}, 1.0, "mel"),
        ({"loss": -INF}, None, "loss"),
        ({"loss": 0.0}, NAN, "loss"),
        ({"loss": -0.0}, NAN, "loss"),
        ({"loss": 0.0}, INF, None),
        ({"loss": 0.0}, 0.0, None),
        ({"loss": 1e-9}, NAN, None),
        (None, NAN, None),
    ],
)
def test_bad_loss_sees_the_nan_and_the_zero_that_hides_one(
    losses: dict[str, float] | None, norm: float | None, bad: str | None
) -> None:
    assert sample(losses=losses, gradient_norm=norm).bad_loss == bad


READ_OFF_STDOUT = (
    "report",
    "form",
    "reward",
    "reward_spread",
    "opens",
    "evaluated",
    "unrated",
    "parts",
    "stands",
)  # no datagram has them


def test_from_datagram_keeps_every_shared_field() -> None:
    values = {
        field.name: f"value of {field.name}"
        for field in dataclasses.fields(StepSample)
        if field.name not in ("now", "source", *READ_OFF_STDOUT)
    }
    shared = {field.name for field in dataclasses.fields(Datagram)}
    datagram = Datagram(**{k: v for k, v in values.items() if k in shared})  # type: ignore[arg-type]
    kept = from_datagram(datagram, 7.0)
    assert kept.now == 7.0
    assert kept.source is Source.REPORTER
    assert {name: getattr(kept, name) for name in values} == values
