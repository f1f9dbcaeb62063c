"""What became of each field: the table that `speechtrain convert` prints. Used by every module of `conversion`."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any, Final

from speech_contract.errors import ContractError, nearest

NO_COUNTERPART: Final = "has no counterpart here"
NO_EFFECT: Final = "it had no effect on the old job either"


class Fate(enum.StrEnum):
    """What became of a field."""

    KEPT = "kept"
    RENAMED = "renamed"
    CHANGED = "changed"
    ADDED = "added"
    DROPPED = "dropped"


@dataclasses.dataclass(frozen=True)
class Note:
    """One row of the table."""

    fate: Fate
    field: str
    text: str = ""


class Notes:
    """Collects rows, and what cannot be converted at all."""

    def __init__(self) -> None:
        self.rows: list[Note] = []
        self.refusals: list[ContractError] = []

    def kept(self, field: str) -> None:
        """It means the same here."""
        self._add(Fate.KEPT, field, "")

    def renamed(self, field: str, new: str) -> None:
        """It stands elsewhere now."""
        self._add(Fate.RENAMED, field, f"→ {new}")

    def changed(self, field: str, text: str) -> None:
        """It does something else now; the sentence says what."""
        self._add(Fate.CHANGED, field, text)

    def added(self, field: str, text: str) -> None:
        """The PyTorchJob had nothing like it."""
        self._add(Fate.ADDED, field, text)

    def dropped(self, field: str, text: str) -> None:
        """It is gone; the sentence says why."""
        self._add(Fate.DROPPED, field, text)

    def refused(self, field: str, value: object, rule: str, remedy: str) -> None:
        """Without it the job would be another one: a person must decide."""
        self.refusals.append(ContractError(field, value, rule, remedy))

    def _add(self, fate: Fate, field: str, text: str) -> None:
        note = Note(fate, field, text)
        if note not in self.rows:
            self.rows.append(note)


class Reader:
    """One object of the manifest. What nobody takes is dropped by `finish`, with a sentence."""

    def __init__(self, document: Any, path: str, notes: Notes) -> None:
        if document is not None and not isinstance(document, Mapping):
            notes.refused(
                path or "the manifest", document, "is no object", "write a mapping of fields"
            )
        given = document if isinstance(document, Mapping) else {}
        self._left = {str(key): value for key, value in given.items() if value is not None}
        self.path = path
        self.notes = notes

    @property
    def fields(self) -> list[str]:
        """Names of the fields that nobody took yet."""
        return list(self._left)

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str) -> Any:
        """The value of a field, None when it is not there. The caller notes what becomes of it."""
        return self._left.pop(name, None)

    def look(self, name: str) -> Any:
        """The value of a field, which stays there to be taken."""
        return self._left.get(name)

    def put(self, name: str, value: Any) -> None:
        """A field that stood elsewhere is to be read as if it stood here."""
        self._left[name] = value

    def inner(self, name: str) -> Reader:
        """A nested object."""
        return Reader(self.take(name), self.at(name), self.notes)

    def items(self, name: str) -> Iterator[tuple[Any, str]]:
        """Each item of a list with its path."""
        for index, item in enumerate(self.take_list(name)):
            yield item, f"{self.at(name)}[{index}]"

    def take_list(self, name: str) -> list[Any]:
        """A list, empty when there is none. Anything else is refused."""
        value = self.take(name)
        if value is not None and not isinstance(value, list):
            self.notes.refused(self.at(name), value, "is no list", "write a list")
        return value if isinstance(value, list) else []

    def take_map(self, name: str) -> dict[str, Any]:
        """A map as a copy, empty when there is none. Anything else is refused."""
        value = self.take(name)
        if value is not None and not isinstance(value, Mapping):
            self.notes.refused(self.at(name), value, "is no object", "write a mapping of fields")
        return dict(value) if isinstance(value, Mapping) else {}

    def keep(self, into: dict[str, Any], *fields: str) -> None:
        """Copy fields that mean the same here under the same name."""
        for name in fields:
            value = self.take(name)
            if value is not None and value not in ("", [], {}):
                into[name] = value
                self.notes.kept(self.at(name))

    def refuse(self, *fields: str, rule: str, remedy: str) -> None:
        """Fields that a job cannot do without but cannot have here. False and empty ones ask for nothing."""
        for name in fields:
            if value := self.take(name):
                self.notes.refused(self.at(name), value, rule, remedy)

    def finish_known(
        self, places: Mapping[str, str], reasons: Mapping[str, str] | None = None
    ) -> None:
        """Drop what is left of an object whose fields are all known; a field that stands wrong is refused.

        `places`: every field that a person may have meant → the object that it belongs to. A policy at the wrong
        depth, or with a letter amiss, was pruned by the API server: whether it shall hold now, a person decides.
        """
        for name in [n for n in self.fields if n not in (reasons or {})]:
            meant = name if name in places else nearest(name, places)
            if meant is None:
                self.notes.dropped(self.at(name), f"is no field of a PyTorchJob; {NO_EFFECT}")
            else:
                self.notes.refused(
                    self.at(name), self._left[name],
                    f"is no field here: {meant} belongs below {places[meant]}; {NO_EFFECT}",
                    "move it there, or remove it to go on without",
                )  # fmt: skip
            self._left.pop(name)
        self.finish(reasons)

    def finish(self, reasons: Mapping[str, str] | None = None) -> None:
        """Drop what is left, each field with its reason."""
        for name in self.fields:
            self._left.pop(name)
            self.notes.dropped(self.at(name), (reasons or {}).get(name, NO_COUNTERPART))
