"""The age of what a cluster's status says, and when it is too old to be believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_cli.rendering.live import as_of
from speech_cli.rendering.view import moment, view_of
from speech_cli.standing import SILENT_SECONDS, aged

Make = dict[str, Callable[..., Any]]
HEARD = "2026-01-01T00:00:00Z"
THEN = moment(HEARD) or 0.0


def running(make: Make, **status: Any) -> dict[str, Any]:
    health = {"verdict": "Healthy", "findings": []}
    document: dict[str, Any] = make["job"](
        **{"progress": {"step": 3, "heardAt": HEARD}, "health": health, **status}
    )
    return document


def test_the_limit_is_three_signs_that_did_not_come(make: Make) -> None:
    document = running(make)
    assert aged(document, THEN + SILENT_SECONDS - 1) is document
    old = view_of(aged(document, THEN + SILENT_SECONDS))
    assert (old.state, old.verdict) == ("Running", "Unknown")
    assert "nobody has heard of this attempt for 3m00s" in old.findings[0].evidence
    assert "whether the operator runs" in old.findings[0].remedy


@pytest.mark.parametrize("state", ["Complete", "Failed", "Suspended"])
def test_a_job_at_rest_does_not_age(make: Make, state: str) -> None:
    document = running(make, state=state)
    assert aged(document, THEN + 1e6) is document
    assert as_of(view_of(document), THEN + 1e6) == ""


def test_what_nobody_ever_heard_of_is_left_as_it_is(make: Make) -> None:
    document = running(make, progress={})
    assert aged(document, THEN + 1e6) is document


def test_a_silence_that_the_operator_has_seen_is_told_in_its_words(make: Make) -> None:
    finding = {
        "rule": "TelemetryUnreachable",
        "status": "Active",
        "severity": "warning",
        "evidence": "60 s",
    }
    document = running(make, health={"verdict": "Unknown", "findings": [finding]})
    assert aged(document, THEN + 1e6) is document


@pytest.mark.parametrize(
    ("age", "said"), [(29, ""), (35, ", as of 35s ago"), (125, ", as of 2m05s ago")]
)
def test_the_age_is_said_once_it_is_one(make: Make, age: float, said: str) -> None:
    assert as_of(view_of(running(make)), THEN + age) == said
