"""What a reader makes of a status that nobody keeps up to date."""

from __future__ import annotations

from typing import Any

import pytest

from speech_contract.reasons import State
from speech_contract.unattended import rests, unattended

NAN = {"rule": "NonFinite", "status": "Active", "severity": "critical", "evidence": "nan"}


def job(state: str = "Running", **health: Any) -> dict[str, Any]:
    return {"metadata": {"name": "voice"}, "status": {"state": state, "health": health}}


def test_healthy_becomes_unknown_with_a_finding_that_says_why() -> None:
    before = job(verdict="Healthy", findings=[])
    shown = unattended(before, "nobody drives it", "drive it")["status"]
    assert (shown["state"], shown["health"]["verdict"]) == ("Running", "Unknown")
    (finding,) = shown["health"]["findings"]
    assert finding["rule"] == "TelemetryUnreachable"
    assert (finding["evidence"], finding["remedy"]) == ("nobody drives it", "drive it")
    assert before["status"]["health"]["verdict"] == "Healthy", (
        "the document that was given is left alone"
    )


def test_of_what_is_gone_the_state_is_not_known_either() -> None:
    assert unattended(job(), "gone", "run it", gone=True)["status"]["state"] == State.UNKNOWN.value


def test_what_was_critical_stays_so() -> None:
    shown = unattended(job(verdict="Critical", findings=[NAN]), "gone", "run it")["status"][
        "health"
    ]
    assert shown["verdict"] == "Critical"
    assert [f["rule"] for f in shown["findings"]] == ["TelemetryUnreachable", "NonFinite"]


@pytest.mark.parametrize("state", State)
def test_only_jobs_at_rest_do_not_age(state: State) -> None:
    at_rest = {State.REFUSED, State.SUSPENDED, State.COMPLETE, State.FAILED}
    assert rests(job(state.value)) is (state in at_rest)
