"""Which slots of this machine are taken, and cleaning up after a keeper that was killed.

A keeper holds its slot by the name of an abstract Unix socket. That name is one for the whole
machine, whatever TMPDIR and user say, and the kernel gives it back when the keeper dies, however
it dies. So a slot with a directory and without a holder is a leftover.
"""

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bed import cgroups, system
from bed.layout import SLOTS, Layout

_NAME = "speechtrain-bed"


@dataclass
class Claim:
    """A slot that this process holds until `release` or its death."""

    layout: Layout
    holder: socket.socket

    def release(self) -> None:
        self.holder.close()


def claim(root: Path, *, private: bool) -> Claim:
    """Take the first free slot. Raises RuntimeError when there is none."""
    for slot in range(SLOTS):
        if holder := _hold(slot):
            return Claim(Layout(slot, private, root), holder)
    raise RuntimeError(f"all {SLOTS} slots of this machine are taken: take a cluster down first")


def states(root: Path) -> Iterator[dict[str, Any]]:
    """What the keepers of the running clusters wrote about them."""
    for path in sorted(root.glob("*/state.json")):
        yield json.loads(path.read_text())


def sweep(root: Path) -> list[str]:
    """Remove what dead keepers left; return what could not be removed."""
    left: list[str] = []
    for slot in range(SLOTS):
        layout = Layout(slot, system.has_namespaces(), root)
        if layout.run.exists() and (holder := _hold(slot)):
            with holder:
                left += clean(layout)
    return left


def clean(layout: Layout) -> list[str]:
    """Remove what outlives the processes of a cluster; return what is left.

    The caller holds the slot: link and control group belong to nobody else.
    """
    left: list[str] = []
    if layout.private:
        delete = ["ip", "link", "delete", layout.host_link]
        subprocess.run(delete, capture_output=True, check=False)  # mostly gone with its peer
        left += [str(folder) for folder in cgroups.remove(layout.cgroup)]
        if Path("/sys/class/net", layout.host_link).exists():
            left.append(layout.host_link)
    if layout.run.exists():
        shutil.rmtree(layout.run)
    with contextlib.suppress(OSError):
        layout.root.rmdir()  # when this was the last cluster
    return left


def _hold(slot: int) -> socket.socket | None:
    """The socket whose name stands for the slot, or None when another process has it."""
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0{_NAME}-{slot}")
    except OSError:
        holder.close()
        return None
    return holder
