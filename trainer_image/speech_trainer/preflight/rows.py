"""Rows of the table, and how the rows of several ranks become one table. Pure; used by every module of this room."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from speech_contract.preflight import Check, CheckResult, Mark

_ORDER = {check: number for number, check in enumerate(Check)}


def row(
    check: Check, field: str, good: bool, measured: object, expected: object, remedy: str = ""
) -> CheckResult:
    """Passed, or Failed with its remedy."""
    mark = Mark.PASSED if good else Mark.FAILED
    return CheckResult(check, mark, field, str(measured), str(expected), "" if good else remedy)


def warning(
    check: Check, field: str, good: bool, measured: object, expected: object, remedy: str
) -> CheckResult:
    """Passed, or Warned: something that may be meant."""
    mark = Mark.PASSED if good else Mark.WARNED
    return CheckResult(check, mark, field, str(measured), str(expected), "" if good else remedy)


def skipped(check: Check, why: str) -> CheckResult:
    """A check that could not be made, or has no meaning here."""
    return CheckResult(check, Mark.SKIPPED, "", why, "")


def joined(by_rank: Sequence[Sequence[CheckResult]]) -> list[CheckResult]:
    """Rank 0's rows, and what other ranks found that rank 0 did not; in the order of `Check`."""
    first = list(by_rank[0]) if by_rank else []
    known = {(r.check, r.field, r.mark) for r in first}
    for rank, rows in enumerate(by_rank[1:], start=1):
        for found in rows:
            key = (found.check, found.field, found.mark)
            if found.mark in (Mark.FAILED, Mark.WARNED) and key not in known:
                known.add(key)
                first.append(dataclasses.replace(found, rank=rank))
    return sorted(first, key=lambda r: _ORDER[r.check])


def listed(names: Sequence[str]) -> str:
    """The first few."""
    shown = ", ".join(names[:3])
    return f"{shown}, …" if len(names) > 3 else shown


def number(value: float) -> str:
    """Four digits."""
    return f"{value:.4g}"
