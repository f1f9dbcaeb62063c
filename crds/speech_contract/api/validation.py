"""A manifest in, a job or sentences out. Called by the operator before it touches a job, and by the CLI.

The models are the truth and the CRD is a part of it: what passes here passes there. A manifest is never
half right: `parse` raises one InvalidJob that holds every problem, each with field, value, rule, remedy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from speech_contract.api.base import FORMS, MAX_INTEGER, MAX_ITEMS, MAX_TEXT
from speech_contract.api.fields import fields_at, places_of
from speech_contract.api.rules import broken_rules, broken_spec_rules
from speech_contract.api.runtime import SpeechTrainingRuntime
from speech_contract.api.spec import JobSpec, SpeechTrainingJob
from speech_contract.errors import ContractError, nearest, unknown_field

M = TypeVar("M", bound=BaseModel)
MAX_DEPTH: Final = 32
MAX_VALUES: Final = 100_000
_UNKNOWN: Final = ("extra_forbidden", "unexpected_keyword_argument")
_OBJECTS: Final = ("model_type", "dataclass_type", "dict_type", "model_attributes_type")


class InvalidJob(ValueError):
    """A manifest that cannot be run. `problems` holds every reason; `str()` is one a line."""

    def __init__(self, problems: Sequence[ContractError]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, problems)))


def parse(document: Any, *, local: bool = False) -> SpeechTrainingJob:
    """Build the job. `local`: one machine runs it, where relative paths are fine. Raises InvalidJob."""
    if isinstance(document, Mapping):  # the status is nobody's to set
        document = {key: value for key, value in document.items() if key != "status"}
    job = _shaped(SpeechTrainingJob, document, ())
    if problems := broken_rules(job, local=local):
        raise InvalidJob(problems)
    return job


def parse_spec(document: Any, *, local: bool = False) -> JobSpec:
    """Build the spec of a job whose name was accepted before. Raises InvalidJob."""
    spec = _shaped(JobSpec, document, ("spec",))
    if problems := broken_spec_rules(spec, local=local):
        raise InvalidJob(problems)
    return spec


def parse_runtime(document: Any) -> SpeechTrainingRuntime:
    """Build a runtime of either kind: every field has its shape, and no rule is asked, for it is half a job.

    Raises InvalidJob.
    """
    return _shaped(SpeechTrainingRuntime, document, ())


def validate(document: Any, *, local: bool = False) -> list[ContractError]:
    """Every problem of a manifest; an empty list means that it can run."""
    try:
        parse(document, local=local)
    except InvalidJob as error:
        return error.problems
    return []


def spec_document(spec: JobSpec) -> dict[str, Any]:
    """The spec as a manifest would write it, with every default filled in."""
    document = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert isinstance(document, dict)
    return document


def _shaped(model: type[M], document: Any, place: tuple[str, ...]) -> M:
    """The document with every field in its shape; `place` is where it stands in a manifest."""
    if problems := list(_oversized(document, _path(place))):
        raise InvalidJob(problems)
    # An API server drops nulls too.
    text = json.dumps(_without_nulls(document), default=str)
    try:
        return model.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        details = error.errors(include_url=False)
        root = SpeechTrainingRuntime if model is SpeechTrainingRuntime else SpeechTrainingJob
        raise InvalidJob([_explain(detail, place, root) for detail in details]) from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item) for item in value]
    return value


def _oversized(document: Any, place: str) -> Iterator[ContractError]:
    """Values too large, too deep or of no JSON type: checked first, so that nothing later can choke."""
    pending: list[tuple[str, Any, int]] = [(place, document, 0)]
    seen = 0
    while pending:
        path, value, depth = pending.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_VALUES:
            rule = "is nested too deep" if depth > MAX_DEPTH else "is too large a document"
            yield ContractError(path, "…", rule, "shorten it")
            return
        if (excess := _too_much(value)) is not None:
            yield ContractError(path, value, excess, "shorten it")
        elif isinstance(value, Mapping):
            yield from (_no_text_key(path, key) for key in value if not isinstance(key, str))
            pending += [(f"{path}.{k}" if path else str(k), v, depth + 1) for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            pending += [(f"{path}[{i}]", item, depth + 1) for i, item in enumerate(value)]


def _too_much(value: Any) -> str | None:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return f"is larger than {MAX_INTEGER}"
    if isinstance(value, float) and not math.isfinite(value):
        return "is not finite"
    if isinstance(value, (Mapping, list, tuple)) and len(value) > MAX_ITEMS:
        return f"has more than {MAX_ITEMS} entries"
    return None


def _no_text_key(path: str, key: object) -> ContractError:
    return ContractError(path, key, "is no text but a key", f'put it in quotes: "{key}"')


def _explain(detail: ErrorDetails, place: tuple[str, ...], root: type[BaseModel]) -> ContractError:
    """One of pydantic's errors as a sentence of ours."""
    location = (*place, *detail["loc"])
    kind, path, value = detail["type"], _path(location), detail["input"]
    if kind in _UNKNOWN:
        return _explain_unknown(location[:-1], str(location[-1]), value, root)
    if kind == "missing":
        return ContractError(path, None, "is missing", "set it")
    context = detail.get("ctx", {})
    inner = context.get("error")
    if isinstance(inner, ContractError):
        field = f"{path}.{inner.field}" if inner.field else path
        return ContractError(field, inner.value, inner.rule, inner.remedy)
    rule, remedy = _rule_and_remedy(kind, value, context, detail["msg"])
    return ContractError(path or "the manifest", value, rule, remedy)


def _explain_unknown(
    parent: Sequence[str | int], name: str, value: Any, root: type[BaseModel]
) -> ContractError:
    """A mistyped field names its neighbour; one at the wrong place names the right one."""
    known = fields_at(root, parent)
    error = unknown_field(_path(parent), name, value, known)
    if nearest(name, known) is None and (places := places_of(root, name)):
        return ContractError(error.field, value, error.rule, f"did you mean {places[0]}?")
    return error


def _rule_and_remedy(
    kind: str, value: Any, context: Mapping[str, Any], text: str
) -> tuple[str, str]:
    if kind in ("enum", "literal_error"):
        choices = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return "is not one of the choices", f"use one of {choices}"
    if kind == "string_type" and isinstance(value, (int, float)):
        return "is no text", f'put it in quotes: "{value}"'
    if kind == "int_type" and isinstance(value, str) and value.isdecimal():
        return "is no whole number", f"write it without quotes: {value}"
    if kind in _OBJECTS:
        return "is no object", "write a mapping of fields"
    if kind == "greater_than_equal":
        return f"is below {context['ge']}", f"write a whole number of at least {context['ge']}"
    if kind == "less_than_equal":
        return f"is above {context['le']}", f"write a whole number of at most {context['le']}"
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return "has not the form of this field", FORMS.get(pattern, f"match {pattern}")
    named = {
        "int_type": ("is no whole number", "write a whole number"),
        "bool_type": ("is neither true nor false", "write true or false, without quotes"),
        "string_type": ("is no text", "write a text"),
        "list_type": ("is no list", "write a list"),
    }
    return named.get(kind, (f"is refused ({text})", "correct it"))


def _path(location: Sequence[str | int]) -> str:
    """`("spec", "env", 0, "name")` → `spec.env[0].name`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path
