"""Status: written by the codec, read back by the API, and of the shape that the CRD asks for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import api, codec
from speech_contract import status as s
from speech_contract.api import crd
from speech_contract.errors import ContractError
from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.goodput import Goodput, GoodputMark
from speech_contract.phases import Phase
from speech_contract.preflight import Check, PreflightVerdict, Scope
from speech_contract.progress import Rule, Severity
from speech_contract.reasons import Condition as ConditionType
from speech_contract.reasons import State

NOW = "2026-03-01T12:00:00Z"
FULL = s.JobStatus(
    observed_generation=3,
    state=State.RUNNING,
    reason="TrainingStarted",
    message="attempt 2 trains",
    nodes="2/2",
    conditions=(
        s.Condition(
            ConditionType.HEALTHY, s.ConditionStatus.FALSE, "NonFinite", "loss is NaN", NOW, 3
        ),
    ),
    attempt=2,
    run_directory="/checkpoints/run",
    restarts=s.Restarts(1, (s.CauseCount("1/-/abcd1234", 1, NOW),), (NOW,), 20, 40, 3),
    attempts=(
        s.Attempt(1, NOW, NOW, "Error", "1/-/abcd1234", "a-worker-0", 9, "node-b", 1, 40, 20),
    ),
    replicas=s.Replicas(2, 2, 0, 0),
    startup=s.Startup(Phase.RENDEZVOUS, NOW),
    partial_gang=s.PartialGang(2, NOW),
    preflight=s.JobPreflight(
        PreflightVerdict.WOULD_HAVE_FAILED,
        Scope.FULL,
        "1.5",
        (s.FailedCheck(Check.GRADIENTS, "flow", "norm 0", "above 0", "look", 1),),
    ),
    progress=s.JobProgress(
        41, 100, 41, "nan", "inf", "0.0002", "81.5", 60, 3, 1, 40, 20, updated_at=NOW
    ),
    health=s.JobHealth(
        Verdict.CRITICAL,
        (
            s.JobFinding(
                Rule.NON_FINITE,
                FindingStatus.ACTIVE,
                Severity.CRITICAL,
                "loss/mel is NaN at step 41",
                Action.GATED,
                "lower the learning rate",
                41,
                9,
                NOW,
                "node-b",
            ),
        ),
    ),
    goodput=Goodput("0.914", 1, 2, 91, 3, 4, 5, 6, GoodputMark(NOW, 41, 41, 40, 1, 2, 6)),
    failure=s.Failure("Error", "boom", "read the log", "a-worker-0", 9, "node-b", 1, "Traceback …"),
    start_time=NOW,
    completion_time=NOW,
    excluded_nodes=(s.ExcludedNode("node-b", 1, "RankDisagrees", NOW),),
    runtime=s.JobRuntime("SpeechTrainingRuntime", "team", 3),
)


def test_a_full_status_fits_the_crd() -> None:
    document = codec.to_document(FULL)
    schema = crd.schema()["properties"]["status"]
    jsonschema.Draft202012Validator(schema).validate(document)
    unwritten = {f.name for f in dataclasses.fields(FULL)} - {
        f.name for f in dataclasses.fields(FULL) if codec.camel(f.name) in document
    }
    assert unwritten == set()


@given(st.builds(s.JobStatus))
def test_what_is_written_is_read_back(status: s.JobStatus) -> None:
    assert api.read_status(json.loads(codec.dumps(status))) == status


def test_a_new_job_has_an_empty_status() -> None:
    assert api.read_status(None) == api.read_status({}) == s.JobStatus()


def test_fields_of_a_newer_operator_are_ignored() -> None:
    document = {"attempt": 2, "moods": {"best": "0.9"}, "health": {"trend": "up"}}
    assert api.read_status(document) == s.JobStatus(attempt=2)


def test_words_of_a_newer_operator_are_kept_and_written_again() -> None:
    document = {
        "state": "Dreaming",
        "conditions": [
            {"type": "Queued", "status": "True", "reason": "R", "message": "", "lastTransitionTime": NOW}
        ],
        "health": {"verdict": "Odd", "findings": [{"rule": "Odd", "status": "Odd", "severity": "fatal"}]},
    }  # fmt: skip
    written = codec.to_document(api.read_status(document))
    assert written["state"] == "Dreaming"
    assert written["conditions"] == document["conditions"]
    assert written["health"]["findings"][0]["rule"] == "Odd"


def test_a_status_of_the_first_release_is_read_whole() -> None:
    """tests/contract/landed holds what operators have written: to be read for as long as jobs of theirs may run."""
    for file in sorted((Path(__file__).parent / "landed").glob("status-*.json")):
        document = json.loads(file.read_text())
        read = codec.to_document(api.read_status(document))
        assert missing(document, read) == [], file.name


def missing(document: object, read: object, path: str = "") -> list[str]:
    if isinstance(document, dict) and isinstance(read, dict):
        inner = ((f"{path}.{key}", value, read.get(key)) for key, value in document.items())
        return [gone for at, old, new in inner for gone in missing(old, new, at)]
    if isinstance(document, list) and isinstance(read, list) and len(document) == len(read):
        pairs = zip(document, read, strict=True)
        return [gone for old, new in pairs for gone in missing(old, new, f"{path}[]")]
    return [] if document == read else [path]


def test_an_unreadable_status_is_named() -> None:
    with pytest.raises(ContractError, match=r"status\.restarts\.counted: 'many' is unreadable"):
        api.read_status({"restarts": {"counted": "many"}})
