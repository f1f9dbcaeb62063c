"""What every acceptance run leaves behind: its figures with commit, machine and command. Used by accept_*.py."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DIRTY = "-dirty"
RESULTS, OUT = Path(__file__).parent / "results", ROOT / "out"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, what it had to be, whether it was."""

    name: str
    value: str
    bound: str = ""
    holds: bool | None = None

    @property
    def verdict(self) -> str:
        """For people."""
        return {None: "", True: "holds", False: "DOES NOT HOLD"}[self.holds]


def machine() -> dict[str, Any]:
    """Cores that this process may use, memory, CPU model."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memoryGiB": round(memory / 2**30, 1),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "loadBefore": round(os.getloadavg()[0], 2),
    }


def be_quiet() -> None:
    """The controller's log events are not what this is about."""
    logger = logging.getLogger("speech_operator")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def commit() -> str:
    """The commit of the tree, marked when files differ from it but for results and what is written of them."""
    described = _git("describe", "--always", "--exclude=*", "--abbrev=12")
    others = [f":!{place}" for place in ("benchmarks/results", "docs", "README.md")]
    changed = _git("status", "--porcelain", "-uno", "--", ".", *others)
    return f"{described}{DIRTY if changed else ''}" if described else "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median and worst of a series."""
    return {
        "runs": len(seconds),
        "median": round(statistics.median(seconds), 3),
        "worst": round(max(seconds), 3),
    }


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    widths = [max(len(text) for text in column) for column in zip(*map(_cells, rows), strict=True)]
    for row in rows:
        cells = zip(_cells(row), widths, strict=True)
        print("  ".join(f"{text:<{width}}" for text, width in cells).rstrip())


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.name, row.value, row.bound, row.verdict


def _portable(word: str) -> str:
    """Of a command: where somebody's folders lie is nobody's business."""
    path = Path(word)
    if not path.is_absolute():
        return word
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name


def write(
    name: str,
    before: dict[str, Any],
    figures: dict[str, Any],
    rows: Sequence[Row],
    *,
    kept: bool = True,
) -> bool:
    """Keep the figures in `results/<name>.json`, else in `out/`, and say whether everything holds."""
    place = RESULTS if kept else OUT
    place.mkdir(exist_ok=True)
    document = {
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": " ".join(["python", *map(_portable, sys.argv)]),
        "machine": before,
        "figures": figures,
        "table": [dataclasses.asdict(row) for row in rows],
    }
    path = place / f"{name}.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {path.relative_to(ROOT)}")
    return all(row.holds is not False for row in rows)
