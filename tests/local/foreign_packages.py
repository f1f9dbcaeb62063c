"""Packages that foreign trainers bring and we do not have: old transformers, TensorBoard's writer, Lightning, wandb.

Installed once, from a lock of their own and without dependencies, into a folder below .cache/, which a process that
needs them is given on its PYTHONPATH; torch and the rest it shares with the test environment.
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
LOCK = ROOT / "locks" / "foreign.txt"
LIGHTNING = ROOT / "locks" / "lightning.txt"
WANDB = ROOT / "locks" / "wandb.txt"
VERSIONS = ("oldest", "newest")
_DONE = ".compiled"


def python_path(version: str) -> str:
    """A folder to put before everything else; "" for the newest transformers, which is the locked one."""
    return "" if version == "newest" else str(folder_of_packages())


def folder_of_packages(lock: Path = LOCK) -> Path:
    """The folder, filled. Skips where the packages can't be had, and fails in CI, where they must."""
    folder = ROOT / ".cache" / f"foreign-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "foreign.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / _DONE).exists():
            _install(folder, lock)
    return folder


def _install(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        *_installer(),
        "--target",
        str(folder),
        "--no-deps",
        "--require-hashes",
        "-r",
        str(lock),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, env=_mirrored(), check=False)
    if ended.returncode == 0:
        (folder / _DONE).touch()
        return
    reason = f"locks/{lock.name} can't be installed: {ended.stderr[-500:]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _installer() -> list[str]:
    """uv as the Makefile has it, or on PATH, or pip."""
    own = ROOT / ".cache" / "bootstrap" / "bin" / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", sys.executable]
    return [sys.executable, "-m", "pip", "install", "--quiet"]


def _mirrored() -> dict[str, str]:
    """uv reads its own variables only; a mirror that was set for pip serves it as well."""
    mirror = os.environ.get("PIP_INDEX_URL")
    return {"UV_DEFAULT_INDEX": mirror, **os.environ} if mirror else dict(os.environ)
