"""Equal parts of specs and run configs kept once. Called by `job_document` and `config_maps`, who keep what they parse.

Jobs of one team differ in a name and a path, and what a job was accepted with is mostly what it says now; parsed, each
of the two takes some 15 KiB. Nothing here keeps a part alive: it goes with the last job that has it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import weakref
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

T = TypeVar("T")
_PARTS: Final[weakref.WeakValueDictionary[bytes, Any]] = weakref.WeakValueDictionary()


def digest(text: bytes) -> bytes:
    """What stands for a text that is only compared: of a thousand jobs the texts themselves take megabytes."""
    return hashlib.blake2b(text, digest_size=16).digest()


def shared(whole: T) -> T:
    """An equal object, of fields that others before it have where they are equal. For frozen models and dataclasses."""
    if isinstance(whole, BaseModel):
        parts = {name: _kept(getattr(whole, name)) for name in type(whole).model_fields}
        given = whole.model_copy(update=parts)
        given.__pydantic_fields_set__.intersection_update(whole.model_fields_set)
        found: T = _kept(given)
        return found
    plain: Any = whole
    parts = {field.name: _kept(getattr(plain, field.name)) for field in dataclasses.fields(plain)}
    same: T = _kept(dataclasses.replace(plain, **parts))
    return same


def _kept(part: Any) -> Any:
    """The first that was equal to it, also in what was left to its default; plain values as they are."""
    if isinstance(part, BaseModel):
        text = part.__pydantic_serializer__.to_json(part)
        text += part.__pydantic_serializer__.to_json(part, exclude_unset=True)
    elif dataclasses.is_dataclass(part):
        text = to_json(part)
    else:
        return part
    kind = f"{type(part).__module__}.{type(part).__qualname__}\0".encode()
    return _PARTS.setdefault(digest(kind + text), part)
