"""Environments of others' packages beside ours, by uv for its cache: torch is gigabytes. Used by accept_*.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

UV = Path(__file__).resolve().parents[1] / ".cache" / "bootstrap" / "bin" / "uv"


def install(home: Path, packages: Sequence[str]) -> Path:
    """The interpreter of an environment with these packages; one that is there already is taken as it is."""
    python = home / "bin" / "python"
    if not python.exists():
        uv("venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        uv("pip", "install", "--quiet", "--python", str(python), *packages)
    return python


def versions(python: Path) -> dict[str, str]:
    """Of everything that it holds."""
    frozen = uv("pip", "freeze", "--python", str(python))
    return dict(line.split("==") for line in frozen.splitlines() if "==" in line)


def uv(*words: str) -> str:
    """What uv prints."""
    done = subprocess.run([str(UV), *words], check=True, capture_output=True, text=True)
    return done.stdout
