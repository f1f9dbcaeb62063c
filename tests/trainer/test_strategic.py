"""Strategic logs: readable trees, one event a section, failures shown and counted."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from speech_contract.events import Event
from speech_trainer.engine.recipe import Section
from speech_trainer.strategic.collect import collect, failed
from speech_trainer.strategic.facts import ends, shape, statistics
from speech_trainer.strategic.log import StrategicLog
from speech_trainer.strategic.tree import render


def broken() -> Mapping[str, Any]:
    raise ValueError("no tokens")


def test_a_section_renders_as_a_tree() -> None:
    facts = {"n": 3, "part": {"x": 0.123456, "list": [1, 2.5]}, "samples": [{"a": "b"}]}
    assert render(Section("Input", facts)) == [
        "Input",
        "├─ n: 3",
        "├─ part",
        "│  ├─ x: 0.1235",
        "│  └─ list: 1 2.5",
        "└─ samples",
        "   └─ [0]",
        "      └─ a: b",
    ]


def test_a_failing_section_is_shown_counted_and_spares_the_others() -> None:
    sections = collect({"Input": broken, "Output": lambda: {"ok": 1}})
    assert [failed(section) for section in sections] == [True, False]
    stream, events = io.StringIO(), list[tuple[Event, Mapping[str, Any]]]()
    log = StrategicLog(stream, lambda event, fields: events.append((event, fields)))
    log.write(100, sections)
    log.write(200, sections)
    assert log.failures == 2
    assert "step 100 · Input" in stream.getvalue()
    assert "ValueError: no tokens" in stream.getvalue()
    assert [event for event, _ in events] == [
        Event.STRATEGIC_LOG_FAILED,
        Event.STRATEGIC_LOG,
    ] * 2
    assert events[2][1]["failures"] == 2
    assert events[1][1] == {"step": 100, "section": "Output", "facts": {"ok": 1}}
    json.dumps([fields for _, fields in events], allow_nan=False)


def test_an_interrupt_is_no_section_s_business() -> None:
    def interrupted() -> Mapping[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect({"Input": interrupted})


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (3, {"all": [0, 1, 2]}),
        (20, {"all": list(range(20))}),
        (21, {"first": list(range(10)), "last": list(range(11, 21))}),
    ],
)
def test_ends_shows_the_first_and_last_ten(size: int, expected: dict[str, list[int]]) -> None:
    assert ends(list(range(size))) == expected


def test_statistics_tells_how_much_is_finite() -> None:
    facts = statistics(torch.tensor([1.0, 3.0, float("nan"), float("inf")]))
    assert facts == {"mean": 2.0, "std": 1.0, "min": 1.0, "max": 3.0, "finite_share": 0.5}
    assert statistics(torch.tensor([float("nan")])) == {"finite_share": 0.0}


def test_shape_names_its_axes() -> None:
    assert shape(torch.zeros(8, 5), "batch tokens") == "batch 8 × tokens 5"
    with pytest.raises(ValueError, match="zip"):
        shape(torch.zeros(8), "batch tokens")
