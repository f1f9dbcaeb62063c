"""The answer of one check, and how a check that may not be made is told. Built by the other modules of this room."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Sequence

from speech_cli.cluster_client import Forbidden
from speech_cli.errors import UserError


class Mark(enum.StrEnum):
    """What a check came to. FAIL alone makes the command exit with 1."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIPPED = "SKIPPED"


@dataclasses.dataclass(frozen=True)
class Row:
    """One check: what was found, and what to do about it; OK needs no remedy. As `doctor -o json` prints it."""

    name: str
    mark: Mark
    reason: str
    remedy: str = ""


Check = Callable[[], Iterable[Row]]


def ok(name: str, reason: str) -> Row:
    """Nothing to do."""
    return Row(name, Mark.OK, reason)


def warn(name: str, reason: str, remedy: str) -> Row:
    """It works, and somebody will wonder."""
    return Row(name, Mark.WARN, reason, remedy)


def fail(name: str, reason: str, remedy: str) -> Row:
    """It does not work."""
    return Row(name, Mark.FAIL, reason, remedy)


def skipped(name: str, reason: str, remedy: str = "") -> Row:
    """Not looked at."""
    return Row(name, Mark.SKIPPED, reason, remedy)


def asked(name: str, check: Check) -> list[Row]:
    """The rows of a check; of one that the API server does not allow or answer, a row that says so."""
    try:
        return list(check())
    except Forbidden as error:
        return [skipped(name, *_parted(error))]
    except UserError as error:
        return [fail(name, *_parted(error))]


def sound(rows: Sequence[Row]) -> bool:
    """Whether nothing failed."""
    return all(row.mark is not Mark.FAIL for row in rows)


def _parted(error: UserError) -> tuple[str, str]:
    """Our sentences end with their remedy."""
    reason, _, remedy = error.message.rpartition("; ")
    return (reason, remedy) if reason else (remedy, "")
