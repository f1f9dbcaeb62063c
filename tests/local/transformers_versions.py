"""The oldest and the newest supported transformers, as what a process must have on its PYTHONPATH.

The newest is the one that is locked for everything else. The oldest is installed once, from its own lock and without
dependencies, into .cache/ beside the test environment, with which it shares torch and the rest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "locks" / "oldest.txt"
VERSIONS = ("oldest", "newest")
_DONE = ".done"


def python_path(version: str) -> str:
    """A folder to put before everything else; "" for the newest. Skips where the oldest can't be had, and fails
    in CI, where it must."""
    if version == "newest":
        return ""
    folder = ROOT / ".cache" / f"oldest-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "oldest.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            _install(folder)
    return str(folder)


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        *_installer(),
        "--target",
        str(folder),
        "--no-deps",
        "--require-hashes",
        "-r",
        str(LOCK),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, env=_mirrored(), check=False)
    if ended.returncode == 0:
        (folder / _DONE).touch()
        return
    reason = f"the oldest transformers can't be installed: {ended.stderr[-500:]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _installer() -> list[str]:
    """uv as the Makefile has it, or on PATH, or pip."""
    own = ROOT / ".cache" / "bootstrap" / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--quiet"]


def _mirrored() -> dict[str, str]:
    """uv reads its own variables only; a mirror that was set for pip serves it as well."""
    mirror = os.environ.get("PIP_INDEX_URL")
    return {"UV_DEFAULT_INDEX": mirror, **os.environ} if mirror else dict(os.environ)
