"""The supervisor: parent of this pod's ranks. Starts them together, hears them, ends them, and says how it ended.

Called by `launch`. One main thread runs everything that acts; HTTP and summaries have threads that only carry
messages. `MasterSupervisor` judges the job, `WorkerSupervisor` reports to it; this module holds what they share.
"""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Mapping
from types import FrameType

from speech_contract.events import Event
from speech_contract.outcome import EXIT_BAD_CONFIG, EXIT_INTERRUPTED, EXIT_STALLED, Outcome
from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.report import Memory
from speech_contract.saves import Handed
from speech_contract.wire import Datagram
from speech_health.log_pattern import PatternReader
from speech_telemetry.board import Board
from speech_telemetry.handshake import Master
from speech_telemetry.logs import ERROR, INFO, EventLog
from speech_telemetry.memory import MemoryReader
from speech_telemetry.outcome import ENDS_WELL, End, TerminationLog, rank_end, stopped_code
from speech_telemetry.output import error_file_message
from speech_telemetry.pod import Pod
from speech_telemetry.processes import RankProcess
from speech_telemetry.ranks import LocalRanks, Tee
from speech_telemetry.server import SupervisorServer, open_server

TICK_SECONDS = 0.5
PEER_SECONDS = 2.0  # peers of a failed rank may still fail by themselves, with a better message
FAILURE_GRACE = 5.0
STACK_SECONDS = 5.0
OUTCOME_SECONDS = 5.0
MEMORY_SECONDS = 5.0
TAIL_BYTES = 2000


class Supervisor:
    """What master and worker share. Subclasses say what a report means and when the attempt ends."""

    server: SupervisorServer

    def __init__(self, pod: Pod, environ: Mapping[str, str], log: EventLog, tee: Tee) -> None:
        self.pod = pod
        self.config = pod.config
        self.log = log
        self.board = Board(self.config.attempt)
        self.ranks = LocalRanks(pod, tee.write, self.on_datagram, self.on_line)
        self.patterns = PatternReader(self.config.health.log_patterns)
        self.failures: list[End] = []
        self.stop_requested = 0  # how often we were asked: the second time nothing is waited for
        self._environ: Mapping[str, str] = environ
        self._termination = TerminationLog(pod.termination_log)
        self._written = 0.0
        self._ended: set[int] = set()
        self._memory = MemoryReader()
        self._memory_due = 0.0

    def open_door(
        self, master: Master | None, metrics: Callable[[], bytes] | None
    ) -> SupervisorServer:
        """Serve HTTP from now on. Raises OSError when the port is taken."""
        try:
            server = open_server(self.pod, self.board, master, metrics)
        except OSError:
            self.ranks.close()
            raise
        server.start()
        return server

    # ---- what subclasses say ----

    def on_datagram(self, datagram: Datagram) -> None:
        """A local rank reported."""
        raise NotImplementedError

    def on_line(self, rank: int, line: str) -> None:
        """A local rank printed a line."""
        raise NotImplementedError

    def own(self) -> End | None:
        """Make the run directory ours before anything is written there; an End when it is another's."""
        return None

    def hand(self, handed: Handed) -> None:
        """What the ranks' environment says of the checkpoint to go on from."""
        self._environ = handed.environ(self._environ)

    def disown(self) -> None:
        """The ranks are gone: another job may have the run directory."""

    def meet(self) -> End | None:
        """Wait for the other supervisors; an End when that failed or was interrupted."""
        raise NotImplementedError

    def started(self) -> None:
        """The local ranks were started."""

    def tick(self) -> None:
        """About twice a second."""
        raise NotImplementedError

    def end(self) -> End | None:
        """Whether the attempt ends now, and why."""
        raise NotImplementedError

    def carry_out(self, end: End) -> End:
        """End the local ranks for `end`; the end as it finally is."""
        raise NotImplementedError

    def outcome(self, end: End | None) -> Outcome:
        """The record for the termination log; `end` is None while the attempt runs."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what the subclass opened."""

    # ---- the life of a pod ----

    def run(self) -> int:
        """Live through one attempt. Returns the exit code."""
        previous = self._install_signals()
        try:
            end = self.own() or self.meet() or self._start() or self._live()
            end = self.carry_out(end)
            self.write_outcome(end)
            self._say_end(end)
            self.linger(end)
            return end.exit_code
        finally:
            self._restore_signals(previous)
            self.close()
            self.ranks.close()
            self.disown()

    def linger(self, end: End) -> None:
        """Stay for readers after the end."""

    def reports_cpu_seconds(self) -> float:
        """What reports cost so far, which are no ranks."""
        return 0.0

    def pump_until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Keep hearing the ranks until `condition` holds. False when the time was up first."""
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.ranks.pump(min(left, 0.1))
            self.note_ends()
        return True

    def write_outcome(self, end: End | None = None) -> None:
        """Rewrite the termination log."""
        self._written = time.monotonic()
        self._termination.write(self.outcome(end))

    def outcome_is_old(self) -> bool:
        """Whether the record should be rewritten although nothing but the step changed."""
        return time.monotonic() - self._written >= OUTCOME_SECONDS

    def read_memory(self) -> Memory | None:
        """What the local ranks hold, every MEMORY_SECONDS; None in between and where it can't be told."""
        now = time.monotonic()
        if now < self._memory_due:
            return None
        self._memory_due = now + MEMORY_SECONDS
        return self._memory.read([process.pid for process in self.ranks.alive])

    def note_ends(self) -> None:
        """Log ranks that ended; remember those that failed by themselves."""
        for process in self.ranks.processes:
            code = process.exit_code
            if code is None or process.rank in self._ended:
                continue
            self._ended.add(process.rank)
            failed = code not in ENDS_WELL and not process.ended_by_us
            end = self._rank_end(process, code)
            self.log.emit(
                Event.RANK_ENDED, ERROR if failed else INFO, rank=process.rank, exit_code=code,
                error=end.message if failed else None,
            )  # fmt: skip
            if failed:
                self.failures.append(end)

    def end_ranks(
        self, grace: float, *, patience: float = 0.0, requests: int | None = None
    ) -> None:
        """Give the ranks `patience` seconds to end alone, SIGTERM them, and kill what is left after `grace`.

        Without any grace they are not asked first: they would begin to save. Who asks us once more than `requests`
        times, by default than until now, is in a hurry.
        """
        asked = self.stop_requested if requests is None else requests
        began = time.monotonic()
        if patience:
            self.pump_until(lambda: not self.ranks.alive, patience)
        for process in self.ranks.alive if grace > 0 else ():
            process.terminate()
        left = grace - (time.monotonic() - began)
        self.pump_until(lambda: not self.ranks.alive or self._in_a_hurry(asked), left)
        for process in self.ranks.alive:
            process.kill()
        self.pump_until(lambda: not self.ranks.alive, FAILURE_GRACE)
        self.note_ends()

    def stop(self, grace: float) -> End:
        """SIGTERM: the ranks get `grace` seconds less a margin to save."""
        self.log.emit(Event.STOP_REQUESTED, reason="SIGTERM", grace_seconds=grace)
        self.end_ranks(max(0.5, grace - min(5.0, grace / 10)), requests=1)
        codes = {process.rank: process.exit_code for process in self.ranks.processes}
        code = stopped_code(codes.values())
        told = ", ".join(f"rank {rank}: {ended}" for rank, ended in codes.items())
        return End(code, f"asked to stop (SIGTERM); {told}")

    def interrupted_before_start(self) -> End:
        """Asked to stop while no rank ran: nothing can be lost."""
        return End(EXIT_INTERRUPTED, "asked to stop (SIGTERM) before the ranks started")

    def missed(self, who: str) -> End:
        """The supervisors did not meet in time."""
        seconds = self.config.health.stall.startup_seconds
        return End(EXIT_STALLED, f"waited {seconds} s for {who}", Rule.STALLED.value)

    def take_stacks(self) -> dict[int, str]:
        """Python stacks of the local ranks. Ranks that can't print and live are aborted for it."""
        found: dict[int, str] = {}
        asked = self.ranks.stacks.request()

        def complete() -> bool:
            found.update(self.ranks.stacks.collect())
            return asked <= set(found)

        self.pump_until(complete, STACK_SECONDS)
        found.update(self._abort([p for p in self.ranks.alive if p.rank not in found]))
        self.log.emit(Event.STACKS_TAKEN, ranks=sorted(found))
        return found

    def _abort(self, processes: list[RankProcess]) -> dict[int, str]:
        for process in processes:
            process.output.captured = []
            process.abort()
        self.pump_until(lambda: all(p.exit_code is not None for p in processes), STACK_SECONDS)
        texts = {p.rank: "\n".join(p.output.captured or []) for p in processes}
        return {rank: text for rank, text in texts.items() if "most recent call first" in text}

    def tail(self, process: RankProcess) -> str:
        """The last lines that a rank printed."""
        return "\n".join(process.output.tail)[-TAIL_BYTES:]

    def _rank_end(self, process: RankProcess, code: int) -> End:
        error = error_file_message(self.ranks.error_file(process.rank)) or process.output.error
        return rank_end(process.rank, code, error, self.tail(process))

    def _start(self) -> End | None:
        try:
            self.ranks.start(self._environ)
        except OSError as error:
            command = self.pod.command[0]
            text = (
                f"trainer.command: {command!r} can't be run ({error.strerror}); correct the command"
            )
            return End(EXIT_BAD_CONFIG, text)
        self.log.emit(Event.RANKS_STARTED, ranks=list(self.pod.ranks), command=self.pod.command)
        self.started()
        return None

    def _live(self) -> End:
        due = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + TICK_SECONDS
                self.tick()
            self.note_ends()
            end = self.end()
            if end is not None:
                return end
            self.ranks.pump(due - time.monotonic())

    def _say_end(self, end: End) -> None:
        ranks = _cpu_of_ended_children() - self.reports_cpu_seconds()
        self.log.emit(
            Event.SUPERVISOR_STOPPED, INFO if end.exit_code in ENDS_WELL else ERROR,
            exit_code=end.exit_code, rule=end.rule or None, rank=end.rank, error=end.message or None,
            cpu_seconds=round(time.process_time(), 3), ranks_cpu_seconds=round(ranks, 3),
        )  # fmt: skip

    def _in_a_hurry(self, asked: int) -> bool:
        return self.stop_requested > max(1, asked)

    def _install_signals(self) -> dict[int, object]:
        previous: dict[int, object] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, self._on_signal)
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.ranks.waker, warn_on_full_buffer=False)
        return previous

    def _restore_signals(self, previous: dict[int, object]) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested += 1


def _cpu_of_ended_children() -> float:
    """CPU seconds of the children that were waited for: the local ranks and what they started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def phase_of_local(ranks: LocalRanks) -> Phase:
    """Where this pod is: its first rank's phase."""
    phases = ranks.phases()
    return phases[min(phases)][1] if phases else Phase.STARTING
