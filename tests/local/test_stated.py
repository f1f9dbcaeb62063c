"""What a person stated of a run, by the whole command line: a range for a part of the loss, and lines of the script."""

from __future__ import annotations

import pytest
from desk import Desk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PATTERN = {"name": "decoder-fell-back", "pattern": "falling back to (cpu|eager)"}


def test_a_part_that_leaves_its_range_is_a_warning_of_a_script_that_prints(desk: Desk) -> None:
    health = {"expect": {"vqLoss": {"max": "2.0"}}, "logPatterns": [PATTERN]}
    said = desk.call("run", desk.script("codec", "printed_codec.py", 40, health=health))
    assert said.code == 0, said.text
    findings = desk.findings("codec")
    assert set(findings) == {"Expectation", "LogPattern"}
    stated, line = findings["Expectation"], findings["LogPattern"]
    assert (stated["severity"], stated["step"]) == ("warning", 7)
    assert "'vq_loss' is 7 at step 40, expected max 2.0" in stated["evidence"]
    assert "'decoder-fell-back': 1 line of rank 0 at step 5" in line["evidence"]
    assert "falling back to cpu" in line["evidence"]
    assert desk.status("codec")["health"]["verdict"] == "Warning"
    assert "decoder-fell-back" in desk.call("status", "codec").text


def test_stop_ends_the_run_and_says_which_range(desk: Desk) -> None:
    health = {"expect": {"vqLoss": {"max": "2.0", "onExceeded": "Stop"}}}
    said = desk.call("run", desk.script("stopped", "printed_codec.py", 100_000, health=health))
    assert said.code == 43, said.text
    assert desk.findings("stopped")["Expectation"]["action"] == "Stopped"
    assert "expected max 2.0" in desk.call("why", "stopped").text


@pytest.mark.parametrize(("action", "code", "attempts"), [("Stop", 17, 1), ("Restart", 1, 3)])
def test_a_line_ends_the_attempt_as_its_pattern_says(
    desk: Desk, action: str, code: int, attempts: int
) -> None:
    name = action.lower()
    health = {"logPatterns": [{**PATTERN, "action": action}]}
    said = desk.call("run", desk.script(name, "printed_codec.py", 100_000, health=health))
    assert said.code == code, said.text
    status = desk.status(name)
    assert (status["state"], status["attempt"]) == ("Failed", attempts)
    assert desk.findings(name)["LogPattern"]["severity"] == "critical"
    assert "decoder-fell-back" in desk.call("why", name).text


def test_a_pattern_that_cannot_be_is_refused_with_its_field(desk: Desk) -> None:
    health = {"logPatterns": [{"name": "a", "pattern": "(a+)+$"}]}
    said = desk.call("run", desk.script("refused", "printed_codec.py", 1, health=health))
    assert said.code == 64, said.text
    assert "spec.health.logPatterns[0].pattern" in said.text
