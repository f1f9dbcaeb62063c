"""What plain records share, so that it is not generated anew for each: equality, hash, text, and that they stay.

A dataclass that generates none of them costs a third at import, and a command of the CLI loads a hundred. Used by the
whole contract, and by records of the operator, the rules and the CLI.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeVar, dataclass_transform

_Record = TypeVar("_Record", bound="Value")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[_Record]) -> type[_Record]:
    """Make a `Value` a dataclass that generates its `__init__` alone; `Value` keeps it from being changed."""
    return dataclasses.dataclass(eq=False, repr=False)(cls)


class Value:
    """Base of `frozen` classes without slots: equal to one of its own class with equal fields, each set once.

    For one whose fields all count, and that keeps nothing else in its `__dict__` (no `cached_property`, no `once`).
    """

    # Of the record: a `Value` itself has none.
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.__class__, *self.__dict__.values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__qualname__}({fields})"
