"""The CustomResourceDefinition, generated from the models. Called by `speechtrain crd` and by tests.

An API server takes structural schemas only: no references, no null, no closed objects, every node typed.
`structural` rewrites what pydantic emits; the rest of this module says what pydantic cannot know. The
whole spec preserves unknown fields, so that a client that does not check cannot have a mistyped field
dropped in silence: the operator sees it and refuses the job by name.

`schema` holds every default, for people; what is `served` holds none where a runtime may have one: an API server that
filled it in would make it look like the job's own wish. `runtime_crd` has the kinds of runtimes.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from typing import Any, Final

import yaml

from speech_contract import names
from speech_contract.api.base import JOB_NAME, MAX_ITEMS, MAX_TEXT
from speech_contract.api.descriptions import as_written, descriptions
from speech_contract.api.merging import KEYS
from speech_contract.api.runtime import RuntimeSpec
from speech_contract.api.spec import STATUS, JobSpec
from speech_contract.preflight import MAX_FAILED
from speech_contract.report import MAX_BAD_SAMPLES
from speech_contract.stated import MAX_PATTERNS
from speech_contract.status import (
    MAX_ATTEMPTS,
    MAX_EXCLUDED,
    MAX_FINDINGS,
    MAX_WINDOW_TIMES,
    JobStatus,
)

Schema = dict[str, Any]

FILE: Final = f"crds/{names.GROUP}_{names.PLURAL}.yaml"
# Helm reads no file outside its chart, so the chart holds a copy, written and checked with the first.
CHART_COPY: Final = f"charts/speechtrain/files/{names.GROUP}_{names.PLURAL}.yaml"
FILES: Final = (FILE, CHART_COPY)
HEADER: Final = "# Generated from crds/speech_contract/api by `make crd`; do not edit.\n"
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
KEPT: Final = (
    "description",
    "type",
    "enum",
    "pattern",
    "minLength",
    "minimum",
    "maximum",
    PRESERVE,
)
# Lists that Kubernetes merges by key, by their path in the schema.
LIST_MAPS: Final = {
    **{f"spec.{path}": key for path, key in KEYS.items()},
    "status.conditions": "type",
    "status.restarts.causes": "fingerprint",
    "status.attempts": "number",
    "status.excludedNodes": "name",
}
MOST_ITEMS: Final = {
    "spec.health.logPatterns": MAX_PATTERNS,
    "status.conditions": 16,
    "status.attempts": MAX_ATTEMPTS,
    "status.restarts.windowTimes": MAX_WINDOW_TIMES,
    "status.health.findings": MAX_FINDINGS,
    "status.excludedNodes": MAX_EXCLUDED,
    "status.preflight.failed": MAX_FAILED,
    "status.progress.firstBad.samples": MAX_BAD_SAMPLES,
}
COLUMNS: Final = (
    ("State", "string", ".status.state", 0),
    ("Reason", "string", ".status.reason", 0),
    ("Nodes", "string", ".status.nodes", 0),
    ("Step", "integer", ".status.progress.step", 0),
    ("Loss", "string", ".status.progress.loss", 0),
    ("Health", "string", ".status.health.verdict", 0),
    ("Restarts", "integer", ".status.restarts.total", 0),
    ("Heard", "date", ".status.progress.heardAt", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("GradNorm", "string", ".status.progress.gradientNorm", 1),
    ("Skipped", "integer", ".status.progress.samplesSkipped", 1),
    ("ETA", "integer", ".status.progress.etaSeconds", 1),
    ("Goodput", "string", ".status.goodput.ratio", 1),
    ("Message", "string", ".status.message", 1),
)
AT_CREATION: Final = "oldSelf.hasValue() || "


def _at_creation(rule: str, message: str) -> Schema:
    """A rule of the root that judges new objects alone.

    The root changes with every write, so that no API server ratchets its rules: one that an object breaks which was
    there before it would refuse each of its writes, of its status, a label, even the removal of a finalizer.
    """
    return {"rule": f"{AT_CREATION}{rule}", "optionalOldSelf": True, "message": message}


ROOT_RULES: Final = (
    _at_creation(
        f"self.metadata.name.matches('{JOB_NAME}')",
        "metadata.name must be a DNS label that starts with a letter",
    ),
    # <job>-worker-<numNodes - 2>, or <job>-master-0 of the same length, as names.longest_child_name
    _at_creation(
        "size(self.metadata.name) + 8 + size(string("
        f"self.spec.numNodes < 2 ? 0 : self.spec.numNodes - 2)) <= {names.MAX_NAME_LENGTH}",
        f"metadata.name is too long: <name>-worker-<n> must fit {names.MAX_NAME_LENGTH} characters",
    ),
)
IMMUTABLE: Final = {"rule": "self == oldSelf", "message": "managedBy is immutable"}


@dataclasses.dataclass(frozen=True)
class _Shared:
    """What every node may need: definitions that it refers to, and what its field is for, by path."""

    definitions: Schema
    told: dict[str, str]


def definition() -> Schema:
    """The whole CustomResourceDefinition as an API server takes it."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "names": {
                "categories": [names.CATEGORY],
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "shortNames": [names.SHORT_NAME],
                "singular": names.SINGULAR,
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
        "schema": {"openAPIV3Schema": served()},
    }


def _column(name: str, kind: str, path: str, priority: int) -> Schema:
    column = {"name": name.upper(), "type": kind, "jsonPath": path}
    return {**column, "priority": priority} if priority else column


def schema() -> Schema:
    """The structural schema of one job."""
    spec = structural(JobSpec.model_json_schema(), "spec", JobSpec)
    data = spec["properties"]["data"]["properties"]
    for union in (spec["properties"]["recipe"], data["train"], data["validation"]):
        union["x-kubernetes-validations"] = [_one_of(list(union["properties"]))]
    managed_by = spec["properties"]["runPolicy"]["properties"]["managedBy"]
    managed_by["x-kubernetes-validations"] = [IMMUTABLE]
    about = "A training job for a speech model, watched so that it cannot fail in silence."
    status = structural(STATUS.json_schema(), "status", JobStatus)
    return {
        **whole(names.KIND, about, spec=spec, status=status),
        "x-kubernetes-validations": [dict(rule) for rule in ROOT_RULES],
    }


def whole(kind: str, about: str, **parts: Schema) -> Schema:
    """The schema of an object of this kind: what every object has, and its own parts, `spec` among them."""
    return {
        "description": about,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {names.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {kind}."},
            "metadata": {"type": "object"},
            **parts,
        },
    }


def served() -> Schema:
    """The schema of one job as an API server gets it."""
    made = schema()
    _leave_open(made["properties"]["spec"], runtime_spec())
    return made


def runtime_spec() -> Schema:
    """The structural schema of a runtime's spec, which fills nothing in."""
    made = structural(RuntimeSpec.model_json_schema(), "spec", RuntimeSpec)
    _leave_open(made, made, objects=True)
    return made


def _leave_open(node: Schema, runtime: Schema, *, objects: bool = False) -> None:
    """Take away each default of `node` wherever `runtime` has the field too; that of an object says nothing and stays.

    `objects`: these go too. Items of lists keep theirs: an item is never half the job's.
    """
    for name, inner in runtime.get("properties", {}).items():
        own = node["properties"][name]
        if objects or own.get("default", {}) != {}:
            own.pop("default", None)
        _leave_open(own, inner, objects=objects)
        if isinstance(inner.get("additionalProperties"), dict):
            held = own["additionalProperties"], inner["additionalProperties"]
            _leave_open(*held, objects=objects)


def _one_of(names: list[str]) -> Schema:
    members = ", ".join(f"has(self.{name})" for name in names)
    return {
        "rule": f"[{members}].filter(given, given).size() == 1",
        "message": f"exactly one of {', '.join(names)} must be set",
    }


def structural(document: Schema, root: str, model: Any) -> Schema:
    """Rewrite the JSON schema of `model` into a structural one; `root` is its place, spec or status."""
    told = descriptions(model, root)
    return _rewrite(document, root, _Shared(document.get("$defs", {}), told))


def _rewrite(node: Schema, path: str, shared: _Shared) -> Schema:
    node = _resolve(node, shared.definitions)
    if path in shared.told:
        node = {**node, "description": shared.told[path]}
    if INT_OR_STRING in node:
        return {key: node[key] for key in ("description", INT_OR_STRING) if key in node}
    # Copies: YAML would write an object that stands at two places as an alias.
    result: Schema = {key: copy.deepcopy(node[key]) for key in KEPT if key in node}
    if "description" in result:
        result["description"] = as_written(str(result["description"]))
    if "required" in node:
        # A copy: YAML would write a shared one as alias.
        result["required"] = list(node["required"])
    if "const" in node:
        result["enum"] = [node["const"]]
    if node.get("default") is not None and path.startswith("spec"):
        result["default"] = node["default"]
    result |= _bounds(node, path)
    if "items" in node:
        result |= _list(node, path, shared)
    if isinstance(node.get("additionalProperties"), dict):
        values = _rewrite(node["additionalProperties"], f"{path}.*", shared)
        result["additionalProperties"] = values
    if "properties" in node:
        result |= _object(node, path, shared)
    return result


def _resolve(node: Schema, shared: Schema) -> Schema:
    """Follow a reference, and take the one alternative that is not null."""
    if "anyOf" in node:
        (choice,) = (kind for kind in node["anyOf"] if kind.get("type") != "null")
        node = {**choice, **{key: value for key, value in node.items() if key != "anyOf"}}
    if "$ref" in node:
        target = shared[node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
        return _resolve(node, shared)
    return node


def _bounds(node: Schema, path: str) -> Schema:
    """Every value has a largest size: what an API server needs to price rules, and etcd to stay small."""
    kind = node.get("type")
    if kind == "string" and "enum" not in node and "const" not in node:
        return {"maxLength": node.get("maxLength", MAX_TEXT)}
    if kind == "array":
        return {"maxItems": MOST_ITEMS.get(path, node.get("maxItems", MAX_ITEMS))}
    if kind == "integer":
        return {"minimum": node.get("minimum", 0), "format": "int64"}
    if isinstance(node.get("additionalProperties"), dict):
        return {"maxProperties": node.get("maxProperties", MAX_ITEMS)}
    return {}


def _list(node: Schema, path: str, shared: _Shared) -> Schema:
    marks = {key: node[key] for key in node if key.startswith("x-kubernetes-list")}
    if path in LIST_MAPS:
        marks = {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": [LIST_MAPS[path]],
        }
    return {"items": _rewrite(node["items"], f"{path}[]", shared), **marks}


def _object(node: Schema, path: str, shared: _Shared) -> Schema:
    required = node.get("required", [])
    properties = {}
    for name, inner in node["properties"].items():
        properties[name] = _rewrite(inner, f"{path}.{name}", shared)
        if path.startswith("spec") and name not in required and "default" not in inner:
            _default_to_empty(properties[name])
    result: Schema = {"properties": properties}
    if _preserved(path):
        result[PRESERVE] = True
    return result


def _default_to_empty(node: Schema) -> None:
    """An object built of defaults appears even when it is not written, so that they show in `-o yaml`."""
    if node.get("type") == "object" and "properties" in node:
        node["default"] = {}


def _preserved(path: str) -> bool:
    """All of the spec: wherever a field could be dropped, a job would run on without it."""
    return path.partition(".")[0] == "spec"


def render() -> str:
    """The text of the committed files."""
    text = yaml.safe_dump(definition(), sort_keys=False, width=110, allow_unicode=True)
    return HEADER + str(text)


def drift(committed: str, file: str = FILE) -> str:
    """What regenerating would change in one of FILES, as a unified diff; empty when it is up to date."""
    return difference(committed, render(), file)


def difference(committed: str, generated: str, file: str) -> str:
    """A unified diff of a committed file and what it is generated as; empty when they are the same."""
    old, new = committed.splitlines(keepends=True), generated.splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, file, f"{file} (generated)"))
