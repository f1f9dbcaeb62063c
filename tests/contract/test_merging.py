"""What a job runs by: its own fields over its runtime's, field by field."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import api, names
from speech_contract.api import crd
from speech_contract.api.fields import fields_of
from speech_contract.api.merging import KEYS, Named, effective, merged, named
from speech_contract.api.runtime import RuntimeSpec
from speech_contract.api.spec import JobSpec

RUNTIME: dict[str, Any] = {
    "accelerator": "NVIDIA-H200",
    "trainer": {
        "image": "trainer:team",
        "resourcesPerNode": {"limits": {"nvidia.com/gpu": "8", "memory": "900Gi"}},
        "env": [{"name": "NCCL_DEBUG", "value": "WARN"}, {"name": "TOKEN", "value": "a"}],
    },
    "pod": {
        "nodeSelector": {"pool": "speech"},
        "tolerations": [{"key": "pool", "operator": "Exists"}],
        "volumes": [
            {"name": "runs", "persistentVolumeClaim": {"claimName": "team-runs"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "team-data"}},
        ],
    },
    "health": {"mode": "Notify", "zeroLoss": {"forSteps": 7}},
    "runPolicy": {"restarts": {"max": 3}},
}


@pytest.mark.parametrize(
    ("path", "own", "found"),
    [
        ("accelerator", None, "NVIDIA-H200"),
        ("accelerator", "", ""),
        ("trainer", {"image": "mine"}, {**RUNTIME["trainer"], "image": "mine"}),
        (
            "trainer",
            {"resourcesPerNode": {"limits": {"nvidia.com/gpu": 4}}},
            {
                **RUNTIME["trainer"],
                "resourcesPerNode": {"limits": {"nvidia.com/gpu": 4, "memory": "900Gi"}},
            },
        ),
        (
            "trainer",
            {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            {
                **RUNTIME["trainer"],
                "env": [
                    {"name": "NCCL_DEBUG", "value": "WARN"},
                    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                ],
            },
        ),
        ("pod", {"tolerations": []}, {**RUNTIME["pod"], "tolerations": []}),
        (
            "pod",
            {"volumes": [{"name": "runs", "emptyDir": {}}]},
            {**RUNTIME["pod"], "volumes": [RUNTIME["pod"]["volumes"][1], {"name": "runs", "emptyDir": {}}]},
        ),
        ("pod", {"nodeSelector": {"zone": "a"}}, {**RUNTIME["pod"], "nodeSelector": {"pool": "speech", "zone": "a"}}),
        ("health", {"zeroLoss": {"forSteps": 20}}, {"mode": "Notify", "zeroLoss": {"forSteps": 20}}),
        ("runPolicy", {"suspend": False}, {"restarts": {"max": 3}, "suspend": False}),
        ("runPolicy", {"restarts": {"max": 0}}, {"restarts": {"max": 0}}),
    ],
)  # fmt: skip
def test_the_jobs_own_fields_win(path: str, own: Any, found: Any) -> None:
    assert merged(RUNTIME, {path: own})[path] == found


def test_a_list_of_the_wrong_shape_is_kept_to_be_refused() -> None:
    for bad in ("", {}, ["a"], 3):
        assert merged(RUNTIME, {"pod": {"volumes": bad}})["pod"]["volumes"] == bad


@given(
    st.recursive(st.none() | st.integers(), lambda v: st.dictionaries(st.sampled_from("abc"), v))
)
def test_nothing_of_ours_is_changed_and_twice_is_once(own: Any) -> None:
    defaults = {"a": {"b": 1}, "c": [1]}
    before = copy.deepcopy((defaults, own))
    once = merged(defaults, own)
    assert (defaults, own) == before
    assert merged(defaults, once) == once


def test_a_job_gets_by_its_runtime_what_it_says_nothing_of(good: dict[str, Any]) -> None:
    for field in ("accelerator", "health"):
        del good["spec"][field]
    good["spec"]["trainer"].pop("image")
    spec = api.parse(effective(good, RUNTIME)).spec
    assert spec.trainer.image == "trainer:team"
    assert spec.trainer.resources_per_node.limits["nvidia.com/gpu"] == "8"
    assert (spec.accelerator, spec.health.zero_loss.for_steps) == ("NVIDIA-H200", 7)
    assert spec.run_policy.restarts.max == 3
    assert (
        spec.run_policy.restarts.same_cause
        == JobSpec.model_fields["run_policy"].default_factory().restarts.same_cause
    )  # type: ignore[misc,union-attr]


def runtime(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.RUNTIME_KIND,
        "metadata": {"name": "h200"},
        "spec": spec,
    }


def test_a_runtime_need_not_be_a_job() -> None:
    made = api.parse_runtime(runtime(**RUNTIME))
    assert made.spec.trainer.image == "trainer:team"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"pod": {"nodeselector": {}}}, "spec.pod.nodeselector: is an unknown field; did you mean nodeSelector?"),
        ({"image": "a"}, "spec.image: 'a' is an unknown field; did you mean spec.trainer.image?"),
        ({"checkpoint": {"uri": "/a"}}, "'/a' is an unknown field; known fields: everySteps, keepLast"),
        ({"checkpoint": {"keepLast": 0}}, "spec.checkpoint.keepLast: 0 is below 1"),
        ({"runPolicy": {"suspend": True}}, "spec.runPolicy.suspend: True is an unknown field"),
        ({"runPolicy": {"managedBy": "me"}}, "spec.runPolicy.managedBy"),
        ({"recipe": {"vits": {}}}, "spec.recipe: is an unknown field"),
        ({"health": {"zeroLoss": {"forSteps": 0}}}, "spec.health.zeroLoss.forSteps: 0 is below 1"),
    ],
)  # fmt: skip
def test_a_bad_runtime_is_refused_by_name(spec: Any, words: str) -> None:
    with pytest.raises(api.InvalidJob) as caught:
        api.parse_runtime(runtime(**spec))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ({"name": "h200"}, Named("ClusterSpeechTrainingRuntime", "h200")),
        ({"name": "a", "kind": "SpeechTrainingRuntime"}, Named("SpeechTrainingRuntime", "a")),
        ({"name": "a", "kind": "TrainingRuntime"}, None),
        ({"name": "a", "kind": ["a"]}, None),
        ({"name": 3}, None),
        ("h200", None),
        (None, None),
    ],
)
def test_a_reference_that_the_models_refuse_names_nothing(ref: Any, found: Any) -> None:
    assert named({"spec": {"runtimeRef": ref}}) == found


def test_every_field_of_a_runtime_is_a_jobs_at_the_same_place() -> None:
    def check(inner: Any, outer: Any, place: str) -> None:
        for name, kind in fields_of(inner).items():
            assert name in fields_of(outer), f"{place}.{name}"
            check(kind, fields_of(outer)[name], f"{place}.{name}")

    check(RuntimeSpec, JobSpec, "spec")


def test_lists_with_a_key_are_lists_of_a_runtime() -> None:
    for path, key in KEYS.items():
        node = crd.runtime_spec()
        for step in path.split("."):
            node = node["properties"][step]
        assert key in node["items"]["properties"], path


# ---------------------------------------------------------------------- an API server fills in nothing of it


def defaults(node: dict[str, Any], path: str = "spec") -> dict[str, Any]:
    found = {path: node["default"]} if node.get("default", {}) != {} else {}
    for name, inner in node.get("properties", {}).items():
        found |= defaults(inner, f"{path}.{name}")
    for held in ("items", "additionalProperties"):
        if isinstance(node.get(held), dict):
            found |= defaults(node[held], f"{path}{'[]' if held == 'items' else '.*'}")
    return found


def test_what_a_runtime_may_set_no_api_server_fills_in() -> None:
    spec = crd.served()["properties"]["spec"]
    known, kept = defaults(crd.schema()["properties"]["spec"]), defaults(spec)
    assert {
        "spec.health.mode",
        "spec.runPolicy.restarts.max",
        "spec.checkpoint.keepLast",
    } <= known.keys()
    for path in kept:
        top = path.split(".")[1]
        assert "[]" in path or top not in ("trainer", "pod", "health"), path
    assert {
        path: value
        for path, value in kept.items()
        if path.startswith(("spec.runPolicy", "spec.checkpoint"))
    } == {
        "spec.runPolicy.suspend": False,
        "spec.runPolicy.managedBy": names.MANAGED_BY,
        "spec.checkpoint.resume": "Auto",
        "spec.checkpoint.ephemeral": False,
    }
    assert kept["spec.numNodes"] == 1
    assert {p for p in defaults(crd.runtime_spec()) if "[]" not in p} == set()
    assert "default" not in crd.runtime_spec()["properties"]["health"]
