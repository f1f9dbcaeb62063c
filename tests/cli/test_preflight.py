"""`speechtrain preflight`: what is handed to the controller, and how the table is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from speech_cli.commands import preflight
from speech_cli.errors import UserError
from speech_cli.rendering import why
from speech_cli.rendering.view import status_of
from speech_contract import codec, env, outcome, paths
from speech_contract.preflight import Check, CheckResult, Mark, PreflightReport, PreflightVerdict

Call = Callable[..., Result]
MANIFEST = {
    "apiVersion": "speechtrain.dev/v1alpha1",
    "kind": "SpeechTrainingJob",
    "metadata": {"name": "voice"},
    "spec": {
        "recipe": {"vits": {"preset": "Debug"}},
        "data": {"train": {"manifest": "a"}},
        "checkpoint": {"uri": "run/"},
        "numNodes": 2,
        "nprocPerNode": 8,
        "trainer": {"env": [{"name": "MINE", "value": "1"}]},
        "runPolicy": {"suspend": True},
    },
}
GOOD = CheckResult(Check.DATA, Mark.PASSED, "durations", "12 utterances", "at most 10 s each")
BAD = CheckResult(Check.GRADIENTS, Mark.FAILED, "flow", "norm 0", "above 0", "look", rank=1)


def test_the_job_is_made_small_and_ends_after_its_checks() -> None:
    made = preflight.alone(MANIFEST, 2)
    spec = made["spec"]
    assert spec["checkpoint"]["uri"] == "run/preflight"
    assert (spec["numNodes"], spec["nprocPerNode"]) == (1, 2)
    assert spec["trainer"]["env"] == [
        {"name": "MINE", "value": "1"},
        {"name": env.PREFLIGHT_ONLY, "value": "1"},
    ]
    assert spec["runPolicy"] == {"suspend": False, "restarts": {"max": 0}}
    assert MANIFEST["spec"]["numNodes"] == 2  # type: ignore[index]


def test_a_custom_recipe_has_none_and_is_told_so() -> None:
    with pytest.raises(UserError, match="'custom' has no preflight"):
        preflight.alone({**MANIFEST, "spec": {"recipe": {"custom": {}}}}, 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(MANIFEST), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("code", "verdict", "rows"),
    [
        (0, PreflightVerdict.PASSED, (GOOD,)),
        (outcome.EXIT_PREFLIGHT, PreflightVerdict.FAILED, (GOOD, BAD)),
    ],
)
def test_the_table_and_the_code(
    call: Call, runs: Any, file: Path, code: int, verdict: PreflightVerdict, rows: Any
) -> None:
    runs.run_dir.mkdir(parents=True, exist_ok=True)
    report = PreflightReport(verdict, 1.5, checks=len(rows), results=rows)
    (runs.run_dir / paths.PREFLIGHT).write_text(codec.dumps(report), encoding="utf-8")
    runs.code = code
    answer = call("preflight", file)
    assert answer.exit_code == code
    assert "durations" in answer.output
    assert f"preflight: {verdict.value} in 1.5 s" in answer.output
    assert ("rank 1: flow" in answer.output) is (code != 0)
    document = json.loads(call("preflight", file, "-o", "json").stdout)
    assert document["exitCode"] == code
    assert [row["mark"] for row in document["report"]["results"]] == [r.mark.value for r in rows]


def test_why_names_the_checks_that_failed() -> None:
    row = {"check": "Gradients", "field": "flow", "measured": "norm 0", "expected": "above 0"}
    document = {"status": {"preflight": {"verdict": "Failed", "failed": [row]}}}
    assert why.failed_checks(status_of(document)) == ["Gradients: flow: norm 0, expected above 0"]
    assert why.failed_checks(status_of({})) == []
