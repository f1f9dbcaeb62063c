"""The tables on `goodput.md`, as `make accept-goodput` simulated. Called by `generate.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tables


def ratios(measured: Path) -> str:
    """Goodput of sizes, rates and costs."""
    header = (
        "GPUs",
        "rate of",
        "restart, s",
        "save, s",
        "steps between saves",
        "beside",
        "goodput",
        "formula",
    )
    rows = (
        (
            str(one["gpus"]), one["rate"], f"{one['restart']:.0f}", f"{one['save']:.0f}", str(one["every"]),
            one["what"], f"{one['ratio']:.3f}", f"{one['formula']:.3f}",
        )
        for one in _figures(measured)["goodput"]
    )  # fmt: skip
    return tables.table(header, rows)


def endings(measured: Path) -> str:
    """Sound jobs that each policy ends, a column for each case."""
    found = _figures(measured)["endings"]
    cases = list(dict.fromkeys(map(_case, found)))
    rows = (
        (policy, *(f"{share:.1%}" for share in _shares(found, policy, cases)))
        for policy in _policies(found)
    )
    return tables.table(("budgets", *cases), rows)


def loops(measured: Path) -> str:
    """Hours until each policy ends a broken job, a column for each fault."""
    found = _figures(measured)["loops"]
    faults = list(dict.fromkeys(one["fault"] for one in found))
    rows = (
        (policy, *(_hours(one) for fault in faults for one in found if _is(one, policy, fault)))
        for policy in _policies(found)
    )
    return tables.table(("budgets", *faults), rows)


def _figures(measured: Path) -> Mapping[str, Any]:
    figures: Mapping[str, Any] = json.loads(measured.read_text(encoding="utf-8"))["figures"]
    return figures


def _policies(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield from dict.fromkeys(one["policy"] for one in found)


def _case(one: Mapping[str, Any]) -> str:
    text = f"{one['rate']}, {one['gpus']} GPUs"
    text += f", steps of {one['stepSeconds']:.0f} s" if one["stepSeconds"] > 1 else ""
    return f"{text}, bursts" if one["burst"] else text


def _shares(found: list[Mapping[str, Any]], policy: str, cases: Iterable[str]) -> Iterator[float]:
    mine = {_case(one): one["ended"] / one["lives"] for one in found if one["policy"] == policy}
    yield from (mine[case] for case in cases)


def _is(one: Mapping[str, Any], policy: str, fault: str) -> bool:
    return one["policy"] == policy and one["fault"] == fault


def _hours(one: Mapping[str, Any]) -> str:
    if one["hours"] is None:
        return "never"
    return f"{one['hours']:.1f} h, {one['attempts']} attempts"
