"""Which fields of a document hold a path, found by their metadata: nobody lists them.

Marked in `run_config` and `recipes`; the api checks the paths of a manifest, the operator makes those of a run
config local on one machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from speech_contract.codec import camel

T = TypeVar("T")

# `manifest: str = dataclasses.field(metadata=PATH)`; with a default (`""`, None) the path is optional.
PATH: Final[Mapping[str, bool]] = {"speech_contract.path": True}


def paths_of(owner: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every path below the dataclass `owner` as (field, path), an optional one where it is set.

    `place` is the owner's own, as `spec.data`.
    """
    for field in dataclasses.fields(owner):
        value, inner = getattr(owner, field.name), f"{place}.{camel(field.name)}"
        if dataclasses.is_dataclass(value):
            yield from paths_of(value, inner)
        elif PATH.items() <= field.metadata.items() and value != field.default:
            yield inner, value


def with_paths(owner: T, change: Callable[[str], str]) -> T:
    """A copy of the dataclass `owner` in which every path that is set went through `change`."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(owner):  # type: ignore[arg-type]
        value = getattr(owner, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = with_paths(value, change)
        elif PATH.items() <= field.metadata.items() and value:
            changed[field.name] = change(value)
    return dataclasses.replace(owner, **changed)  # type: ignore[type-var]
