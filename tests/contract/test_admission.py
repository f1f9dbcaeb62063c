"""The generated policy as text; tests/api/test_admission.py has an API server say what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_contract import names
from speech_contract.api import admission
from speech_contract.api.spec import JobSpec

ROOT = Path(__file__).resolve().parents[2]
POLICY, BINDING, OF_RUNTIMES, _ = admission.documents()
KNOWN = sorted(field.alias or name for name, field in JobSpec.model_fields.items())
VARIABLES = {entry["name"]: entry["expression"] for entry in POLICY["spec"]["variables"]}


@pytest.mark.parametrize("file", admission.FILES)
def test_the_committed_files_are_up_to_date(file: str) -> None:
    assert admission.drift((ROOT / file).read_text(encoding="utf-8"), file) == ""


def test_a_stale_file_shows_the_difference() -> None:
    assert "-  failurePolicy: Fail" in admission.drift(
        admission.render().replace("failurePolicy: Ignore", "failurePolicy: Fail")
    )


@pytest.mark.parametrize(
    "row",
    [
        f"{{'at': dyn('spec'), 'value': dyn(object.?spec.orValue({{}})), 'known': dyn({KNOWN})}}",
        "'value': dyn(object.?spec.?trainer.?securityContext.?capabilities.orValue({}))",
        "object.?spec.?trainer.?env.orValue([]).map(item, {'at': dyn('spec.trainer.env['",
        "dyn(optional.of(item).?valueFrom.?secretKeyRef.orValue({})), 'known': dyn(['key', 'name', 'optional'])",
        "object.?spec.?health.?expect.orValue({}).map(item, {'at': dyn('spec.health.expect.' + item + '')",
    ],
)  # fmt: skip
def test_every_object_of_the_models_is_asked_for(row: str) -> None:
    assert row in VARIABLES["objects"]


def test_runtimes_of_both_kinds_are_judged_by_their_own_fields() -> None:
    (rule,) = OF_RUNTIMES["spec"]["matchConstraints"]["resourceRules"]
    assert rule["resources"] == [names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL]
    variables = {v["name"]: v["expression"] for v in OF_RUNTIMES["spec"]["variables"]}
    known = "dyn(object.?spec.?checkpoint.orValue({})), 'known': dyn(['everySteps', 'keepLast'])"
    assert known in variables["objects"]
    assert "'recipe'" not in variables["objects"]


def test_a_misplaced_field_has_a_place() -> None:
    assert "'maxsteps': 'spec.training.maxSteps'" in VARIABLES["places"]


def test_it_never_stands_in_the_way_by_itself() -> None:
    """What it cannot judge, and what is no change of the spec, is the operator's to see."""
    assert POLICY["spec"]["failurePolicy"] == "Ignore"
    (condition,) = POLICY["spec"]["matchConditions"]
    assert (
        condition["expression"] == "request.operation == 'CREATE' || object.spec != oldObject.spec"
    )
    assert BINDING["spec"]["policyName"] == POLICY["metadata"]["name"]
