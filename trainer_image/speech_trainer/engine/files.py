"""The few file-system operations of checkpoints, each durable when it returns: the edge that tests replace.

Used by `engine.checkpoints`, and `as_ordinary` by `data.shards`. Errors are OSError as the system gave them; `explain`
makes a sentence of one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from speech_telemetry.files import create_text, sync

_CHUNK = 1 << 20


class Files:
    """A local or mounted file system."""

    def write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """Write safetensors, readable as the umask and the directory say."""
        save_file(dict(tensors), path)
        as_ordinary(path)
        sync(path)

    def write_new(self, path: Path, text: str) -> None:
        """Create a file exclusively. Raises FileExistsError when somebody was first."""
        create_text(path, text)

    def rename(self, source: Path, target: Path) -> None:
        """Move a directory into its place."""
        source.rename(target)
        sync(target.parent)

    def read_tensors(self, path: Path) -> dict[str, Tensor]:
        """Read safetensors to the host."""
        return dict(load_file(path))

    def digest(self, path: Path) -> str:
        """SHA-256 of a file, in hex."""
        summary = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                summary.update(chunk)
        return summary.hexdigest()

    def remove_tree(self, path: Path) -> None:
        """Delete a directory; its absence is fine."""
        shutil.rmtree(path, ignore_errors=True)

    def free_bytes(self, path: Path) -> int:
        """Room left where `path` lies."""
        return shutil.disk_usage(path).free


def as_ordinary(path: Path) -> None:
    """Give a file the mode that an ordinary new file beside it gets; all of ours below, when it is a directory.

    safetensors 0.8 leaves 0600 whatever the umask, and nobody else could serve, copy or resume what it wrote. A file
    is made to learn the mode: the umask of a process can't be read without changing it for every thread, and a
    directory may have a default ACL. Raises OSError.
    """
    modes: dict[Path, int] = {}
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            continue
        if file.parent not in modes:
            modes[file.parent] = _ordinary_mode(file.parent)
        if stat.S_IMODE(found.st_mode) != modes[file.parent]:
            file.chmod(modes[file.parent])


def _ordinary_mode(directory: Path) -> int:
    probe = directory / f".mode-{os.getpid()}"
    try:
        probe.touch()
        return stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None when the file is absent or was cut off while being written."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def is_full(error: Exception) -> bool:
    """Whether there is no room left. safetensors wraps the system's error as text."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left" in str(error)


def explain(error: Exception, path: Path, needed: int, free: int) -> str:
    """What a user reads when the run directory could not be written. `needed`, `free`: bytes, 0 = unknown."""
    if is_full(error):
        sizes = f" (needs {_size(needed)}, {_size(free)} free)" if needed else ""
        return (
            f"checkpoint.uri: cannot write {path}: the disk is full{sizes}; free space there, enlarge "
            "the volume or lower checkpoint.keepLast"
        )
    return (
        f"checkpoint.uri: cannot write {path}: {error}; make the directory writable for this user"
    )


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"
