"""Memory, CPU and open files by what the kernel counts. Used by operator_load.py, accept_scale.py, accept_soak.py."""

from __future__ import annotations

import os
from pathlib import Path


def memory(pid: int) -> dict[str, float]:
    """MiB of a process by the kernel's names."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    rows = (line.split() for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {row[0].rstrip(":"): round(int(row[1]) / 1024, 1) for row in rows}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def machine_seconds() -> float:
    """CPU time of everything on this machine so far: user, nice, system, interrupts (proc_stat(5))."""
    user, nice, system, _, _, irq, soft, *_ = (
        Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return sum(map(int, (user, nice, system, irq, soft))) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> int:
    """File descriptors of a process: files, sockets, pipes."""
    return len(os.listdir(f"/proc/{pid}/fd"))
