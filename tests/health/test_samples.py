"""What a report says of itself."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from speech_contract.report import Codebook, Weights
from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample, from_datagram, from_fields

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


WEIGHTS = Weights(step=2, since=1, updates=1, unchanged={}, movement={})


@pytest.mark.parametrize(
    ("fields", "telling"),
    [
        ({}, False),
        ({"losses": {}, "codebooks": {}, "learning_rate": 0.1, "evaluation": {"wer": 1.0}}, False),
        ({"gated": True}, True),
        ({"losses": {"loss": 0.0}}, True),
        ({"codebooks": {"q0": Codebook()}}, True),
        ({"bad_component": "mel"}, True),
        ({"bad_module": "flow"}, True),
        ({"gradient_norm": 0.0}, True),
        ({"updates": 0}, True),
        ({"non_finite_steps": 0}, True),
        ({"weights": WEIGHTS}, True),
    ],
)
def test_a_report_tells_of_learning_by_any_one_number_of_it(
    fields: dict[str, Any], telling: bool
) -> None:
    assert sample(**fields).telling is telling


@pytest.mark.parametrize(
    ("losses", "stands", "headline", "whole"),
    [
        (None, "", None, False),
        (None, "mel", None, False),
        ({"mel": 1.0, "kl": 2.0}, "", 1.0, False),
        ({"mel": 1.0, "kl": 2.0}, "kl", 2.0, True),
        ({"mel": 1.0, "kl": 2.0}, "absent", 1.0, False),
        ({"mel": 1.0, "loss": 2.0}, "", 2.0, True),
        ({"mel": 1.0, "loss": 2.0}, "absent", 2.0, True),
        ({"mel": 1.0, "total": 2.0}, "mel", 1.0, True),
    ],
)
def test_a_component_stands_for_the_whole_where_it_is_reported(
    losses: dict[str, float] | None, stands: str, headline: float | None, whole: bool
) -> None:
    told = sample(losses=losses, stands=stands)
    assert (told.headline, told.whole) == (headline, whole)


@pytest.mark.parametrize(
    ("losses", "norm", "zero"),
    [
        (None, None, False),
        ({}, None, False),
        ({"loss": 0.0}, None, True),
        ({"loss": 1.0}, None, False),
        ({"loss": 0.0}, NAN, False),  # a NaN in disguise
        ({"d": 0.0, "loss": 1.0}, None, False),
        ({"d": 1.0, "loss": 0.0}, None, True),
        ({"d": 0.0, "g": 1.0}, None, False),  # a discriminator that starts late
        ({"d": 0.0, "g": 0.0}, None, True),
        ({"d": 1.0, "g": 1.0}, None, False),
    ],
)
def test_a_loss_of_zero_is_the_whole_one_or_every_component(
    losses: dict[str, float] | None, norm: float | None, zero: bool
) -> None:
    assert sample(losses=losses, gradient_norm=norm).zero_loss is zero


@pytest.mark.parametrize(
    ("norm", "bad"), [(None, False), (0.0, False), (5.0, False), (NAN, True), (-INF, True)]
)
def test_a_gradient_is_bad_when_it_was_reported_and_is_not_finite(
    norm: float | None, bad: bool
) -> None:
    assert sample(gradient_norm=norm).bad_gradient is bad


@pytest.mark.parametrize(("report", "turn"), [(None, 1), (0, 0), (7, 7)])
def test_a_turn_is_the_step_where_no_reader_counts(report: int | None, turn: int) -> None:
    assert sample(report=report).turn == turn


def test_reports_are_equal_by_their_fields_whatever_was_worked_out() -> None:
    one, other = sample(losses={"loss": 1.0}), sample(losses={"loss": 1.0})
    assert one.headline == 1.0
    assert one == other
    assert one != sample(losses={"loss": 2.0})
    assert one != "report"


def test_a_report_of_a_step_alone_opens_nothing_and_evaluates_nothing() -> None:
    told = from_fields({"time": 0.0, "now": 0.0, "rank": 0, "step": 1})
    assert told == StepSample(0.0, 0.0, 0, 1)
    assert (told.opens, told.evaluated, told.unrated) == (False, False, False)


# No datagram has them.
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
)


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
