"""Which fields the models know at a place of a manifest. Called by `validation` and `descriptions`."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel

from speech_contract.codec import camel


def fields_at(model: Any, location: Sequence[str | int]) -> dict[str, Any]:
    """Fields (as written in a manifest) and their types of the object at `location` below `model`."""
    kind = model
    for step in location:
        kind = _inner(bare(kind), step)
    return fields_of(bare(kind))


def places_of(model: Any, name: str) -> list[str]:
    """Every place below `model` where a field of this name (whatever its case) belongs."""
    wanted = name.lower()
    return [path for path in _all_places(model) if path.rpartition(".")[2].lower() == wanted]


@functools.cache  # one of the policies asks for four hundred names
def _all_places(model: Any) -> tuple[str, ...]:
    return tuple(_places(model, ""))


def _places(kind: Any, path: str) -> Iterator[str]:
    for name, inner in fields_of(bare(kind)).items():
        place = f"{path}.{name}" if path else name
        yield place
        yield from _places(inner, place)


def bare(kind: Any) -> Any:
    """Take off Annotated and Optional."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return bare(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return bare(next(k for k in typing.get_args(kind) if k is not type(None)))
    return kind


def items_of(kind: Any) -> tuple[Any, str]:
    """What a list (marked `[]`) or a map (`.*`) holds; else the kind itself and no mark."""
    if typing.get_origin(kind) in (list, tuple):
        return typing.get_args(kind)[0], "[]"
    if typing.get_origin(kind) is dict:
        return typing.get_args(kind)[1], ".*"
    return kind, ""


def _inner(kind: Any, step: str | int) -> Any:
    inner, mark = items_of(kind)
    return inner if mark else fields_of(kind).get(str(step), Any)


def fields_of(kind: Any) -> dict[str, Any]:
    """Field (as written in a manifest) → its type; empty for what has no fields."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {f.alias or name: f.annotation for name, f in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return dict(_typed(kind))
    return {}


@functools.cache  # annotations are text: to read them costs more than anything else that is done with them here
def _typed(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {camel(f.name): hints[f.name] for f in dataclasses.fields(kind)}
