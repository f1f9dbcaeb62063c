"""The ValidatingAdmissionPolicies, generated from the models: a mistyped field is refused while it is applied.

An API server drops unknown fields before any admission; those of the spec it keeps, because the CRD says so, and a
policy sees them. It says what the operator would say (`errors.unknown_field`); only a guess from afar is the
operator's alone. Fields in a list within a list, and what fields owe each other, are left to the operator too, which
judges every job anyhow: so the policy fails open. Called by `speechtrain crd` and by tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import yaml
from pydantic import BaseModel

from speech_contract import names
from speech_contract.api.crd import difference
from speech_contract.api.fields import bare, fields_of, items_of, places_of
from speech_contract.api.runtime import RuntimeSpec, SpeechTrainingRuntime
from speech_contract.api.spec import JobSpec, SpeechTrainingJob
from speech_contract.errors import LONGEST_SHOWN

Document = dict[str, Any]

FILE: Final = f"crds/{names.GROUP}_admission.yaml"
CHART_COPY: Final = f"charts/speechtrain/files/{names.GROUP}_admission.yaml"
FILES: Final = (FILE, CHART_COPY)
HEADER: Final = "# Generated from crds/speech_contract/api by `make crd`; do not edit.\n"
LONGEST_NAME: Final = 40  # characters of a mistyped name that are compared one by one
SHORTEST_PREFIX: Final = 4
NEW_SPEC: Final = "request.operation == 'CREATE' || object.spec != oldObject.spec"


class _Kind(NamedTuple):
    """Objects that have one spec: their models, and what the API calls them."""

    spec: type[BaseModel]
    whole: type[BaseModel]
    plurals: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.plurals[0]}.{names.GROUP}"


JOBS: Final = _Kind(JobSpec, SpeechTrainingJob, (names.PLURAL,))
RUNTIMES: Final = _Kind(
    RuntimeSpec, SpeechTrainingRuntime, (names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL)
)


def documents() -> list[Document]:
    """Policy and binding of jobs, then those of runtimes."""
    return [document for kind in (JOBS, RUNTIMES) for document in _documents(kind)]


def _documents(kind: _Kind) -> list[Document]:
    api = {"apiVersion": "admissionregistration.k8s.io/v1"}
    metadata = {"metadata": {"name": kind.name}}
    binding = {"policyName": kind.name, "validationActions": ["Deny"]}
    return [
        {**api, "kind": "ValidatingAdmissionPolicy", **metadata, "spec": _policy(kind)},
        {**api, "kind": "ValidatingAdmissionPolicyBinding", **metadata, "spec": binding},
    ]


def _policy(kind: _Kind) -> Document:
    objects = {
        "apiGroups": [names.GROUP],
        "apiVersions": [names.VERSION],
        "operations": ["CREATE", "UPDATE"],
        "resources": list(kind.plurals),
    }
    return {
        "failurePolicy": "Ignore",
        "matchConstraints": {"resourceRules": [objects]},
        # A label, a finalizer: nothing of the spec, nothing to judge.
        "matchConditions": [{"name": "a-new-spec", "expression": NEW_SPEC}],
        "variables": [
            {"name": "places", "expression": _places(kind)},
            {"name": "objects", "expression": _objects(kind.spec)},
            {"name": "faults", "expression": _faults()},
        ],
        "validations": [
            {
                "expression": "variables.faults.size() == 0",
                "messageExpression": "variables.faults.join('; ')",
                "message": "the spec holds fields that nobody knows",  # where the sentences are too long
                "reason": "Invalid",
            }
        ],
    }


# ---------------------------------------------------------------------- which fields there are


def _walk(kind: Any, path: str) -> Iterator[tuple[str, list[str]]]:
    """Every object that the models know, by its path, with the names of its fields."""
    inner, mark = items_of(bare(kind))
    fields = fields_of(bare(inner))
    if fields:
        yield path + mark, sorted(fields)
    for name, field in fields.items():
        yield from _walk(field, f"{path}{mark}.{name}")


def _objects(spec: type[BaseModel]) -> str:
    """A list of `{at, value, known}`: each object of this manifest, where it stands and what it may hold.

    Of a list or a map each item is one of them: `spec.trainer.env[0]`.
    """
    plain, listed = [], []
    for path, known in _walk(spec, "spec"):
        marks = path.count("[]") + path.count(".*")
        if marks == 0:
            plain.append(_object(f"'{path}'", f"{_reach(path)}.orValue({{}})", known))
        elif marks == 1:
            listed.append(_listed(path, known))
    return "[\n" + ",\n".join(plain) + "\n]" + "".join(f"\n+ {each}" for each in listed)


def _object(at: str, value: str, known: list[str]) -> str:
    return f"{{'at': dyn({at}), 'value': dyn({value}), 'known': dyn({_texts(known)})}}"


def _listed(path: str, known: list[str]) -> str:
    mark = "[]" if "[]" in path else ".*"
    before, _, after = path.partition(mark)
    within = "".join(f".?{step}" for step in after.split(".") if step)
    if mark == "[]":
        items, item = f"{_reach(before)}.orValue([])", "item"
        at = f"'{before}[' + string({items}.indexOf(item)) + ']{after}'"
    else:
        items, item = f"{_reach(before)}.orValue({{}})", f"{_reach(before)}.orValue({{}})[item]"
        at = f"'{before}.' + item + '{after}'"
    value = f"optional.of({item}){within}.orValue({{}})" if within else item
    return f"{items}.map(item, {_object(at, value, known)})"


def _reach(path: str) -> str:
    """An optional of what stands at a path of the manifest."""
    return "object" + "".join(f".?{step}" for step in path.split("."))


def _places(kind: _Kind) -> str:
    """Where a field belongs that stands at the wrong place, by its name in lower case."""
    found = {name.lower() for _, known in _walk(kind.spec, "spec") for name in known}
    places = {name: places_of(kind.whole, name) for name in sorted(found)}
    pairs = (f"{_text(name)}: {_text(at[0])}" for name, at in places.items() if at)
    return "{" + ", ".join(pairs) + "}"


def _text(value: str) -> str:
    return f"'{value}'"


def _texts(values: list[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


# ---------------------------------------------------------------------- what is said of one that is not

_SHOWN: Final = f"""(type(each.value[key]) == string && each.value[key].size() <= {LONGEST_SHOWN - 2}
  ? "'" + string(each.value[key]) + "' "
  : type(each.value[key]) == bool ? (each.value[key] ? 'True ' : 'False ')
  : type(each.value[key]) == int || type(each.value[key]) == double ? string(each.value[key]) + ' ' : '')"""
_RANGE: Final = "[" + ", ".join(map(str, range(LONGEST_NAME))) + "]"


def _without_one(name: str, index: str) -> str:
    """The texts that lack one character of `name`, an expression."""
    cut = f"{name}.substring(0, {index}) + {name}.substring({index} + 1)"
    return f"{_RANGE}.filter({index}, {index} < {name}.size()).map({index}, {cut})"


def _near() -> str:
    """Whether `field` is what `key` most likely meant: but for case, an ending, or one character."""
    mistyped, known = "key.lowerAscii()", "field.lowerAscii()"
    return (
        f"({mistyped} == {known}"
        f" || (key.size() >= {SHORTEST_PREFIX} && {known}.startsWith({mistyped}))"
        f" || {mistyped}.startsWith({known})"
        f" || {_without_one(known, 'i')}.exists(one, one == {mistyped}"
        f" || {_without_one(mistyped, 'j')}.exists(other, other == one))"
        f" || {_without_one(mistyped, 'j')}.exists(other, other == {known}))"
    )


def _faults() -> str:
    """A sentence for each field that the models do not know."""
    guess = f"each.known.filter(field, {_near()})"
    hint = (
        "near.size() > 0 ? 'did you mean ' + string(near[0]) + '?'"
        " : key.lowerAscii() in variables.places"
        " ? 'did you mean ' + variables.places[key.lowerAscii()] + '?'"
        " : 'known fields: ' + each.known.join(', ')"
    )
    sentence = (
        f"each.at + '.' + key + ': ' + {_SHOWN}\n+ 'is an unknown field; '"
        f"\n+ [{guess}].map(near, {hint})[0]"
    )
    unknown = "!(key in each.known)"
    return (
        f"variables.objects.filter(each, each.value.exists(key, {unknown}))"
        f".map(each, each.value.filter(key, {unknown}).map(key,\n{sentence}).join('; '))"
    )


# ---------------------------------------------------------------------- the file


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines stay readable."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def render() -> str:
    """The text of the committed files."""
    dumped = yaml.dump_all(documents(), Dumper=_Dumper, sort_keys=False, width=110)
    return HEADER + str(dumped)


def drift(committed: str, file: str = FILE) -> str:
    """What regenerating would change in one of FILES, as a unified diff; empty when it is up to date."""
    return difference(committed, render(), file)
