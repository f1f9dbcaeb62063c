"""The supervisor of a worker pod: reports its ranks to the master's supervisor and does what that one orders.

It judges nothing. A master that has not answered for LOST_SECONDS is gone: the ranks can't go on without rank 0,
so the pod ends with 137, as if it had been killed with its master.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from speech_contract import wire
from speech_contract.outcome import EXIT_KILLED, Outcome
from speech_contract.phases import Phase
from speech_contract.report import Memory
from speech_contract.wire import Datagram, RankSummary, Summary, SummaryReply
from speech_telemetry.handshake import (
    LOST_SECONDS,
    RETRY_FIRST,
    RETRY_LONGEST,
    Join,
    JoinReply,
    Link,
    LinkError,
    SummarySender,
)  # fmt: skip
from speech_telemetry.logs import EventLog
from speech_telemetry.outcome import EXIT_TERMINATED, End, cause, stopped_code
from speech_telemetry.pod import Pod, address
from speech_telemetry.printed import LineReader
from speech_telemetry.processes import RankProcess
from speech_telemetry.ranks import Tee
from speech_telemetry.state import JobState
from speech_telemetry.supervisor import FAILURE_GRACE, PEER_SECONDS, Supervisor, phase_of_local

FLUSH_SECONDS = 5.0


class WorkerSupervisor(Supervisor):
    """One per pod but the first."""

    def __init__(self, pod: Pod, environ: Mapping[str, str], log: EventLog, tee: Tee) -> None:
        super().__init__(pod, environ, log, tee)
        self.state = JobState(dict.fromkeys(pod.ranks, pod.node_rank))
        self._readers = {rank: LineReader(rank) for rank in pod.ranks}
        host, port = address(pod.config.supervisor_addresses[0])
        self._link = Link(host, port, pod.config.token)
        self.sender = SummarySender(self._link, self._on_reply)
        self._order: SummaryReply = SummaryReply()
        self._stacks: dict[str, str] = {}
        self._stacks_taken = False
        self._newest_memory: Memory | None = None
        self.server = self.open_door(None, None)

    def on_datagram(self, datagram: Datagram) -> None:
        """A local rank reported."""
        self.state.take_datagram(datagram, self.pod.node_rank, time.monotonic())

    def on_line(self, rank: int, line: str) -> None:
        """Only readiness and the user's own patterns are read from a worker's output."""
        self.patterns.feed(rank, self.state.step_of(rank), line)
        sample = self._readers[rank].feed(line, time.monotonic(), time.time())
        if sample is not None:
            self.state.take_stdout(sample)

    def meet(self) -> End | None:
        """Ask the master until all are there; names are resolved anew at each try."""
        self.write_outcome()
        deadline = time.monotonic() + self.config.health.stall.startup_seconds
        config, pause, refusal = self.config, RETRY_FIRST, ""
        join = Join(self.pod.node_rank, config.attempt, config.world_size, self.pod.name)
        while time.monotonic() < deadline:
            try:
                reply = self._link.post(wire.PATH_JOIN, join, JoinReply)
                if reply.ready:
                    if config.recipe.custom is not None:
                        self.hand(reply.handed)
                    return None
                pause, refusal = RETRY_FIRST, "the master waits for other workers"
            except LinkError as error:
                pause, refusal = min(RETRY_LONGEST, pause * 1.5), str(error)
            self.pump_until(lambda: bool(self.stop_requested), pause * random.uniform(0.8, 1.2))
            if self.stop_requested:
                return self.interrupted_before_start()
        return self.missed(f"the master's supervisor ({refusal})")

    def started(self) -> None:
        """Report from now on."""
        self.sender.offer(self._summary())
        self.sender.start()

    def tick(self) -> None:
        """Refresh the summary; take stacks when the master asks for them."""
        self._look_at_phases()
        self._newest_memory = self.read_memory() or self._newest_memory
        if self._order.stacks and not self._stacks_taken:
            self._stacks_taken = True
            self._stacks = {str(rank): text for rank, text in self.take_stacks().items()}
            self.sender.flush(self._summary(), FLUSH_SECONDS)
        self.sender.offer(self._summary())
        self.board.set_ready(self.state.running())
        if self.outcome_is_old():
            self.write_outcome()

    def end(self) -> End | None:
        """Stop request, then the master's order, then a local failure, the end, or a lost master."""
        if self.stop_requested:
            return End(EXIT_TERMINATED)
        if self._order.stop is not None:
            return End(self._order.stop, "the master's supervisor ended the attempt")
        if self._own_failures():
            return cause(self.failures)
        codes = [process.exit_code for process in self.ranks.processes]
        if None not in codes and not self._stacks_taken:  # aborted ones wait for the order
            return End(stopped_code(codes))
        if self.sender.silence > LOST_SECONDS:
            text = f"no answer from the master's supervisor for {LOST_SECONDS:.0f} s"
            return End(EXIT_KILLED, f"{text} ({self.sender.last_error})")
        return None

    def carry_out(self, end: End) -> End:
        """End the local ranks, and tell the master how it went."""
        if not self.ranks.processes:
            return end
        order = self._order.stop
        if self.stop_requested or order == EXIT_TERMINATED:
            grace = self._order.grace_seconds if order else self.config.grace_seconds
            end = self.stop(grace)
        elif order is not None:
            self.end_ranks(self._order.grace_seconds)
        elif self._own_failures():
            end = self._failed()
        elif end.exit_code == EXIT_KILLED:
            self.end_ranks(FAILURE_GRACE)
        self.sender.flush(self._summary(final=True), FLUSH_SECONDS)
        self.sender.stop()
        return end

    def outcome(self, end: End | None) -> Outcome:
        """What this pod alone knows."""
        return Outcome(
            attempt=self.config.attempt,
            node_rank=self.pod.node_rank,
            phase=phase_of_local(self.ranks).value if end is None else Phase.DONE.value,
            exit_code=end.exit_code if end else None,
            message=end.message if end else "",
            rank=end.rank if end else None,
            step=self.state.step,
            last_checkpoint_step=self.state.get("last_checkpoint_step"),
            last_confirmed_step=self.state.get("last_confirmed_step"),
            log_tail=end.log_tail if end else "",
        )

    def close(self) -> None:
        """Give the port back."""
        self.sender.stop()
        self.server.stop()

    def _on_reply(self, reply: SummaryReply) -> None:
        """In the sender's thread."""
        self._order = reply
        if reply.stop is not None or reply.stacks:
            self.ranks.wake()

    def _own_failures(self) -> bool:
        """Ranks that failed by themselves; those we aborted for their stacks did not."""
        return bool(self.failures)

    def _failed(self) -> End:
        """Tell the master at once, then end the peers; our own code stays."""
        self.sender.flush(self._summary(), FLUSH_SECONDS)
        self.end_ranks(FAILURE_GRACE, patience=PEER_SECONDS)
        return cause(self.failures)

    def _look_at_phases(self) -> None:
        now = time.monotonic()
        for rank, (step, phase, age) in self.ranks.phases().items():
            self.state.take_phase(rank, self.pod.node_rank, step, phase, age, now)

    def _summary(self, *, final: bool = False) -> Summary:
        codes = {process.rank: process for process in self.ranks.processes}
        rows = self.state.rows(time.monotonic())
        first_failed = next((p for p in codes.values() if self._failed_alone(p)), None)
        return Summary(
            node_rank=self.pod.node_rank,
            attempt=self.config.attempt,
            pod=self.pod.name,
            node=self.pod.node,
            ranks=[
                RankSummary(
                    rank=row.rank,
                    step=row.step,
                    phase=row.phase,
                    phase_age=row.phase_age,
                    registered=row.registered,
                    exit_code=self._code(codes.get(row.rank)),
                    message=self._message(codes.get(row.rank)),
                    newest=self.state.newest.get(row.rank),
                )
                for row in rows
            ],
            log_tail=self.tail(first_failed) if first_failed else "",
            stacks=self._stacks,
            final=final,
            memory=self._newest_memory,
            matches=dict(self.patterns.matches),
        )

    def _code(self, process: RankProcess | None) -> int | None:
        """What the master shall know: a rank that we ended for our own reasons has not failed."""
        if process is None:  # one of several ranks below one command
            process = self.ranks.processes[0] if self.ranks.processes else None
        return process.exit_code if process else None

    def _message(self, process: RankProcess | None) -> str:
        if process is None or not self._failed_alone(process):
            return ""
        return next((end.message for end in self.failures if end.rank == process.rank), "")

    def _failed_alone(self, process: RankProcess) -> bool:
        return any(end.rank == process.rank for end in self.failures)
