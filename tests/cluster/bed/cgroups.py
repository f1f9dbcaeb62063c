"""The control group that holds the pods of one test cluster, in every hierarchy of the machine."""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_GONE_WITHIN_SECONDS = 5.0
_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")  # what kubelet uses on v2


def folders(name: str, root: Path = ROOT) -> list[Path]:
    """Where the group `name` is or would be: one folder on cgroup v2, one per controller on v1."""
    if (root / "cgroup.controllers").exists():
        return [root / name]
    return [
        hierarchy / name
        for hierarchy in sorted(root.iterdir())
        if not hierarchy.is_symlink() and (hierarchy / "cgroup.procs").exists()
    ]


def make(name: str, root: Path = ROOT) -> None:
    """Make the group everywhere; raises OSError where the machine does not let us."""
    if (root / "cgroup.controllers").exists():
        _delegate(root)
    for folder in folders(name, root):
        folder.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):  # on v1 a new group has none of either
            if folder.parent.name == "cpuset":
                (folder / setting).write_text((folder.parent / setting).read_text())


def remove(name: str, root: Path = ROOT) -> list[Path]:
    """Remove the group with all below it; return what is left after a few seconds of trying."""
    deadline = time.monotonic() + _GONE_WITHIN_SECONDS
    while left := [folder for folder in folders(name, root) if folder.exists()]:
        for folder in left:
            _remove_tree(folder)
        if time.monotonic() > deadline:
            return [folder for folder in left if folder.exists()]
        time.sleep(0.01)  # a killed process leaves its group a moment after it is gone
    return []


def _delegate(root: Path) -> None:
    available = (root / "cgroup.controllers").read_text().split()
    wanted = [f"+{controller}" for controller in _CONTROLLERS if controller in available]
    (root / "cgroup.subtree_control").write_text(" ".join(wanted))


def _remove_tree(folder: Path) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        try:
            Path(path).rmdir()
        except OSError:
            continue  # busy: the caller looks again and says what is left
