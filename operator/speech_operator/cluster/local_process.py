"""Processes that outlive their parent: started behind a gate, known by pid and start time. Called by `local`.

The gate: the process waits for one line on its standard input before it becomes the command. Its record is
written in between, so a parent that dies at any moment leaves either no process or one that is on record.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from speech_contract.values import Value, frozen

SHELL = "/bin/sh"
GATE = 'cd "$1" && shift && read -r go && exec "$@" </dev/null'
_START_TICKS = 19  # fields of /proc/<pid>/stat after the command's name: state is 0, starttime 19


@frozen
class Gated(Value):
    """A process that waits at its gate."""

    pid: int
    start_ticks: int
    gate: int  # file descriptor

    def open_gate(self) -> None:
        """Let it become its command."""
        with contextlib.suppress(BrokenPipeError):  # it died at the gate: seen as any other death
            os.write(self.gate, b"go\n")
        os.close(self.gate)


def start(command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path) -> Gated:
    """Start `command` in a session of its own, output to `log`. Raises OSError when there is no shell."""
    read_end, write_end = os.pipe()
    actions = [
        (os.POSIX_SPAWN_DUP2, read_end, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    arguments = [SHELL, "-c", GATE, SHELL, str(folder), *command]
    try:
        pid = os.posix_spawn(SHELL, arguments, dict(environ), file_actions=actions, setsid=True)
    except OSError:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return Gated(pid, start_ticks(pid) or 0, write_end)


def start_ticks(pid: int) -> int | None:
    """When the process started, in ticks since boot; None when there is none."""
    fields = _stat(pid)
    return int(fields[_START_TICKS]) if fields else None


def alive(pid: int, ticks: int) -> bool:
    """Whether exactly this process still runs; a zombie does not."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX" and int(fields[_START_TICKS]) == ticks


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def reap(pid: int) -> int | None:
    """The exit code of an ended child of ours (128 + n for a signal); None for anybody else's process."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if found == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def terminate(pid: int, ticks: int) -> None:
    """Ask exactly this process to stop."""
    if alive(pid, ticks):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(pid: int, ticks: int) -> None:
    """Kill exactly this process and what is left of its group; its ranks die with it."""
    if alive(pid, ticks):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
