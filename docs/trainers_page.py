"""The table of real trainers on `foreign-trainers.md`, as `make accept-trainers` measured. Called by `generate.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tables

HEADER = (
    "trainer",
    "version",
    "read as",
    "reports read",
    "sound run",
    "NaN named",
    "after",
    "exit code",
)
REFUSED = ("not run", "version", "why")


def trainers(measured: Path) -> str:
    """What was run, and what could not be."""
    document = json.loads(measured.read_text(encoding="utf-8"))
    figures = document["figures"]
    found = figures["trainers"]
    live = sum(one["planted"]["live"] is not None for one in found)
    lines = [
        f"{len(found)} real trainers, none of which knows of us, ran on this project's machine: once sound, once with",
        "a loss that is NaN from a step on. What they printed into a pipe is kept in `tests/telemetry/captured`;",
        "reader and `speechtrain replay` judged it under default thresholds at commit",
        f"`{document['commit']}`, and do so in CI.",
        f"{live} of them ran under `speechtrain run` itself: their exit code stands in the table.",
        "*After*: reports from the first one that can show the NaN to the alarm. `make accept-trainers` runs all anew.",
        "",
        tables.table(HEADER, map(_row, figures["trainers"])),
        "",
        tables.table(REFUSED, ((r["name"], r["version"], r["why"]) for r in figures["refused"])),
    ]
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    sound, planted = one["sound"], one["planted"]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    said = [*(sound["live"] or []), *sound["rules"], *sound["replayed"]]
    named = planted["replayed"] if planted["live"] is None else planted["live"]
    return (
        one["name"],
        versions,
        sound["format"],
        str(sound["reports"]),
        ", ".join(f"`{rule}`" for rule in dict.fromkeys(said)) or "nothing said",
        ", ".join(f"`{rule}`" for rule in dict.fromkeys(named)) or "**no**",
        "" if planted["after"] is None else str(planted["after"]),
        "" if planted["exitCode"] is None else str(planted["exitCode"]),
    )
