"""Builds of earlier commits beside this one, so that both are measured in one run. Used by accept_*.py."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("crds", "operator", "trainer_image")


def unpack(commit: str, folder: Path) -> Path:
    """The packages of a commit, out of the repository's own history."""
    command = ["git", "-C", str(ROOT), "archive", commit, *ROOMS]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def environ(build: Path) -> dict[str, str]:
    """What lets a Python process, and those that it starts, import that build."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(build / room) for room in ROOMS)}
