"""How twins are run and judged at the size of a test, whatever the recipe. Used by test_*_twins.py."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

from twins.catalogue import Twin

from speech_contract import paths
from speech_contract.findings import Finding
from speech_contract.thresholds import Thresholds
from speech_health.monitor import Monitor
from speech_health.samples import from_datagram
from speech_trainer.errors import PreflightFailed, TrainerError

WITHIN = 20  # steps from the first at which the fault does anything


def named(twin: Twin) -> str:
    """For pytest."""
    return twin.wrap.__name__


def fields_of(twin: Twin | None, training: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`recipe` and `training` of a run config as the twin needs them; None: the correct recipe."""

    def snake(fields: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"([A-Z])", r"_\1", name).lower(): v for name, v in fields.items()}

    if twin is None:
        return {"recipe": {}, "training": training}
    return {"recipe": snake(twin.recipe), "training": training | snake(twin.training)}


def wrap_of(twin: Twin | None) -> Any:
    """The fault hook; of the correct recipe nothing."""
    return twin.wrap if twin else lambda recipe: recipe


def check(run: Any) -> dict[str, list[str]]:
    """Take a run through its preflight alone: mark → the checks that have it."""
    run.engine.outside = dataclasses.replace(run.engine.outside, preflight_only=True)
    with contextlib.suppress(PreflightFailed):
        run.engine.run()
    assert run.engine.counters.step == 0
    text = (Path(run.engine.config.run_dir) / paths.PREFLIGHT).read_text("utf-8")
    found: dict[str, list[str]] = {}
    for row in json.loads(text)["results"]:
        found.setdefault(row["mark"], []).append(row["check"])
    return found


def findings(run: Any, steps: int) -> list[Finding]:
    """Train for so many steps at most, and let the rules judge what was reported."""
    try:
        run.engine.run()
    except (KeyboardInterrupt, TrainerError):
        assert run.said.datagrams
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    for datagram in run.said.datagrams:
        if datagram.step <= steps:
            monitor.feed(from_datagram(datagram, float(datagram.step)))
    return list(monitor.findings)


def assert_reached_and_told(twin: Twin) -> None:
    """Through its hook; what it breaks is one sentence, and somebody is there to tell of it."""
    module, _, name = twin.hook.partition(":")
    assert getattr(importlib.import_module(module), name) is twin.wrap
    assert twin.breaks.endswith(".")
    assert len(twin.breaks) <= 110
    assert twin.rules or twin.later, "who tells of it when nobody looked before step 1?"
