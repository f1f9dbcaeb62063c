"""The table of real trainers on `foreign-trainers.md`, from what `make accept-trainers` measured. Called by `generate.py`."""

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
    lines = [
        f"{len(figures['trainers'])} real trainers, none of which knows of us, ran on this project's machine at commit "
        f"`{document['commit']}`",
        f"under `speechtrain run` and default thresholds: once sound, once with a loss that is NaN from step "
        f"{figures['plantedStep']} on.",
        "*After*: reports from the first one that can show it to the alarm. What they printed is kept in",
        "`tests/telemetry/captured` and judged by CI; `make accept-trainers` runs them anew.",
        "",
        tables.table(HEADER, map(_row, figures["trainers"])),
        "",
        tables.table(REFUSED, ((r["name"], r["version"], r["why"]) for r in figures["refused"])),
    ]
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    sound, planted = one["sound"], one["planted"]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    said = [*sound["live"], *sound["replayed"]]
    return (
        one["name"],
        versions,
        sound["format"],
        str(sound["reports"]),
        ", ".join(f"`{rule}`" for rule in dict.fromkeys(said)) or "nothing said",
        ", ".join(f"`{rule}`" for rule in planted["live"]) or "**no**",
        "" if planted["after"] is None else str(planted["after"]),
        str(planted["exitCode"]),
    )
