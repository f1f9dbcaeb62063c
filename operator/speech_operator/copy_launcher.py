"""`python -m speech_operator.copy_launcher TARGET`: what the init container of a foreign image's pod runs.

The operator's image carries the launcher; the target is an emptyDir that the training container mounts as well.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path("/launcher")  # filled by operator/Dockerfile


def copy(source: Path, target: Path) -> None:
    """Copy what lies in `source` into `target`, which exists. Raises OSError."""
    for entry in source.iterdir():
        # the entries alone: the mode of the mount's root is not ours to change
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, dirs_exist_ok=True)
        else:
            shutil.copy(entry, target / entry.name)


if __name__ == "__main__":
    copy(SOURCE, Path(sys.argv[1]))
