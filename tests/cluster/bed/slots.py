"""Which slots of this machine are taken, and cleaning up after a keeper that was killed.

A keeper holds the lock of its slot for as long as it lives; the kernel gives the lock back when
it dies, however it dies. So a slot with a directory and without a holder is a leftover.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bed import cgroups, system
from bed import layout as ports
from bed.layout import SLOTS, Layout


@dataclass
class Claim:
    """A slot that this process holds until `release` or its death."""

    layout: Layout
    descriptor: int

    def release(self) -> None:
        os.close(self.descriptor)


def claim(root: Path, *, private: bool) -> Claim:
    """Take the first free slot. Raises RuntimeError when there is none."""
    for slot in range(SLOTS):
        layout = Layout(slot, private, root)
        if descriptor := _lock(layout):
            if _is_free(layout):
                return Claim(layout, descriptor)
            _forget(layout)
            os.close(descriptor)
    raise RuntimeError(f"all {SLOTS} slots in {root} are taken: take a cluster down first")


def states(root: Path) -> Iterator[dict[str, Any]]:
    """What the keepers of the running clusters wrote about them."""
    for path in sorted(root.glob("*/state.json")):
        yield json.loads(path.read_text())


def sweep(root: Path) -> list[str]:
    """Remove what dead keepers left; return what could not be removed."""
    left: list[str] = []
    for slot in range(SLOTS):
        layout = Layout(slot, system.has_namespaces(), root)
        if layout.run.exists() and (descriptor := _lock(layout)):
            left += clean(layout)
            os.close(descriptor)
    return left


def clean(layout: Layout) -> list[str]:
    """Remove what outlives the processes of a cluster; return what is left."""
    left: list[str] = []
    if layout.private:
        delete = ["ip", "link", "delete", layout.host_link]
        subprocess.run(delete, capture_output=True, check=False)  # mostly gone with its peer
        left += [str(folder) for folder in cgroups.remove(layout.cgroup)]
        if Path("/sys/class/net", layout.host_link).exists():
            left.append(layout.host_link)
    if layout.run.exists():
        shutil.rmtree(layout.run)
    _forget(layout)
    return left


def _lock(layout: Layout) -> int | None:
    """The descriptor of the slot's lock, or None when another process holds it."""
    path = layout.root / f"{layout.slot}.lock"
    try:
        layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:  # the last holder has removed the folder between our two calls
        return _lock(layout)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
        return descriptor
    os.close(descriptor)  # its last holder has removed the file between our two calls
    return None


def _forget(layout: Layout) -> None:
    """Remove the lock, which the caller holds, and the folder when this was the last in it."""
    (layout.root / f"{layout.slot}.lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        layout.root.rmdir()


def _is_free(layout: Layout) -> bool:
    """Whether no cluster with another TMPDIR, or of another user, has the addresses."""
    if layout.private:
        return not Path("/sys/class/net", layout.host_link).exists()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", layout.port(ports.API))) != 0
