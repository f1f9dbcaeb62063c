"""The broken twins of VITS: the engine can't tell them from the recipe, and each does its harm."""

from __future__ import annotations

import importlib

import pytest
from twins.catalogue import VITS, Twin


@pytest.mark.parametrize("twin", VITS, ids=lambda twin: twin.wrap.__name__)
def test_a_twin_is_reached_through_its_hook_and_says_what_it_breaks(twin: Twin) -> None:
    module, _, name = twin.hook.partition(":")
    assert getattr(importlib.import_module(module), name) is twin.wrap
    assert twin.breaks.endswith((".", "0.0", "climb"))
    assert len(twin.breaks) <= 110


def test_names_are_unique() -> None:
    assert len({twin.name for twin in VITS}) == len(VITS)
