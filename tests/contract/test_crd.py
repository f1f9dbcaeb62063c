"""The generated CRD: structural as an API server asks, in step with the models, up to date on disk.

jsonschema stands in for the API server's schema checks, `pruned` and `defaulted` for its two rewrites.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import api, names
from speech_contract.api import crd, runtime_crd
from speech_contract.api.spec import JobSpec

Schema = dict[str, Any]
Bend = Callable[..., dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = crd.schema()
FORBIDDEN = ("$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "uniqueItems", "prefixItems", "const",
             "discriminator", "title", "exclusiveMinimum", "exclusiveMaximum")  # fmt: skip


def nodes(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}" if path else name)
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}.*")


def faults(schema: Schema) -> Iterator[str]:
    """What an API server would refuse in a schema, or what leaves a value without a bound."""
    for path, node in nodes(schema):
        yield from (f"{path}: {word}" for word in FORBIDDEN if word in node)
        if "type" not in node and crd.INT_OR_STRING not in node:
            yield f"{path}: no type"
        if isinstance(node.get("additionalProperties"), bool):
            yield f"{path}: closed"
        if "properties" in node and "additionalProperties" in node:
            yield f"{path}: properties and additionalProperties"
        if node.get("default", "") is None:
            yield f"{path}: default null"
        yield from (f"{path}: {fault}" for fault in unbounded(path, node))
        for key in node.get("x-kubernetes-list-map-keys", ()):
            if key not in node["items"].get("required", ()):
                yield f"{path}: list-map key {key} is not required"


def unbounded(path: str, node: Schema) -> Iterator[str]:
    if node.get("type") == "string" and not {"maxLength", "enum"} & node.keys() and "." in path:
        yield "unbounded string"
    if node.get("type") == "array" and "maxItems" not in node:
        yield "unbounded list"
    if "additionalProperties" in node and "maxProperties" not in node:
        yield "unbounded map"


def pruned(value: Any, schema: Schema) -> Any:
    """What a server keeps when a client does not ask it to check fields."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        kept = {k: pruned(v, known[k]) for k, v in value.items() if k in known}
        others = {k: v for k, v in value.items() if k not in known}
        return {**kept, **(others if schema.get(crd.PRESERVE) else {})}
    if isinstance(value, list) and "items" in schema:
        return [pruned(item, schema["items"]) for item in value]
    return value


def defaulted(value: Any, schema: Schema) -> Any:
    """Fill in defaults, from the outside in."""
    if isinstance(value, dict) and "properties" in schema:
        value = dict(value)
        for name, inner in schema["properties"].items():
            if name not in value and "default" in inner:
                value[name] = copy.deepcopy(inner["default"])
            if name in value:
                value[name] = defaulted(value[name], inner)
    if isinstance(value, list) and "items" in schema:
        return [defaulted(item, schema["items"]) for item in value]
    return value


def accepted(document: dict[str, Any]) -> bool:
    """Types, bounds, enums, patterns and required fields; not the CEL rules."""
    spec = SCHEMA["properties"]["spec"]
    kept = defaulted(pruned(document.get("spec"), spec), spec)
    return bool(jsonschema.Draft202012Validator(spec).is_valid(kept))


@pytest.mark.parametrize("file", crd.FILES)
def test_the_committed_files_are_up_to_date(file: str) -> None:
    assert crd.drift((ROOT / file).read_text(encoding="utf-8"), file) == ""


@pytest.mark.parametrize("file", runtime_crd.FILES)
def test_the_committed_files_of_runtimes_are_up_to_date(file: str) -> None:
    assert runtime_crd.drift((ROOT / file).read_text(encoding="utf-8"), file) == ""
    assert runtime_crd.drift("kind: x\n", file).count("-kind: x") == 1


@pytest.mark.parametrize("definition", runtime_crd.definitions())
def test_the_schema_of_a_runtime_is_structural_and_keeps_unknown_fields(definition: Schema) -> None:
    (version,) = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    assert list(faults(schema)) == []
    spec = schema["properties"]["spec"]
    assert all(node.get(crd.PRESERVE) for _, node in nodes(spec) if "properties" in node)
    assert (
        definition["metadata"]["name"] == f"{definition['spec']['names']['plural']}.{names.GROUP}"
    )


def test_a_change_by_hand_is_shown() -> None:
    assert "-    singular: job" in crd.drift(
        crd.render().replace("singular: speechtrainingjob", "singular: job")
    )


def test_the_schema_is_structural_and_bounded() -> None:
    assert list(faults(SCHEMA)) == []


@pytest.mark.parametrize("word", ["$ref", "anyOf", "title", "closed", "default null", "no type"])
def test_what_pydantic_emits_would_be_refused(word: str) -> None:
    raw = JobSpec.model_json_schema()
    raw["properties"]["inlined"] = raw["$defs"]["Toleration"]
    assert any(word in fault for fault in faults(raw))


def test_every_default_fits_its_own_schema() -> None:
    for path, node in nodes(SCHEMA):
        if "default" in node:
            value = defaulted(node["default"], node)
            jsonschema.Draft202012Validator(node).validate(value)
            assert value is not None, path


def test_unknown_fields_are_preserved_where_nothing_may_be_lost() -> None:
    spec = SCHEMA["properties"]["spec"]
    preserving = {path for path, node in nodes(spec) if node.get(crd.PRESERVE)}
    assert "" in preserving
    for path, node in nodes(spec):
        if "properties" in node:
            assert path in preserving, path


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.maxSteps", 5),
        ("spec.recipe.melody", {}),
        ("spec.recipe.vits.learningrate", "2e-4"),
        ("spec.runPolicy.backoffLimit", 3),
        ("spec.data.trian", {"manifest": "/x"}),
        ("spec.training.maxstep", 5),
        ("spec.trainer.securityContext.privileged", True),
        ("spec.trainer.env.0.vaule", "x"),
        ("spec.pod.volumes.0.hostPath", {"path": "/"}),
        ("spec.pod.hostNetwork", True),
        ("spec.health.zeroLoss.forstep", 3),
    ],
)
def test_a_mistyped_field_survives_pruning_and_is_named(bend: Bend, path: str, value: Any) -> None:
    document = bend(path, value)
    document["spec"] = pruned(document["spec"], SCHEMA["properties"]["spec"])
    assert any(
        "unknown field" in str(problem) or "exactly one" in str(problem)
        for problem in api.validate(document)
    )


GOOD_VALUES = [
    ("spec.training.seed", 0),
    ("spec.training.maxSteps", 2**53 - 1),
    ("spec.recipe.vits", {}),
    ("spec.runPolicy", {"suspend": True, "ttlSecondsAfterFinished": 0, "restarts": {"max": 0}}),
    ("spec.runPolicy.managedBy", "kueue.example/multikueue"),
    ("spec.health", {"mode": "Notify", "skippedSamples": {"warnRatio": "0.5", "maxRatio": "1"}}),
    ("spec.trainer.env", [{"name": "A"}, {"name": "B", "value": ""}]),
    ("spec.trainer.env.0.valueFrom", {"secretKeyRef": {"name": "s", "key": "k"}}),
    ("spec.trainer.envFrom", [{"prefix": "A_", "secretRef": {"name": "s", "optional": True}}]),
    ("spec.trainer.securityContext", {"runAsUser": 1000, "capabilities": {"add": ["IPC_LOCK"]}}),
    ("spec.trainer.resourcesPerNode", {"requests": {"cpu": "250m"}, "limits": {"rdma/ib": 1}}),
    ("spec.pod.nodeSelector", {"a": "b"}),
    ("spec.pod.affinity", {"podAntiAffinity": {"anything": [{"goes": 1}]}}),
    (
        "spec.pod.topologySpreadConstraints",
        [
            {
                "maxSkew": 1,
                "topologyKey": "zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {}},
            }
        ],
    ),
    ("spec.pod.tolerations", [{"key": "x", "operator": "Exists", "tolerationSeconds": 0}]),
    ("spec.pod.imagePullSecrets", [{"name": "registry.example"}]),
    ("spec.pod.schedulerName", "custom-scheduler"),
]


@pytest.mark.parametrize(("path", "value"), GOOD_VALUES)
def test_what_the_models_accept_the_crd_accepts(bend: Bend, path: str, value: Any) -> None:
    document = bend(path, value)
    if path.startswith("spec.trainer.env.0"):
        del document["spec"]["trainer"]["env"][0]["value"]
    assert api.validate(document) == []
    assert accepted(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.training.maxSteps", "20"),
        ("spec.training.precision", "FP16"),
        ("spec.data.train", "a.jsonl"),
        ("spec.checkpoint", {}),
        ("spec.numNodes", 0),
        ("spec.trainer.args", "x"),
        ("spec.trainer.env.0.name", "1X"),
        ("spec.runPolicy.cleanPodPolicy", "Some"),
        ("spec.pod.volumes", [{}]),
    ],
)
def test_a_wrong_shape_is_refused_by_the_crd_already(bend: Bend, path: str, value: Any) -> None:
    assert not accepted(bend(path, value))
    assert api.validate(bend(path, value))


def test_the_crd_fills_in_the_defaults_of_the_models(custom: dict[str, Any]) -> None:
    spec = SCHEMA["properties"]["spec"]
    filled = {**custom, "spec": defaulted(custom["spec"], spec)}
    assert filled["spec"]["health"]["nonFinite"]["skipBudget"] == 3
    assert filled["spec"]["runPolicy"]["managedBy"] == names.MANAGED_BY
    assert api.parse(filled, local=True) == api.parse(custom, local=True)


@given(name=st.from_regex(r"[a-z][-a-z0-9]{0,62}", fullmatch=True), nodes=st.integers(1, 4096))
def test_the_name_rule_counts_as_the_operator_names(name: str, nodes: int) -> None:
    text = str(crd.ROOT_RULES[1]["rule"])
    assert "size(self.metadata.name) + 8 + size(string(" in text
    longest = len(name) + 8 + len(str(0 if nodes < 2 else nodes - 2))
    assert longest == len(names.longest_child_name(name, nodes))


def test_columns_read_fields_that_exist() -> None:
    paths = {path for path, _ in nodes(SCHEMA)} | {"metadata.creationTimestamp"}
    assert {path.removeprefix(".") for _, _, path, _ in crd.COLUMNS} <= paths
    shown = [
        column["name"]
        for column in crd.definition()["spec"]["versions"][0]["additionalPrinterColumns"]
    ]
    assert shown == (
        "STATE REASON NODES STEP LOSS HEALTH RESTARTS HEARD AGE GRADNORM SKIPPED ETA GOODPUT MESSAGE".split()
    )


def test_a_rule_of_the_root_judges_new_objects_alone() -> None:
    """Else tightening it strands jobs that were there before: status, labels, even removing a finalizer answer 422.

    tests/api/test_upgrade.py shows it with an API server.
    """
    for rule in SCHEMA["x-kubernetes-validations"]:
        judged = str(rule["rule"]).removeprefix("oldSelf.hasValue() || ")
        assert judged != rule["rule"], f"guard it by `_at_creation`: {rule['rule']}"
        assert rule["optionalOldSelf"] is True
        assert "||" not in judged  # the guard would bind to the first part alone


def test_cel_rules_stand_where_one_of_several_is_set_and_at_the_root_and_managed_by() -> None:
    ruled = {path for path, node in nodes(SCHEMA) if "x-kubernetes-validations" in node}
    unions = {"spec.recipe", "spec.data.train", "spec.data.validation"}
    assert ruled == {"", "spec.runPolicy.managedBy"} | unions
    train = SCHEMA["properties"]["spec"]["properties"]["data"]["properties"]["train"]
    (rule,) = train["x-kubernetes-validations"]
    assert rule["message"] == "exactly one of manifest, folder must be set"
    assert "required" not in train  # which of them is required no schema can say


def test_every_field_says_what_it_is_for() -> None:
    """`kubectl explain stj --recursive` is the reference that a user has at hand."""
    ours = [(path, node) for path, node in nodes(SCHEMA) if path and path[-1] not in "*]"]
    mute = [path for path, node in ours if path != "metadata" and not node.get("description")]
    assert mute == []
    python = [path for path, node in ours if re.search(r"`\w+_\w+`", node.get("description", ""))]
    assert python == []


def test_it_fits_the_annotation_of_a_client_side_apply() -> None:
    assert len(json.dumps(crd.definition())) < 200_000  # of 262,144 bytes for all annotations


def test_names_of_the_kind() -> None:
    definition = crd.definition()
    assert definition["metadata"]["name"] == "speechtrainingjobs.speechtrain.dev"
    assert definition["spec"]["names"]["shortNames"] == ["stj"]
    assert definition["spec"]["names"]["categories"] == ["training"]
    assert definition["spec"]["versions"][0]["subresources"] == {"status": {}}
