"""The supervisor of node rank 0: hears every rank of the job, judges, and orders all pods to end together."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from speech_contract import paths
from speech_contract.events import Event
from speech_contract.findings import Finding
from speech_contract.outcome import (
    EXIT_BAD_CONFIG,
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_KILLED,
    EXIT_NON_FINITE,
    Outcome,
)
from speech_contract.wire import Datagram, Summary, SummaryReply
from speech_health.monitor import Decision
from speech_telemetry import stacks
from speech_telemetry.handshake import Master
from speech_telemetry.judge import Judge
from speech_telemetry.logs import WARNING, EventLog
from speech_telemetry.outcome import (
    ENDS_WELL,
    EXIT_TERMINATED,
    End,
    cause,
    rank_end,
    rule_of,
    stopped_code,
)
from speech_telemetry.ownership import LOOK_SECONDS
from speech_telemetry.owning import Owning
from speech_telemetry.pod import Pod
from speech_telemetry.printed import LineReader
from speech_telemetry.ranks import Tee
from speech_telemetry.report_process import ReportProcess
from speech_telemetry.series import Series, SeriesFile
from speech_telemetry.supervisor import FAILURE_GRACE, PEER_SECONDS, STACK_SECONDS, Supervisor
from speech_telemetry.told import told_of
from speech_telemetry.work import WorkReader

METRICS_HOLD = 30.0  # seconds that /metrics stays open after a clean end
METRICS_SCRAPES = 2
ORDER_SECONDS = 8.0  # for a worker to hear an order, obey it and say so
GONE_SECONDS = 4.0  # a living worker says something each second
# That the end waits for its report once we were asked to stop: the pod's grace runs out.
REPORT_STOP_SECONDS = 2.0


class MasterSupervisor(Supervisor):
    """Owns the job's truth: `/metrics`, `/progress`, `/join`, `/summary`, the findings and the decision."""

    def __init__(self, pod: Pod, environ: Mapping[str, str], log: EventLog, tee: Tee) -> None:
        super().__init__(pod, environ, log, tee)
        self.series = Series(
            SeriesFile(paths.series_file(pod.run_dir, pod.config.attempt), self._not_kept),
            time.time,
        )
        self.reports = ReportProcess(pod.run_dir, log, time.monotonic, told_of(pod.config))
        self._evaluations = 0
        self.judge = Judge(
            pod.config, pod.expected_ranks, self.board, log, time.monotonic, time.time, self.series
        )
        self.judge.place(pod.node_rank, pod.name, pod.node)
        self.workers = Master(pod.config, self.ranks.wake, time.monotonic)
        self.owner = Owning(pod, environ, log)
        self._readers = {rank: LineReader(rank) for rank in pod.ranks}
        self._work = WorkReader()
        self._stdout_rank: int | None = None
        self._last: dict[int, Summary] = {}
        self.server = self.open_door(self.workers, self.judge.exporter.render)

    def on_datagram(self, datagram: Datagram) -> None:
        """A local rank reported."""
        self.judge.take_datagram(datagram, self.pod.node_rank)

    def on_line(self, rank: int, line: str) -> None:
        """Read a stranger: the first local rank that prints samples speaks for the job."""
        self.judge.hear_line(rank)
        if self.patterns.feed(rank, self.judge.state.step_of(rank), line):
            self.judge.take_matches(self.pod.node_rank, self.patterns.matches)
        sample = self._readers[rank].feed(line, time.monotonic(), time.time())
        if sample is None or self._stdout_rank not in (None, rank):
            return
        self._stdout_rank = rank
        self.judge.take_stdout(sample)

    def own(self) -> End | None:
        """Wait until the run directory is ours; refused when its owner lives."""
        while not self.owner.settled() and not self.stop_requested:
            self.pump_until(lambda: bool(self.stop_requested), LOOK_SECONDS)
        if self.stop_requested:
            return self.interrupted_before_start()
        if self.owner.refusal:
            return End(EXIT_BAD_CONFIG, self.owner.refusal)
        return self._go_on()

    def _go_on(self) -> End | None:
        """Decide what a stranger's script goes on from, before any rank of any pod starts."""
        marks = self.judge.marks
        if marks is not None:
            marks.ours = self.owner.ours
            self.workers.handed = marks.choose()
            if marks.refusal:
                return End(EXIT_NON_FINITE, marks.refusal)
            self.hand(self.workers.handed)
        self.workers.open()
        return None

    def disown(self) -> None:
        """See the base class."""
        self.owner.release()

    def meet(self) -> End | None:
        """Wait until every worker joined."""
        self.judge.publish()
        self.write_outcome()
        limit = self.config.health.stall.startup_seconds
        self.pump_until(lambda: bool(self.stop_requested) or not self.workers.missing(), limit)
        if self.stop_requested:
            return self.interrupted_before_start()
        missing = self.workers.missing()
        return self.missed(f"the supervisors of nodes {missing}") if missing else None

    def started(self) -> None:
        """The limits count from here."""
        self.judge.start()
        self.reports.check()

    def tick(self) -> None:
        """Join what came, judge, publish."""
        for summary in self.workers.take():
            self._hear(summary)
        memory = self.read_memory()
        if memory is not None:
            self.judge.take_memory(self.pod.node_rank, memory)
        if self._stdout_rank is None and self._work.seen(p.pid for p in self.ranks.alive):
            self.judge.see_work()
        self._note_local_ends()
        unheard = self.workers.unheard()
        new_version = self.judge.tick(self.ranks.phases(), self.pod.node_rank, unheard)
        self._note_readiness()
        self._report_evaluations()
        if new_version or self.outcome_is_old():
            self.write_outcome()

    def end(self) -> End | None:
        """A lost run directory, a stop request, then a decision, then a failure, then everyone's end."""
        if self.owner.lost:
            return self.owner.lost
        if self.stop_requested:
            self.owner.stopping()
            return End(EXIT_TERMINATED)
        if self.judge.decision is not None:
            return self._decided(self.judge.decision)
        if self.failures:
            return cause(self.failures)
        codes = self._all_codes()
        if None in codes:
            return None
        return self._finished(stopped_code(codes))

    def carry_out(self, end: End) -> End:
        """End every rank of the job in the way that the reason allows."""
        running = any(code is None for code in self._all_codes()) and bool(self.ranks.processes)
        if self.judge.decision is not None and end.rule:
            end = self._with_stacks(end, self.judge.decision)
            self._order(end.exit_code, FAILURE_GRACE)
            self.end_ranks(FAILURE_GRACE)
        elif self.owner.lost:  # a rank that is asked to end would save over what others read
            self._order(end.exit_code, 0.0)
            self.end_ranks(0.0)
        elif self.stop_requested:
            end = self._stop() if self.ranks.processes else end
        elif running or self.failures:
            end = self._failed(end)
        else:
            self._order(end.exit_code, FAILURE_GRACE)
        if self.ranks.processes:  # else no worker has begun to listen
            self._await_workers(ORDER_SECONDS)
        if self.ranks.processes and end.exit_code == EXIT_NON_FINITE:
            end = dataclasses.replace(end, message=self.judge.told_back(end.message))
        self._show_end(end)
        return end

    def linger(self, end: End) -> None:
        """Have the last report written; hold /metrics open for two more scrapes, if anybody scrapes."""
        self._report_end()
        if end.exit_code != EXIT_DONE or not self.board.scrapes:
            return
        enough = self.board.scrapes + METRICS_SCRAPES
        self.pump_until(
            lambda: bool(self.stop_requested) or self.board.scrapes >= enough, METRICS_HOLD
        )

    def outcome(self, end: End | None) -> Outcome:
        """The master's record speaks for the job."""
        progress = self.board.progress
        return Outcome(
            attempt=self.config.attempt,
            node_rank=self.pod.node_rank,
            phase=progress.phase.value,
            exit_code=end.exit_code if end else None,
            message=end.message if end else "",
            rule=end.rule if end else "",
            rank=end.rank if end else None,
            samples_skipped=sum(progress.samples_skipped.values()),
            verdict=self.judge.verdict.value,
            log_tail=end.log_tail if end else "",
            **{**progress.account, "findings": self.judge.findings},
        )

    def close(self) -> None:
        """Give the port back."""
        self.reports.kill()
        self.series.close()
        self.server.stop()

    def reports_cpu_seconds(self) -> float:
        """See the base class."""
        return self.reports.cpu_seconds

    # ---- the report ----

    def _report_evaluations(self) -> None:
        if self.series.evaluations > self._evaluations:
            self._evaluations = self.series.evaluations
            self.reports.want()
        self.reports.poll()

    def _report_end(self) -> None:
        """Only what is ours to tell: steps were made, in a directory that no other job has."""
        if not self.series.steps or self.owner.refusal or not self.owner.ours():
            return
        self.reports.begin(last=True)
        limit = REPORT_STOP_SECONDS if self.stop_requested else self.reports.patience
        asked = self.stop_requested
        self.pump_until(lambda: not self.reports.poll() or self._in_a_hurry(asked), limit)

    def _not_kept(self, error: str) -> None:
        self.log.emit(Event.REPORT_FAILED, WARNING, error=error)

    # ---- hearing ----

    def _hear(self, summary: Summary) -> None:
        node = summary.node_rank
        for rank in summary.ranks:
            before = self._row_code(rank.rank)
            failed = rank.exit_code is not None and rank.exit_code not in ENDS_WELL
            if failed and before is None and rank.exit_code is not None:
                tail = summary.log_tail
                self.failures.append(rank_end(rank.rank, rank.exit_code, rank.message, tail))
        self.judge.take_summary(summary)
        self._last[node] = summary

    def _row_code(self, rank: int) -> int | None:
        rows = self.judge.state.rows(time.monotonic())
        return next((row.exit_code for row in rows if row.rank == rank), None)

    def _all_codes(self) -> list[int | None]:
        """Exit codes of every process of the job, None while it runs."""
        local: list[int | None] = [process.exit_code for process in self.ranks.processes]
        remote: list[int | None] = []
        for node in range(1, self.config.num_nodes):
            summary = self._last.get(node)
            remote += [rank.exit_code for rank in summary.ranks] if summary else [None]
        return local + remote

    def _note_readiness(self) -> None:
        rows = self.judge.state.rows(time.monotonic())
        local = [row for row in rows if row.node_rank == self.pod.node_rank]
        spoken = self._stdout_rank is not None or all(row.step is not None for row in local)
        self.board.set_ready(bool(local) and spoken)

    # ---- ending ----

    def _decided(self, decision: Decision) -> End:
        finding = decision.finding
        return End(
            decision.exit_code, finding.evidence, finding.rule.value, finding.rank, self._tail_of(finding),
            finding.step,
        )  # fmt: skip

    def _tail_of(self, finding: Finding) -> str:
        processes = self.ranks.processes
        mine = [p for p in processes if p.rank == finding.rank] or processes
        return self.tail(mine[0]) if mine else ""

    def _finished(self, code: int) -> End:
        """Every rank ended well. At exit 0 the rules have the last word."""
        decision = self.judge.finish(code)
        if code == EXIT_DONE and decision is not None:
            return self._decided(decision)
        return End(code)

    def _with_stacks(self, end: End, decision: Decision) -> End:
        """On a stall: every rank's Python stack, and the laggard by name."""
        if not decision.want_stacks:
            return end
        rows = [row for row in self.judge.state.rows(time.monotonic()) if row.exit_code is None]
        self.workers.order(SummaryReply(stacks=True))
        found = self.take_stacks()
        remote = {row.rank for row in rows if row.node_rank != self.pod.node_rank}
        self.pump_until(
            lambda: remote <= set(self.workers.stacks()), STACK_SECONDS if remote else 0
        )
        found.update(self.workers.stacks())
        late = stacks.laggard(rows, found)
        if late is None:
            return end
        text = stacks.describe(late, found.get(late.rank, ""))
        self.judge.note(decision.finding.rule, text)
        tail = found.get(late.rank, "")[-1500:] or end.log_tail
        message = f"{text}; {end.message}"
        return dataclasses.replace(end, rank=late.rank, message=message, log_tail=tail)

    def _stop(self) -> End:
        """SIGTERM came to this pod: all pods save together."""
        self._order(EXIT_TERMINATED, self.config.grace_seconds)
        end = self.stop(self.config.grace_seconds)
        if end.exit_code != EXIT_DONE:
            self.judge.finish(end.exit_code)
            return end
        finished = self._finished(EXIT_DONE)
        return finished if finished.exit_code else end

    def _failed(self, end: End) -> End:
        """A rank failed: peers are blocked in a collective and get little time."""
        self.end_ranks(FAILURE_GRACE, patience=PEER_SECONDS)
        self._order(end.exit_code, FAILURE_GRACE)
        self._hear_all()
        end = cause(self.failures) if self.failures else end
        if end.exit_code == EXIT_ERROR:
            end = self._vanished(end) or end
        self.judge.finish(end.exit_code)
        rule = rule_of(end.exit_code, self.judge.findings)
        if end.exit_code == EXIT_NON_FINITE and not end.message:
            end = dataclasses.replace(end, message="non-finite budget spent")
        return dataclasses.replace(end, rule=rule)

    def _vanished(self, end: End) -> End | None:
        """A rank that lost its peer says only "connection closed": name the pod that fell silent before it."""
        self._await_workers(ORDER_SECONDS)
        for node, summary in self._last.items():
            silence = self.workers.silence(node)
            if summary.final or silence is None or silence <= GONE_SECONDS:
                continue
            rank = summary.ranks[0].rank if summary.ranks else None
            text = f"no word from pod {summary.pod}; then rank {end.rank}: {end.message}"
            return End(EXIT_KILLED, text, "", rank, end.log_tail)
        return None

    def _order(self, code: int, grace: float) -> None:
        self.workers.order(SummaryReply(stop=code, grace_seconds=grace))

    def _await_workers(self, seconds: float) -> None:
        """Until every worker said its last word, or is silent for too long to say one."""

        def settled() -> bool:
            self._hear_all()
            return all(self._settled(node) for node in range(1, self.config.num_nodes))

        self.pump_until(settled, seconds)

    def _settled(self, node: int) -> bool:
        summary, silence = self._last.get(node), self.workers.silence(node)
        return (summary is not None and summary.final) or (silence or 0.0) > GONE_SECONDS

    def _hear_all(self) -> None:
        for summary in self.workers.take():
            self._hear(summary)

    def _show_end(self, end: End) -> None:
        self._note_local_ends()
        self.judge.publish(done=True)
        facts = {
            "exitCode": end.exit_code,
            "rule": end.rule,
            "rank": end.rank,
            "message": end.message,
        }
        self.judge.close(facts)

    def _note_local_ends(self) -> None:
        """A rank that has ended is not waited for, and lags behind nobody."""
        for process in self.ranks.processes:
            if process.exit_code is not None:
                self.judge.state.take_exit(process.rank, self.pod.node_rank, process.exit_code)
