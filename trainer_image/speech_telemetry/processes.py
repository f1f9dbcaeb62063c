"""The rank processes of this pod: start, output, phase record, signals, stacks. Called by `supervisor` alone.

Ranks are started from the main thread: PR_SET_PDEATHSIG follows the *thread* that forked, and it is what ends
the ranks when the supervisor is killed with a signal that nobody can catch.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from speech_contract.phases import PHASES, Phase
from speech_contract.wire import PHASE_RECORD
from speech_telemetry import orphans
from speech_telemetry.output import RankOutput
from speech_telemetry.reporter import STACK_SIGNAL, STACK_SUFFIX

CHUNK = 65536
_PR_SET_PDEATHSIG = 1


def _death_signal() -> Callable[[], None] | None:
    """What the child runs before exec: die with the supervisor. Linux alone knows how."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up here, not between fork and exec
    supervisor = os.getpid()

    def bind_to_supervisor() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != supervisor:  # it died before the line above
            os._exit(137)

    return bind_to_supervisor


class RankProcess:
    """One process of this pod. `exit_code` is the shell's view: 128 + signal for a killed one."""

    def __init__(
        self, rank: int, argv: Sequence[str], environment: dict[str, str], output: RankOutput
    ) -> None:
        self.rank = rank
        self.output = output
        self.exit_code: int | None = None
        self.ended_by_us = False  # it got a signal from us: its code is no cause
        self._process = subprocess.Popen(
            list(argv),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that a rank and its data workers can be ended together
            preexec_fn=_death_signal(),
            bufsize=0,
        )
        assert self._process.stdout is not None
        self.pipe = self._process.stdout
        os.set_blocking(self.pipe.fileno(), False)

    @property
    def pid(self) -> int:
        """Process id, also of its group."""
        return self._process.pid

    def read(self) -> bool:
        """Take what the pipe holds now. False at its end."""
        try:
            chunk = os.read(self.pipe.fileno(), CHUNK)
        except BlockingIOError:
            return True
        self.output.feed(chunk)
        return bool(chunk)

    def poll(self) -> int | None:
        """The exit code once it ended; the last output is read first."""
        if self.exit_code is None:
            code = self._process.poll()
            if code is not None:
                self._drain()
                self.exit_code = code if code >= 0 else 128 - code
        return self.exit_code

    def _drain(self) -> None:
        """Read what is left. Children of the rank may hold the pipe open: its end is not waited for."""
        os.set_blocking(self.pipe.fileno(), False)
        while True:
            try:
                chunk = os.read(self.pipe.fileno(), CHUNK)
            except (BlockingIOError, OSError):
                break
            if not chunk:
                break
            self.output.feed(chunk)
        self.output.flush()

    def terminate(self) -> None:
        """SIGTERM to the rank alone: its data workers must live while it saves."""
        self.ended_by_us = True
        self._signal(signal.SIGTERM)

    def abort(self) -> None:
        """SIGABRT to the whole group: Python prints its stacks and dies (PYTHONFAULTHANDLER)."""
        self.ended_by_us = True
        for pid in descendants(self.pid):  # a launcher's ranks may have groups of their own
            _kill(pid, signal.SIGABRT)
        self._signal_group(signal.SIGABRT)

    def kill(self) -> None:
        """SIGKILL to the group and to what its processes started in groups of their own."""
        self.ended_by_us = True
        for pid in descendants(self.pid):
            _kill(pid, signal.SIGKILL)
        self._signal_group(signal.SIGKILL)

    def close(self) -> None:
        """Give back pipe and log file; reap."""
        self._signal_group(signal.SIGKILL)  # what the rank left behind
        self.pipe.close()
        self.output.close()
        if self.exit_code is None:
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # the group is gone


class Guard:
    """A process that ends what the ranks started, should the supervisor be killed. Not one of our children."""

    def __init__(self, mark: bytes) -> None:
        self._mouth: IO[bytes] | None = None
        if os.getpid() == 1 or not sys.platform.startswith("linux"):
            return  # with process 1 the kernel ends a container's processes by itself
        source = inspect.getsource(orphans)
        starter = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", source, os.fsdecode(mark)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={},
        )  # fmt: skip
        starter.wait()
        self._mouth = starter.stdin

    def stand_down(self) -> None:
        """The ranks have been ended in order."""
        mouth, self._mouth = self._mouth, None
        if mouth is None:
            return
        try:
            with mouth:
                mouth.write(orphans.STAND_DOWN)
        except OSError:
            return  # it is gone


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, from /proc; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def read_phase(path: Path, now: float) -> tuple[int, Phase, float] | None:
    """(step, phase, age in seconds) of a rank's phase record; None when there is none or it makes no sense.

    Zeros lie in it from its making to the first stamp: no stamp is no age, least of all the machine's uptime.
    """
    try:
        data = path.read_bytes()
        step, index, stamped = PHASE_RECORD.unpack(data[: PHASE_RECORD.size])
        if index < 0 or stamped <= 0.0:
            return None
        return step, PHASES[index], max(0.0, now - stamped)
    except (OSError, IndexError, struct.error):
        return None


class StackTaker:
    """Asks registered ranks for their stacks and collects the files they write.

    A file exists only once its process has registered the handler, so nobody is killed by the signal.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes: dict[Path, int] = {}

    def request(self) -> set[int]:
        """Send the signal to every registered process; the ranks that were asked."""
        asked: set[int] = set()
        for path in self._directory.glob(f"rank-*{STACK_SUFFIX}"):
            rank, pid = _rank_and_pid(path)
            self._sizes[path] = path.stat().st_size
            try:
                os.kill(pid, STACK_SIGNAL)
            except (ProcessLookupError, PermissionError):
                continue
            asked.add(rank)
        return asked

    def collect(self) -> dict[int, str]:
        """What has been written since the request, by rank; call again until it is all there."""
        found: dict[int, str] = {}
        for path, start in self._sizes.items():
            with path.open("rb") as stream:
                stream.seek(start)
                text = stream.read().decode("utf-8", "replace")
            if "most recent call first" in text and text.endswith("\n"):
                found[_rank_and_pid(path)[0]] = text
        return found


def _rank_and_pid(path: Path) -> tuple[int, int]:
    rank, pid, _ = path.name.removeprefix("rank-").split(".")
    return int(rank), int(pid)
