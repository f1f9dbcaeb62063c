"""The local ranks as one thing: one selector over the datagram socket, every rank's pipe and the wake-up pipe.

Driven by `supervisor`: `pump` is one round of it. Everything here runs in the main thread but `wake`.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from speech_contract import codec, env, paths
from speech_contract.errors import ContractError
from speech_contract.phases import Phase
from speech_contract.recipes import Copies
from speech_contract.wire import DATAGRAM_LIMIT, Datagram
from speech_telemetry import orphans
from speech_telemetry.output import RankOutput
from speech_telemetry.pod import Pod, rank_environment
from speech_telemetry.processes import Guard, RankProcess, StackTaker, read_phase
from speech_telemetry.reporter import RANK_PLACEHOLDER

HIGHEST_RANK = 65536
_PHASE_SUFFIX = ".phase"


class Tee:
    """Our own stdout. A reader that went away costs the passing through, never the run."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Pass on; after the first failure everything goes to the null device."""
        try:
            self._stream.write(data)
            self._stream.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


def _short_directory() -> Path:
    """A Unix socket's path is at most 107 bytes: run directories, and some TMPDIRs, are too long for it."""
    longest = 80
    base = tempfile.gettempdir()
    where = base if len(os.fsencode(base)) <= longest else "/tmp"  # noqa: S108 - made with mode 700
    return Path(tempfile.mkdtemp(prefix="speechtrain-", dir=where))


class LocalRanks:
    """Starts this pod's ranks and hears them. `malformed` counts datagrams that made no sense."""

    def __init__(
        self,
        pod: Pod,
        through: Callable[[bytes], None],
        on_datagram: Callable[[Datagram], None],
        on_line: Callable[[int, str], None],
    ) -> None:
        self._pod = pod
        self._through = through
        self._on_datagram = on_datagram
        self._on_line = on_line
        self._directory = _short_directory()
        self._selector = selectors.DefaultSelector()
        self._open_socket()
        self._open_waker()
        self.stacks = StackTaker(self._directory)
        self.processes: list[RankProcess] = []
        self.malformed = 0
        self._mark = os.fsencode(f"{env.SOCKET}={self._directory / 'socket'}")
        self._guard: Guard | None = None

    def start(self, environ: Mapping[str, str]) -> None:
        """Start every local rank. Raises OSError when the command can't be run."""
        many = self._pod.copies is Copies.ONE
        self._guard = Guard(self._mark)
        for rank in self._pod.ranks:
            name = RANK_PLACEHOLDER if many else str(rank)
            environment = rank_environment(
                self._pod,
                rank,
                environ,
                self._directory / "socket",
                str(self._directory / f"rank-{name}{_PHASE_SUFFIX}"),
                self.error_file(rank),
            )
            self._start(rank, environment)

    def pump(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for something to hear, and hear it."""
        for key, _ in self._selector.select(max(0.0, timeout)):
            key.data()
        alive = self.alive
        for process in alive:
            process.poll()
        if len(self.alive) < len(alive):
            self._receive()  # what a rank sent just before it ended

    def wake(self) -> None:
        """End the current `pump` early. From any thread or signal handler."""
        try:
            os.write(self.waker, b"\0")
        except (BlockingIOError, OSError):
            return  # it is awake already, or gone

    @property
    def alive(self) -> list[RankProcess]:
        """Ranks that have not ended."""
        return [process for process in self.processes if process.exit_code is None]

    def phases(self) -> dict[int, tuple[int, Phase, float]]:
        """(step, phase, age in seconds) of each rank that stamps its phase."""
        now = time.monotonic()
        found = {}
        for path in self._directory.glob(f"rank-*{_PHASE_SUFFIX}"):
            rank = path.name.removeprefix("rank-").removesuffix(_PHASE_SUFFIX)
            record = read_phase(path, now)
            if record is not None and rank.isdigit():
                found[int(rank)] = record
        return found

    def error_file(self, rank: int) -> Path:
        """Where torch's @record leaves the exception of a rank."""
        return self._directory / f"error-{rank}.json"

    def close(self) -> None:
        """End what is left, of a launcher's ranks too, and take the files away."""
        for process in self.processes:
            process.close()
        if self.processes:
            orphans.end(self._mark)
        if self._guard is not None:
            self._guard.stand_down()
        self._selector.close()
        self._socket.close()
        os.close(self._wake_reader)
        os.close(self.waker)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _start(self, rank: int, environment: dict[str, str]) -> None:
        log = paths.rank_log(self._pod.run_dir, self._pod.config.attempt, rank)
        output = RankOutput(log, self._through, partial(self._on_line, rank))
        process = RankProcess(rank, self._pod.command, environment, output)
        self.processes.append(process)
        self._selector.register(process.pipe, selectors.EVENT_READ, partial(self._read, process))

    def _read(self, process: RankProcess) -> None:
        if not process.read():
            self._selector.unregister(process.pipe)

    def _open_socket(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._directory / "socket"))
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self._receive)

    def _open_waker(self) -> None:
        self._wake_reader, self.waker = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self.waker, False)
        self._selector.register(
            self._wake_reader, selectors.EVENT_READ, lambda: os.read(self._wake_reader, 4096)
        )

    def _receive(self) -> None:
        while True:  # the kernel keeps about ten: take them all
            try:
                data = self._socket.recv(DATAGRAM_LIMIT + 1)
            except BlockingIOError:
                return
            try:
                datagram = codec.loads(Datagram, data)
            except ContractError:
                self.malformed += 1
                continue
            if 0 <= datagram.rank < HIGHEST_RANK:
                self._on_datagram(datagram)
            else:
                self.malformed += 1
