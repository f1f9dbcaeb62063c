"""Files that others read while they are written. Used by the trainer, and by the operator on one machine."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, whole. Raises OSError.

    No fsync: after a power cut the file may be the old one, or empty.
    """
    beside = unfinished(path, os.getpid())
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def unfinished(path: Path, pid: int) -> Path:
    """Where process `pid` writes what becomes `path`; left behind when it is killed meanwhile."""
    return path.with_name(f".{path.name}.{pid}.new")


def create_text(path: Path, text: str) -> None:
    """Write a new file, durable when this returns. Raises FileExistsError when somebody was first, OSError."""
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a directory, would outlast a power cut. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
