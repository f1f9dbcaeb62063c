"""Judging calm stretches at once is judging one report after the other: what rules know and say is the same."""

from __future__ import annotations

import copy
import dataclasses
import enum
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_contract.thresholds import HealthMode, Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import Source, StepSample, from_fields
from speech_health.stretch import LONGEST, batches, stretch_of


def known(thing: Any) -> Any:
    """Everything that hangs on a monitor, as plain values."""
    if isinstance(thing, (enum.Enum, type)) or callable(thing):
        return str(thing)
    if dataclasses.is_dataclass(thing) or hasattr(thing, "__dict__"):
        kept = {n: v for n, v in vars(thing).items() if n not in ("_by_shape", "revision", "_wall")}
        return (type(thing).__name__, {name: known(value) for name, value in kept.items()})
    if isinstance(thing, dict):
        return [(str(key), known(value)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple)) or hasattr(thing, "maxlen"):
        return [known(value) for value in thing]
    return repr(thing)


class Listener:
    """A monitor in mode Notify, whose clock counts reports."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.monitor = Monitor(
            Thresholds(mode=HealthMode.NOTIFY), started=0.0, wall=lambda: self.clock
        )

    def one_by_one(self, samples: list[StepSample]) -> list[Any]:
        """What is found, whenever that changes."""
        told, noted = [], 0
        for sample in samples:
            self.clock += 1.0
            self.monitor.feed(sample)
            if self.monitor.revision != noted:
                noted = self.monitor.revision
                told.append((self.clock, self.monitor.findings))
        return told

    def at_once(self, samples: list[StepSample]) -> list[Any]:
        """The same by batches."""
        told: list[Any] = []
        noted = 0
        for batch in batches(samples):
            end = self.clock + len(batch)
            for _ in self._each(batch):
                if self.monitor.revision != noted:
                    noted = self.monitor.revision
                    told.append((self.clock, self.monitor.findings))
            self.clock = end
        return told

    def _each(self, batch: list[StepSample]) -> Iterator[None]:
        """Before each report that is judged by itself, and at the end."""
        for _ in self.monitor.feed_batch(batch):
            yield
            self.clock += 1.0
        yield


KINDS = (
    "calm",
    "calm",
    "calm",
    "rounded",
    "zero",
    "nan",
    "high",
    "still",
    "no norm",
    "back",
    "dead",
    "scored",
)


@st.composite
def runs(draw: st.DrawFn) -> list[StepSample]:
    """Long calm parts with all kinds of trouble between them."""
    dice = random.Random(draw(st.integers(0, 10**6)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    source = draw(st.sampled_from(Source))
    names = draw(st.sampled_from((("loss",), ("total", "kl"), ("gen_loss", "mel_loss"), ())))
    spread = draw(st.sampled_from((0.01, 0.3)))
    made: list[StepSample] = []
    step = 0
    for kind in kinds:
        for _ in range(dice.choice((1, 3, 20, 150, 300))):
            step = (
                step - 30
                if kind == "back" and dice.random() < 0.01
                else step + dice.choice((1, 1, 10))
            )
            made.append(_sample(dice, kind, source, names, spread, step, len(made)))
    return made


def _sample(
    dice: random.Random,
    kind: str,
    source: Source,
    names: tuple[str, ...],
    spread: float,
    step: int,
    at: int,
) -> StepSample:
    def value() -> float:
        return {"zero": 0.0, "nan": float("nan"), "high": 50.0, "still": 1.25}.get(
            kind if dice.random() < 0.8 else "", 2.0 + spread * dice.random()
        )

    losses: dict[str, float] = {name: value() for name in names}
    if kind == "rounded":
        losses = {name: round(loss, 2) for name, loss in losses.items()}
    if "kl" in losses and at < 400:
        losses["kl"] = 0.0  # a part that starts late
    norm = 0.0 if kind == "dead" else 1.0 + spread * dice.random()
    return from_fields(
        {
            "time": 0.0,
            "now": float(at),
            "rank": 0,
            "step": step,
            "source": source,
            "losses": losses or None,
            "gradient_norm": None if kind == "no norm" else norm,
            "learning_rate": 1e-4 * (1.0 + min(at, 50)),
            "evaluation": SCORES[at // 100 % 2] if kind == "scored" else None,
        }
    )


SCORES = ({"loss": 1.0}, {"loss": 1.5})


def calm(number: int, **fields: Any) -> list[StepSample]:
    return [
        from_fields(
            {
                "time": 0.0,
                "now": float(i),
                "rank": 0,
                "step": i,
                "losses": {"loss": 3.0 - i / 1000 + i % 7 / 10},
                "gradient_norm": 1.0,
            }
            | fields
        )
        for i in range(number)
    ]


@pytest.mark.parametrize(
    ("whole", "more"),
    [("loss", {}), ("loss", {"kl": 0.0}), ("gen", {}), ("gen", {"kl": 0.0})],
    ids=["whole", "with a part that is off", "a part", "with another that is off"],
)
def test_a_calm_run_is_hardly_looked_at_one_by_one(whole: str, more: dict[str, float]) -> None:
    listener = Listener()
    samples = [
        from_fields(vars(one) | {"losses": {whole: (one.losses or {})["loss"], **more}})
        for one in calm(10 * LONGEST)
    ]
    (start, *rest) = batches(samples)
    list(listener.monitor.feed_batch(start))
    assert [list(listener.monitor.feed_batch(batch)) for batch in rest] == [[]] * 9


@pytest.mark.parametrize(
    "fields",
    [
        {"losses": {"loss": float("nan")}},
        {"losses": {"loss": float("inf")}},
        {"losses": {"loss": 0.0}},
        {"losses": {"total": 1.0}},
        {"losses": None},
        {"gradient_norm": 0.0},
        {"gradient_norm": None},
        {"gradient_norm": float("nan")},
        {"step": 3},
        {"rank": 1},
        {"stands": "loss"},
    ],
)
def test_one_report_out_of_the_way_and_each_is_looked_at(fields: dict[str, Any]) -> None:
    batch = calm(20)
    assert stretch_of(batch) is not None
    batch[10] = from_fields(vars(batch[10]) | fields)
    assert stretch_of(batch) is None


@pytest.mark.parametrize(
    "fields", [{"plan": None}, {"updates": 1}, {"gated": False}, {"reward": 0.0}]
)
def test_what_a_stretch_does_not_know_is_looked_at(fields: dict[str, Any]) -> None:
    assert stretch_of(calm(20, **fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"losses": None},
        {"losses": {}},
        {"losses": {"loss": 1.0, "kl": float("nan")}},
        {"gradient_norm": None},
        {"gradient_norm": -1.0},
        {"step": 1},
    ],
)
@pytest.mark.parametrize("at", [0, 2, 19])
def test_wherever_it_stands(fields: dict[str, Any], at: int) -> None:
    batch = calm(20, losses={"loss": 1.0, "kl": 0.0})
    batch[at] = from_fields(vars(batch[at]) | fields)
    assert stretch_of(batch) is None


@pytest.mark.parametrize(("number", "long_enough"), [(1, False), (3, False), (4, True)])
def test_four_reports_are_a_stretch(number: int, long_enough: bool) -> None:
    assert (stretch_of(calm(number)) is not None) is long_enough


@pytest.mark.parametrize(
    ("losses", "norm", "headline"),
    [
        ({"kl": 0.0, "loss": 1.0}, 0.5, [1.0] * 4),  # a part may be off, the headline may not
        ({"kl": 0.5}, None, [0.5] * 4),
        (None, 1.0, []),
        (None, None, None),
        ({}, None, None),
        ({"loss": 0.0}, 1.0, None),
    ],
)
def test_a_stretch_holds_the_columns_of_its_reports(
    losses: dict[str, float] | None, norm: float | None, headline: list[float] | None
) -> None:
    batch = calm(4, losses=losses, gradient_norm=norm, rank=3, learning_rate=0.25)
    stretch = stretch_of(batch)
    if stretch is None:
        assert headline is None
        return
    assert stretch.headline == headline
    assert stretch.losses == {name: [value] * 4 for name, value in (losses or {}).items()}
    assert stretch.norms == ([] if norm is None else [norm] * 4)
    assert stretch.rates == [0.25] * 4
    assert (stretch.first, stretch.last) == (batch[0], batch[3])
    assert stretch.stream == (Source.REPORTER, 3)


def test_what_a_line_may_carry_and_what_was_asked_of_it_is_known() -> None:
    printed = {"source": Source.STDOUT, "report": 1, "form": "a form", "opens": False, "stands": ""}
    batch = calm(4, **printed, learning_rate=0.1, evaluation=None, parts=None)
    assert all(sample.headline for sample in batch)
    assert stretch_of(batch) is not None


def test_batches_keep_order_and_break_where_a_run_opens_or_another_kind_begins() -> None:
    samples = [
        *calm(LONGEST + 1),
        *calm(3, opens=True)[:1],
        *calm(2, reward=1.0),
        *calm(2, evaluation=SCORES[0]),
    ]
    cut = list(batches(samples))
    assert [sample for batch in cut for sample in batch] == samples
    assert [len(batch) for batch in cut] == [128, 1, 1, 2, 2]


@settings(max_examples=60, deadline=None)
@given(runs())
def test_at_once_is_one_by_one(samples: list[StepSample]) -> None:
    one, other = Listener(), Listener()
    fresh = [copy.copy(sample) for sample in samples]  # one that was judged keeps what it derived
    assert one.one_by_one(samples) == other.at_once(fresh)
    one.monitor.finish(samples[-1].now, 0)
    other.monitor.finish(samples[-1].now, 0)
    assert known(one.monitor) == known(other.monitor)
