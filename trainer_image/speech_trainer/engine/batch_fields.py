"""A batch taken apart into what can be stored, and put together again. Called by `engine.bad_steps`, `replay_batch`.

A batch is a dataclass of whatever a recipe likes: tensors, plain values, other dataclasses of tensors, and things that
only people need (`members`), of which the names are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from torch import Tensor

_PLAIN: Final = (str, int, float, bool, type(None))


@dataclasses.dataclass(frozen=True)
class Fields:
    """Tensors by name, `columns/rows` for those of an inner dataclass; and a document that names the classes, holds the
    plain values, and says which fields a replay finds empty."""

    tensors: dict[str, Tensor]
    document: dict[str, Any]


def split(batch: Any) -> Fields:
    """Take a dataclass apart. What is neither tensor nor plain is told in `samples`, and empty in a replay."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    told: dict[str, list[str]] = {}
    for field in dataclasses.fields(batch):
        name, value = field.name, getattr(batch, field.name)
        if isinstance(value, Tensor):
            tensors[name] = value
        elif _is_plain(value):
            plain[name] = list(value) if isinstance(value, tuple) else value
        elif _holds_tensors(value):
            parts = split(value)
            inner[name] = parts.document
            tensors |= {f"{name}/{key}": tensor for key, tensor in parts.tensors.items()}
        else:
            several = value if isinstance(value, list | tuple) else [value]
            told[name] = [_told(item) for item in several]
    kind = type(batch)
    document = {"module": kind.__module__, "type": kind.__qualname__, "plain": plain}
    samples = [name for names in told.values() for name in names]
    return Fields(tensors, {**document, "inner": inner, "empty": sorted(told), "samples": samples})


def join(fields: Fields, kind_of: Callable[[Mapping[str, Any]], type[Any]]) -> Any:
    """Put it together again. `kind_of`: the class that a document names; raises what it likes."""
    document = fields.document
    plain = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in document["plain"].items()
    }
    inner = {
        name: join(Fields(below(name, fields.tensors), parts), kind_of)
        for name, parts in document.get("inner", {}).items()  # records of before had none
    }
    own = {name: tensor for name, tensor in fields.tensors.items() if "/" not in name}
    empty: dict[str, Any] = {name: () for name in document["empty"]}
    return kind_of(document)(**own, **plain, **inner, **empty)


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that are named `name/…`, by the rest of their names."""
    prefix = f"{name}/"
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _holds_tensors(value: Any) -> bool:
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return False
    own = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return any(isinstance(one, Tensor) or _holds_tensors(one) for one in own)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, _PLAIN) for item in value)
    return isinstance(value, _PLAIN)


def _told(item: Any) -> str:
    """How a person finds a sample again: its file, or all of it."""
    return str(getattr(item, "audio_filepath", item))
