"""Dataclass to JSON document and back: camelCase outside, snake_case inside.

Used for the run config, the outcome, progress, status and job state. A document with an unknown field, a missing
field or a wrong type raises `ContractError` naming the field's path; nothing is dropped in silence. Two readers are
kinder, see `Reading`: of what another version of us wrote, and of what is only to be shown.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from speech_contract.errors import ContractError, unknown_field
from speech_contract.values import Value, frozen

T = TypeVar("T")


class Reading(enum.Enum):
    """How much of a document must be in order."""

    STRICT = "Strict"  # all of it: a typing error must not pass for a setting
    FIELDS = (
        "Fields"  # fields that a newer version of us added are passed over; a word must be known
    )
    NEWER = "Newer"  # fields that a newer version of us added are passed over, its words kept
    SALVAGE = "Salvage"  # whatever can be read, for people: the rest is as if it were not there


_UNIONS: tuple[Any, ...] = (typing.Union, types.UnionType)
_PLAIN: frozenset[type] = frozenset({str, int, bool})  # JSON as they are


@functools.cache
def camel(name: str) -> str:
    """`last_step` → `lastStep`."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


# `__pydantic_config__` of a dataclass that a manifest holds: the api reads it as strictly as this module.
FORBID: dict[str, Any] = {"extra": "forbid", "alias_generator": camel, "populate_by_name": True}
# Of one that a status holds: its schema is made by pydantic, which nobody needs who reads it.
READ: dict[str, Any] = {"extra": "ignore", "alias_generator": camel, "populate_by_name": True}


def to_document(value: Any) -> Any:
    """Turn a dataclass into plain JSON values. None fields are left out; NaN and Inf become strings."""
    if value is None or type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((name, getattr(value, field)) for name, field in _names(type(value)))
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


@functools.cache
def _names(cls: Any) -> tuple[tuple[str, str], ...]:
    """What a field is called in a document, and in Python."""
    return tuple((camel(f.name), f.name) for f in dataclasses.fields(cls))


def dumps(value: Any) -> str:
    """One line of strict JSON (no bare NaN: API servers and browsers refuse it)."""
    return json.dumps(
        to_document(value), allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )


def loads(cls: type[T], text: str | bytes, path: str = "", reading: Reading = Reading.STRICT) -> T:
    """Parse JSON text into `cls`. Raises ContractError for bad JSON as for bad fields."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        remedy = f"write valid JSON ({error})"
        raise ContractError(path or cls.__name__, text[:80], "is no JSON", remedy) from error
    return from_document(cls, document, path, reading)


def from_document(
    cls: type[T], document: Any, path: str = "", reading: Reading = Reading.STRICT
) -> T:
    """Build the dataclass `cls` from a JSON object; `path` names it in messages. Raises ContractError.

    `Reading.SALVAGE` leaves out an optional field that is unreadable, and an item of a list or mapping; a required
    text reads as "".
    """
    if not isinstance(document, Mapping):
        raise ContractError(
            path or cls.__name__, document, "is no object", "write a mapping of fields"
        )
    fields = _fields(typing.cast("Any", cls))
    if reading is Reading.STRICT:
        for name, value in document.items():
            if name not in fields:
                raise unknown_field(path, str(name), value, fields)
    values = {}
    for name, field in fields.items():
        if name in document or field.required:
            try:
                values[field.name] = _value(field, name, document, path, reading)
            except ContractError:
                if reading is not Reading.SALVAGE or field.required:
                    raise
    return cls(**values)


@frozen
class _Field(Value):
    name: str
    kind: Any
    required: bool
    nullable: bool


@functools.cache
def _fields(cls: Any) -> dict[str, _Field]:
    """Fields by their name in a document."""
    hints = typing.get_type_hints(cls)
    return {
        camel(f.name): _Field(
            f.name, hints[f.name], _required(f), type(None) in typing.get_args(hints[f.name])
        )
        for f in dataclasses.fields(cls)
    }


def _value(
    field: _Field, name: str, document: Mapping[str, Any], path: str, reading: Reading
) -> Any:
    path = _join(path, name)
    if name not in document and field.nullable:
        return None  # written as nothing: see to_document
    try:
        if name not in document:
            raise ContractError(path, None, "is missing", "set it")
        return _convert(field.kind, document[name], path, reading)
    except ContractError:
        if reading is Reading.SALVAGE and field.required and field.kind is str:
            return ""
        raise


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_Converter = Callable[[Any, Any, str, Reading], Any]  # kind, value, path, reading


def _convert(kind: Any, value: Any, path: str, reading: Reading) -> Any:
    convert, inner = _way(kind)
    return convert(inner, value, path, reading)


@functools.cache
def _way(kind: Any) -> tuple[_Converter, Any]:
    """How a kind is read, found out once: an operator reads its statuses all day long."""
    origin = typing.get_origin(kind)
    if kind is Any or kind is object:
        return _as_it_is, kind
    if origin in _UNIONS:
        # the contract has no other unions
        (inner,) = (k for k in typing.get_args(kind) if k is not type(None))
        return (_convert_optional if type(None) in typing.get_args(kind) else _convert), inner
    if origin in (list, tuple):
        return _convert_sequence, kind
    if origin in (dict, Mapping):
        return _convert_mapping, kind
    if dataclasses.is_dataclass(kind):
        return from_document, kind
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _convert_enum, kind
    return _convert_scalar, kind


def _as_it_is(kind: Any, value: Any, path: str, reading: Reading) -> Any:
    return value


def _convert_optional(kind: Any, value: Any, path: str, reading: Reading) -> Any:
    return None if value is None else _convert(kind, value, path, reading)


def _convert_sequence(kind: Any, value: Any, path: str, reading: Reading) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ContractError(path, value, "is no list", "write a list")
    inner = typing.get_args(kind)[0]
    pairs = ((f"{path}[{i}]", item) for i, item in enumerate(value))
    items = [converted for _, converted in _items(inner, pairs, reading)]
    return tuple(items) if typing.get_origin(kind) is tuple else items


def _convert_mapping(kind: Any, value: Any, path: str, reading: Reading) -> Any:
    if not isinstance(value, Mapping):
        raise ContractError(path, value, "is no object", "write a mapping")
    inner = typing.get_args(kind)[1]
    names = {_join(path, str(key)): str(key) for key in value}
    pairs = ((_join(path, str(key)), item) for key, item in value.items())
    return {names[at]: converted for at, converted in _items(inner, pairs, reading)}


def _items(
    kind: Any, pairs: Iterable[tuple[str, Any]], reading: Reading
) -> Iterator[tuple[str, Any]]:
    """Items of a list or mapping by their path."""
    for path, item in pairs:
        try:
            yield path, _convert(kind, item, path, reading)
        except ContractError:
            if reading is not Reading.SALVAGE:
                raise


def _convert_enum(kind: type[enum.Enum], value: Any, path: str, reading: Reading) -> enum.Enum:
    try:
        return kind(value)
    except ValueError as error:
        if (
            reading not in (Reading.STRICT, Reading.FIELDS)
            and issubclass(kind, str)
            and value
            and isinstance(value, str)
        ):
            return _new_word(kind, value)
        choices = ", ".join(str(member.value) for member in kind)
        raise ContractError(
            path, value, "is not one of the choices", f"use one of {choices}"
        ) from error


def _new_word(kind: type[enum.Enum], value: str) -> enum.Enum:
    """A word that a newer version of us added, to be shown and written as it is: no member, but with its value."""
    word: enum.Enum = str.__new__(typing.cast("Any", kind), value)
    word._name_, word._value_ = value, value
    return word


def _convert_scalar(kind: Any, value: Any, path: str, reading: Reading) -> Any:
    if type(value) is kind:
        return value
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
