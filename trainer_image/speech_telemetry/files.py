"""Files that others read while they are written. Used by the trainer, and by the operator on one machine."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, whole. Raises OSError.

    No fsync: after a power cut the file may be the old one, or empty.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
