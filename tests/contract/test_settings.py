"""Sections of settings compare and read as generated dataclasses do."""

from __future__ import annotations

import dataclasses

import pytest

from speech_contract.settings import Section
from speech_contract.thresholds import Thresholds, ZeroLoss


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Other(Section):
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


def test_no_section_generates_what_it_could_share() -> None:
    """Each would cost every command that judges two milliseconds more at its start."""
    found = [c for c in Section.__subclasses__() if c.__module__.startswith("speech_contract")]
    assert len(found) > 20
    for section in found:
        assert {"__eq__", "__hash__", "__repr__"}.isdisjoint(vars(section)), section


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ZeroLoss().for_steps = 3  # type: ignore[misc]
