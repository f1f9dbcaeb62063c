"""Records that share equality, hash and text compare and read as generated dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import pkgutil

import pytest

import speech_contract
from speech_contract.progress import Progress
from speech_contract.report import Report
from speech_contract.thresholds import Thresholds, ZeroLoss
from speech_contract.values import Value, frozen
from speech_health.samples import StepSample, once


@frozen
class Other(Value):
    """Of the same fields as `ZeroLoss`."""

    for_steps: int = 20
    on_exceeded: str = "Stop"


def test_equal_by_class_and_fields() -> None:
    assert ZeroLoss(for_steps=5) == ZeroLoss(5) != ZeroLoss(6)
    assert {ZeroLoss(5), ZeroLoss(5)} == {ZeroLoss(5)}
    assert Other() != ZeroLoss()
    assert Thresholds() == dataclasses.replace(Thresholds())
    assert Thresholds(zero_loss=ZeroLoss(5)) != Thresholds()


def test_read_as_they_are_written() -> None:
    assert repr(Other(5)) == "Other(for_steps=5, on_exceeded='Stop')"


def records() -> list[type]:
    """Dataclasses of the contract; those with slots have no `__dict__` to compare by."""
    modules = [
        importlib.import_module(f"{speech_contract.__name__}.{info.name}")
        for info in pkgutil.iter_modules(speech_contract.__path__)
        if not info.ispkg
    ]
    found = {c for m in modules for c in vars(m).values() if dataclasses.is_dataclass(c)}
    return [c for c in found if isinstance(c, type)]


def test_no_record_generates_what_it_could_share() -> None:
    """Each would cost every command two milliseconds more at its start."""
    found = [record for record in records() if "__slots__" not in vars(record)]
    assert len(found) > 60
    for record in found:
        shared = {"__eq__", "__hash__", "__repr__"}
        if not issubclass(record, Report):  # made of every row: its own are faster than shared ones
            shared |= {"__setattr__", "__delattr__"}
        assert shared.isdisjoint(vars(record)), record
        assert issubclass(record, Value), record


@pytest.mark.parametrize(
    ("module", "at_least"),
    [
        ("speech_contract.run_config", 60),
        ("speech_operator.snapshot", 8),
        ("speech_operator.plan", 4),
        ("speech_health.replay", 6),
        ("speech_cli.rendering.why", 6),
    ],
)
def test_what_is_shared_is_true_of_all_who_share_it(module: str, at_least: int) -> None:
    """Every field counts, and nothing else is kept beside the fields."""
    importlib.import_module(module)
    package = module.partition(".")[0]
    found = [c for c in descendants(Value) if c.__module__.startswith(f"{package}.")]
    assert len(found) >= at_least
    for record in found:
        if record is StepSample:  # it has an equality of its own
            continue
        assert all(field.compare and field.repr for field in dataclasses.fields(record)), record
        kept = [v for c in record.__mro__ for v in vars(c).values()]
        assert not any(isinstance(value, functools.cached_property | once) for value in kept), (
            record
        )


def descendants(of: type) -> list[type]:
    """All classes below it."""
    return [c for below in of.__subclasses__() for c in (below, *descendants(below))]


@pytest.mark.parametrize(
    "record",
    [ZeroLoss(), Progress(version="1.1", attempt=1), StepSample(time=1.0, now=1.0, rank=0, step=1)],
)
def test_frozen(record: Value) -> None:
    """Neither a field nor anything else is set, and nothing is deleted: in what is shared as in what is generated."""
    before = dataclasses.replace(record)  # type: ignore[type-var]
    for name in (*record.__dataclass_fields__, "of_no_field"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, name, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(record, name)
    assert record == before


def test_copied() -> None:
    record = Progress(version="1.1", attempt=1, losses={"total": 1.0})
    assert copy.deepcopy(record) == record
