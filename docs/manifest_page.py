"""The page of every field that a SpeechTrainingJob has, out of the CRD's schema. Called by `generate.py`.

The schema knows types and defaults; what it cannot say (a number in a string, a minimum of 1) is asked of the
validator, whose sentences name the bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from speech_contract import api, names
from speech_contract.api import crd
from speech_contract.api.base import MAX_TEXT
from speech_contract.api.immutability import MUTABLE

Schema = dict[str, Any]
Rows = Iterable[tuple[str, ...]]
SPEC_HEADER = ("field", "type", "default", "bounds", "may change", "what it is for")
STATUS_HEADER = ("field", "type", "what it says")
SENTENCES = [
    "What `kubectl explain stj.spec --recursive` tells, on one page. *Required*: where the object around it is",
    "written. Numbers that are not whole are strings, since the text of a float differs between",
    'writers: `"0.01"`. *May change*: also after the job was accepted; thresholds apply from the next attempt on.',
    "Every other field is immutable then. `[]` is an item of a list, `*` a key of a map.",
]
# What an item must have beside the field that is asked about.
NEEDED = {"health.logPatterns[]": {"name": "a", "pattern": "a"}, "health.expect.*": {"max": "1"}}
BOUND = re.compile(r"write a (?:whole )?number (.*)")


def tables() -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, header and rows of each part: the fields of `spec` by section, then those of `status`."""
    top = crd.schema()["properties"]
    plain = {n: s for n, s in top["spec"]["properties"].items() if "properties" not in s}
    required = top["spec"]["required"]
    yield "spec", SPEC_HEADER, [_spec_row(n, s, n in required) for n, s in plain.items()]
    for name, node in top["spec"]["properties"].items():
        if name not in plain:
            rows = [_spec_row(*leaf) for leaf in _leaves(node, name)]
            yield f"spec.{name}", SPEC_HEADER, rows
    rows = [(f"`{path}`", _type(n), n["description"]) for path, n, _ in _leaves(top["status"], "")]
    yield "status", STATUS_HEADER, rows


def _leaves(node: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    """Every field that holds a value, with whether it must be written."""
    for name, inner in node.get("properties", {}).items():
        place = f"{path}.{name}" if path else name
        below, mark = _held(inner)
        if "properties" not in below:
            yield place, inner, name in node.get("required", ())
            continue
        if mark:
            yield place, inner, name in node.get("required", ())
        yield from _leaves(below, place + mark)


def _held(node: Schema) -> tuple[Schema, str]:
    """What a list (marked `[]`) or a map (`.*`) holds; else the node itself and no mark."""
    if node.get("type") == "array":
        return node.get("items", {}), "[]"
    if isinstance(node.get("additionalProperties"), dict):
        return node["additionalProperties"], ".*"
    return node, ""


def _spec_row(path: str, node: Schema, required: bool) -> tuple[str, ...]:
    default = "required" if required else _value(node.get("default"))
    changes = "yes" if any(path == m or path.startswith(f"{m}.") for m in MUTABLE) else ""
    return f"`{path}`", _type(node), default, _bounds(path, node), changes, node["description"]


def _type(node: Schema) -> str:
    if crd.INT_OR_STRING in node:
        return "quantity"
    kind = str(node["type"])
    if kind == "array":
        return f"list of {_type(node['items'])}s"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type(node['additionalProperties'])}"
    return kind


def _value(default: Any) -> str:
    if default is None:
        return ""
    return f"`{default}`" if default and isinstance(default, str) else f"`{json.dumps(default)}`"


def _bounds(path: str, node: Schema) -> str:
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in _choices(path, node["enum"]))
    said = [*_least(path, node), *_asked(path, node)]
    if "maximum" in node:
        said.append(f"at most {node['maximum']}")
    if node.get("type") == "array" and node.get("maxItems"):
        said.append(f"at most {node['maxItems']} items")
    if node.get("maxLength", MAX_TEXT) != MAX_TEXT:
        said.append(f"at most {node['maxLength']} characters")
    return ", ".join(said)


def _least(path: str, node: Schema) -> list[str]:
    if node.get("type") != "integer":
        return []
    return list(_remedies(path, -1)) or [f"at least {node.get('minimum', 0)}"]


def _asked(path: str, node: Schema) -> Iterator[str]:
    """Bounds of a number that travels as a string."""
    if node.get("type") == "string":
        for value in ("-1", "1e300"):
            yield from _remedies(path, value)


def _choices(path: str, choices: list[str]) -> list[str]:
    """Those that the validator lets this very field have."""
    if not path.endswith(("onExceeded", ".action")):
        return [choice or '""' for choice in choices]
    return [choice for choice in choices if not _problems(path, choice)]


def _remedies(path: str, value: Any) -> Iterator[str]:
    for problem in _problems(path, value):
        if found := BOUND.fullmatch(problem.remedy):
            yield found[1].removeprefix("of ")


def _problems(path: str, value: Any) -> list[Any]:
    if "[]" in path and not path.startswith("health."):
        return []
    field = f"spec.{path.replace('[]', '[0]')}"
    return [p for p in api.validate(_with(path, value), local=True) if p.field == field]


def _with(path: str, value: Any) -> Schema:
    """A manifest that is right but for one value."""
    member = path.split(".")[1] if path.startswith("recipe.") else "vits"
    spec: Schema = {
        "recipe": {member: {}},
        "data": {"train": {"manifest": "a"}},
        "checkpoint": {"uri": "a"},
    }
    *parents, last = path.split(".")
    node = spec
    for step in parents:
        below = node.setdefault(step.removesuffix("[]"), [{}] if step.endswith("[]") else {})
        node = below[0] if isinstance(below, list) else below
    node |= NEEDED.get(".".join(parents), {}) | {last: value}
    head = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "a"}}
    return {**head, "spec": spec}
