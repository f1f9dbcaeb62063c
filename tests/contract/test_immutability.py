"""What a change of an accepted job is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_contract import api

Bend = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.runPolicy.suspend", True),
        ("spec.runPolicy.restarts.max", 5),
        ("spec.runPolicy.restarts.sameCause", 5),
        ("spec.runPolicy.restarts.perWindow", {"max": 5}),
        ("spec.runPolicy.restarts.resetAfterSteps", 5),
        ("spec.runPolicy.ttlSecondsAfterFinished", 60),
        ("spec.health.zeroLoss.forSteps", 50),
        ("spec.health.mode", "Notify"),
        ("spec.training.device", "Auto"),  # the default, written out
    ],
)
def test_some_fields_may_change(good: dict[str, Any], bend: Bend, path: str, value: Any) -> None:
    assert api.changed_immutable(api.parse(good).spec, api.parse(bend(path, value)).spec) == []


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.training.maxSteps", 30000, ""),
        ("spec.recipe.vits.preset", "Debug", ""),
        ("spec.recipe.vits.discriminatorLearningRate", "1e-4", ""),
        ("spec.checkpoint.uri", "/checkpoints/other", ""),
        ("spec.numNodes", 3, ""),
        ("spec.trainer.env.0.value", "INFO", "spec.trainer.env"),
        ("spec.data", {"train": {"manifest": "/data/x.jsonl"}}, "spec.data.maxSamples"),
        ("spec.runPolicy.managedBy", "someone.example/else", ""),
        ("spec.runPolicy.activeDeadlineSeconds", 60, ""),
    ],
)
def test_all_others_are_named(
    good: dict[str, Any], bend: Bend, path: str, value: Any, field: str
) -> None:
    accepted, wanted = api.parse(good).spec, api.parse(bend(path, value)).spec
    problems = {p.field: str(p) for p in api.changed_immutable(accepted, wanted)}
    assert (field or path) in problems
    assert "is immutable" in problems[field or path]
    assert api.changed_immutable(accepted, accepted) == []


def test_the_sentence_names_the_old_value(good: dict[str, Any], bend: Bend) -> None:
    wanted = api.parse(bend("spec.training.maxSteps", 30000)).spec
    (problem,) = api.changed_immutable(api.parse(good).spec, wanted)
    assert str(problem) == (
        "spec.training.maxSteps: 30000 was 20000 when the job was accepted and is immutable; "
        "put it back, or start a new job under another name"
    )
