"""The table of a preflight as lines for a log, and as what `preflight.json` holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from speech_contract.preflight import CheckResult, Mark, PreflightReport

_HEAD = ("CHECK", "WHAT", "MEASURED", "EXPECTED", "VERDICT")
_WIDEST = 60


def lines(report: PreflightReport) -> list[str]:
    """Head, one line a row, remedies below the rows that need one, and the verdict with its time."""
    rows = [_cells(row) for row in report.results]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(_HEAD, *rows, strict=True)]
    shown = [_line(_HEAD, widths)]
    for row, cells in zip(report.results, rows, strict=True):
        shown.append(_line(cells, widths))
        if row.remedy:
            shown.append(f"  remedy: {row.remedy}")
    said = f"preflight ({report.scope.value.lower()}): {report.verdict.value} in {report.seconds:.1f} s"
    return [*shown, f"{said}, {report.checks} checks, {len(report.failed)} failed"]


def _cells(row: CheckResult) -> tuple[str, ...]:
    rank = "" if row.rank is None else f"rank {row.rank}: "
    return (row.check.value, rank + row.field, row.measured, row.expected, row.mark.value)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def count(rows: Sequence[CheckResult], mark: Mark) -> int:
    """Rows with this mark."""
    return sum(row.mark is mark for row in rows)
