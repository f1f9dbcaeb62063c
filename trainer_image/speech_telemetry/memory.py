"""What the ranks of this pod hold of the host's memory, and how much is left. Called by `supervisor`.

Read from /proc and from the control groups above this process; elsewhere than on Linux there is nothing to read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from speech_contract.report import Memory

_SESSION = 3  # fields of /proc/<pid>/stat behind the command's name
_CACHES = ("active_file", "inactive_file")  # of a control group: what the kernel gives back


class MemoryReader:
    """`root` is the file system's; tests bring their own."""

    def __init__(self, root: Path = Path("/"), page_size: int | None = None) -> None:
        self._root = root
        self._page = page_size or os.sysconf("SC_PAGE_SIZE")

    def read(self, sessions: Collection[int]) -> Memory | None:
        """Anonymous memory of all processes of these sessions; None where it can't be told."""
        room = min((left for left in self._rooms()), default=None)
        if room is None:
            return None
        used = sum(self._anonymous(pid) for pid in self._members(sessions))
        return Memory(used, max(0, room)) if used else None

    def _members(self, sessions: Collection[int]) -> Iterator[str]:
        wanted = {str(session) for session in sessions}
        for path in (self._root / "proc").iterdir():
            if path.name.isdigit():
                fields = _text(path / "stat").rpartition(")")[2].split()
                if len(fields) > _SESSION and fields[_SESSION] in wanted:
                    yield path.name

    def _anonymous(self, pid: str) -> int:
        """Resident without files: mapped files are given back when memory is short."""
        fields = _text(self._root / "proc" / pid / "statm").split()
        if len(fields) < 3:
            return 0  # it has ended
        return max(0, int(fields[1]) - int(fields[2])) * self._page

    def _rooms(self) -> Iterator[int]:
        """Bytes left on the machine, and below each limit above this process."""
        for line in _text(self._root / "proc" / "meminfo").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
        yield from self._rooms_of_groups()

    def _rooms_of_groups(self) -> Iterator[int]:
        top = self._root / "sys" / "fs" / "cgroup"
        own = _text(self._root / "proc" / "self" / "cgroup").rpartition("0::")[2].strip()
        folder = top / own.strip("/")
        while folder == top or top in folder.parents:
            limit, current = _text(folder / "memory.max"), _text(folder / "memory.current")
            if limit.strip().isdigit() and current.strip().isdigit():
                yield int(limit) - int(current) + self._caches(folder)
            folder = folder.parent

    def _caches(self, folder: Path) -> int:
        rows = (line.split() for line in _text(folder / "memory.stat").splitlines())
        return sum(int(row[1]) for row in rows if len(row) == 2 and row[0] in _CACHES)


def _text(path: Path) -> str:
    """Of a file that may vanish while it is read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
