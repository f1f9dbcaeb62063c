"""Dataclass to JSON document and back, strictly: camelCase outside, snake_case inside.

Used for the run config, the outcome, progress and job state. A document with an unknown field, a missing
field or a wrong type raises `ContractError` naming the field's path; nothing is dropped in silence.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from speech_contract.errors import ContractError, unknown_field

T = TypeVar("T")
_UNIONS: tuple[Any, ...] = (typing.Union, types.UnionType)


def camel(name: str) -> str:
    """`last_step` → `lastStep`."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


# `__pydantic_config__` of a dataclass that a manifest holds: the api reads it as strictly as this module.
FORBID: dict[str, Any] = {"extra": "forbid", "alias_generator": camel, "populate_by_name": True}


def to_document(value: Any) -> Any:
    """Turn a dataclass into plain JSON values. None fields are left out; NaN and Inf become strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((camel(f.name), getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_document(item) for name, item in pairs if item is not None}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_document(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_document(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def dumps(value: Any) -> str:
    """One line of strict JSON (no bare NaN: API servers and browsers refuse it)."""
    return json.dumps(
        to_document(value), allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )


def loads(cls: type[T], text: str | bytes, path: str = "") -> T:
    """Parse JSON text into `cls`. Raises ContractError for bad JSON as for bad fields."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        remedy = f"write valid JSON ({error})"
        raise ContractError(path or cls.__name__, text[:80], "is no JSON", remedy) from error
    return from_document(cls, document, path)


def from_document(cls: type[T], document: Any, path: str = "") -> T:
    """Build the dataclass `cls` from a JSON object; `path` names it in messages."""
    if not isinstance(document, Mapping):
        raise ContractError(
            path or cls.__name__, document, "is no object", "write a mapping of fields"
        )
    hints = _hints(typing.cast("Any", cls))
    known = {camel(f.name): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name, value in document.items():
        if name not in known:
            raise unknown_field(path, str(name), value, known)
    values = {}
    for name, field in known.items():
        if name in document:
            values[field.name] = _convert(hints[field.name], document[name], _join(path, name))
        elif _required(field) and type(None) in typing.get_args(hints[field.name]):
            values[field.name] = None  # written as nothing: see to_document
        elif _required(field):
            raise ContractError(_join(path, name), None, "is missing", "set it")
    return cls(**values)


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _convert(kind: Any, value: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return value
    if origin in _UNIONS:
        return _convert_union(typing.get_args(kind), value, path)
    if origin in (list, tuple):
        return _convert_sequence(kind, value, path)
    if origin in (dict, Mapping):
        return _convert_mapping(kind, value, path)
    if dataclasses.is_dataclass(kind):
        return from_document(typing.cast("type[Any]", kind), value, path)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _convert_enum(kind, value, path)
    return _convert_scalar(kind, value, path)


def _convert_union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    (kind,) = (k for k in kinds if k is not type(None))  # the contract has no other unions
    return _convert(kind, value, path)


def _convert_sequence(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ContractError(path, value, "is no list", "write a list")
    inner = typing.get_args(kind)[0]
    items = [_convert(inner, item, f"{path}[{i}]") for i, item in enumerate(value)]
    return tuple(items) if typing.get_origin(kind) is tuple else items


def _convert_mapping(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ContractError(path, value, "is no object", "write a mapping")
    inner = typing.get_args(kind)[1]
    return {str(key): _convert(inner, item, _join(path, str(key))) for key, item in value.items()}


def _convert_enum(kind: type[enum.Enum], value: Any, path: str) -> enum.Enum:
    try:
        return kind(value)
    except ValueError as error:
        choices = ", ".join(str(member.value) for member in kind)
        raise ContractError(
            path, value, "is not one of the choices", f"use one of {choices}"
        ) from error


def _convert_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, str):
        return _parse_float(value, path)  # NaN and Inf travel as strings
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise ContractError(path, value, f"is no {kind.__name__}", f"write a {kind.__name__}")
    return value


def _parse_float(value: str, path: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise ContractError(path, value, "is no number", "write a number") from error
