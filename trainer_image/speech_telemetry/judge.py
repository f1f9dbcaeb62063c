"""The master's judgement: joins all reports, runs `speech_health`, publishes progress and metrics.

Driven by `supervisor` in its main thread; only the board and the exporter are read by other threads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry

from speech_contract.events import Event
from speech_contract.findings import Finding, FindingStatus, RankRow, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Progress, Rule
from speech_contract.report import Match, Memory, Peers
from speech_contract.run_config import RunConfig
from speech_contract.wire import Datagram, RankSummary, Summary
from speech_health.hearing import Hearing
from speech_health.monitor import Decision, Monitor
from speech_health.samples import StepSample, from_datagram
from speech_telemetry.board import Board
from speech_telemetry.exporter import Exporter
from speech_telemetry.logs import INFO, WARNING, EventLog
from speech_telemetry.state import JobState

MAX_PLACES = 4  # ranks whose pods and nodes stand in one sentence


class Judge:
    """One per attempt, on node rank 0. Clocks: `monotonic` for judging, `wall` (epoch seconds) for showing."""

    def __init__(
        self,
        config: RunConfig,
        ranks: Mapping[int, int],
        board: Board,
        log: EventLog,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self.state = JobState(ranks)
        self.board = board
        recipe = config.recipe
        every = config.checkpoint.every_steps if recipe.custom is None else None
        self.exporter = Exporter(CollectorRegistry(), recipe=recipe.name, checkpoint_every=every)
        self._config = config
        self._log = log
        self._monotonic = monotonic
        self._wall = wall
        self._monitor: Monitor | None = None
        self._notes: dict[Rule, str] = {}
        self._places: dict[int, str] = {}  # node rank → pod and node
        self._peers: Peers | None = None  # the newest comparison
        self._fresh: list[StepSample] = []
        self._hearing = Hearing()
        self._stated: dict[Rule, Finding] = {}
        self._phase = Phase.RENDEZVOUS
        self._phase_since = wall()

    def start(self) -> None:
        """The ranks start now: every limit counts from here."""
        self._monitor = Monitor(self._config.health, started=self._monotonic(), wall=self._wall)

    @property
    def decision(self) -> Decision | None:
        """What health demands; None while nothing must be done."""
        return self._monitor.decision if self._monitor else None

    @property
    def findings(self) -> list[Finding]:
        """The monitor's findings with what the supervisor found out about them."""
        found = self._monitor.findings if self._monitor else []
        return [self._annotated(finding) for finding in found]

    @property
    def verdict(self) -> Verdict:
        """The findings in one word."""
        return self._monitor.verdict if self._monitor else Verdict.UNKNOWN

    def note(self, rule: Rule, text: str) -> None:
        """Add evidence that only the supervisor can see (a Python line) to a rule's finding."""
        self._notes[rule] = text

    def place(self, node_rank: int, pod: str, node: str) -> None:
        """Say where a node rank's pod runs."""
        self._places[node_rank] = f"pod {pod}, node {node}" if node else f"pod {pod}"

    def take_datagram(self, datagram: Datagram, node_rank: int) -> None:
        """One report of one rank."""
        now = self._monotonic()
        self.state.take_datagram(datagram, node_rank, now)
        sample = from_datagram(datagram, now)
        self._fresh.append(sample)
        self._hearing.take(sample)
        if datagram.peers is not None:
            self._peers = datagram.peers
        if self._monitor is not None:
            self._monitor.feed(sample)

    def take_stdout(self, sample: StepSample) -> None:
        """One sample read off a rank's output."""
        self.state.take_stdout(sample)
        self._fresh.append(sample)
        self._hearing.take(sample)
        if self._monitor is not None:
            self._monitor.feed(sample)

    def hear_line(self, rank: int) -> None:
        """A rank printed a line, readable or not."""
        if self._monitor is not None:
            self._monitor.hear_line(self._monotonic(), rank)

    def take_matches(self, node_rank: int, matches: dict[str, Match]) -> None:
        """What the patterns found so far in a pod."""
        if self._monitor is not None and matches:
            self._monitor.observe_matches(node_rank, matches)

    def see_work(self) -> None:
        """The local ranks compute."""
        if self._monitor is not None:
            self._monitor.observe_work(self._monotonic())

    def take_summary(self, summary: Summary) -> None:
        """A worker's ranks, as its supervisor sees them."""
        now = self._monotonic()
        if summary.memory is not None:
            self.take_memory(summary.node_rank, summary.memory)
        self.take_matches(summary.node_rank, summary.matches)
        self.place(summary.node_rank, summary.pod, summary.node)
        for rank in summary.ranks:
            newest = rank.newest
            if newest is not None and self.state.newest.get(rank.rank) != newest:
                self.take_datagram(newest, summary.node_rank)
            self.state.take_row(_row(rank, summary.node_rank), now)

    def take_memory(self, node_rank: int, memory: Memory) -> None:
        """A reading of a host's memory."""
        self.state.memory[str(node_rank)] = memory
        if self._monitor is not None:
            self._monitor.observe_memory(self._monotonic(), node_rank, memory)

    def tick(self, phases: Mapping[int, tuple[int, Phase, float]], node_rank: int) -> bool:
        """Look at the clock and the phase records, then publish. True when a new version began."""
        now = self._monotonic()
        for rank, (step, phase, age) in phases.items():
            self.state.take_phase(rank, node_rank, step, phase, age, now)
        if self._monitor is not None:
            self._monitor.tick(now, self.state.rows(now))
            self._enter(self.state.phase(now))
        return self.publish()

    def finish(self, exit_code: int) -> Decision | None:
        """Every rank ended: judge once more. The decision counts only when they ended well."""
        if self._monitor is not None:
            self._monitor.finish(self._monotonic(), exit_code)
        return self.decision

    def publish(self, *, done: bool = False) -> bool:
        """Show the newest state to readers. True when a new version began."""
        if done:
            self._enter(Phase.DONE)
        findings = self.findings
        self._state_changes(findings)
        progress = self.state.progress(self._base(done), findings, self.verdict, self._monotonic())
        fresh, self._fresh = self._fresh, []
        self.exporter.update(progress, *fresh)
        return self.board.publish(progress)

    def _base(self, done: bool) -> Progress:
        attempt = self._config.attempt
        return Progress(
            version="",
            attempt=attempt,
            phase=self._phase,
            phase_since=self._phase_since,
            done=done,
            reads=self._hearing.told,
        )

    def _enter(self, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._phase_since = phase, self._wall()

    def _annotated(self, finding: Finding) -> Finding:
        notes = [self._notes.get(finding.rule, ""), self._where(finding)]
        return dataclasses.replace(
            finding, evidence="; ".join(filter(None, [finding.evidence, *notes]))
        )

    def _where(self, finding: Finding) -> str:
        """Of ranks that are off: where they run. Without a suspect every one of a few, nobody of many."""
        if finding.rule is not Rule.RANK_DIVERGENCE:
            return ""
        groups = self._peers.groups if self._peers else []
        all_ranks = sorted(rank for group in groups for rank in group)
        unsure = all_ranks if len(groups) > 1 and len(all_ranks) <= MAX_PLACES else []
        ranks = unsure if finding.rank is None else [finding.rank]
        nodes = {row.rank: row.node_rank for row in self.state.rows(self._monotonic())}
        places = [(rank, self._places.get(nodes.get(rank, -1), "")) for rank in ranks]
        return "; ".join(f"rank {rank}: {place}" for rank, place in places if place)

    def _state_changes(self, findings: list[Finding]) -> None:
        """One log event for each finding that is new, healed or acted upon."""
        for finding in findings:
            before = self._stated.get(finding.rule)
            if before is not None and _state(before) == _state(finding):
                continue
            self._stated[finding.rule] = finding
            healed = finding.status is FindingStatus.HEALED
            self._log.emit(
                Event.FINDING_HEALED if healed else Event.FINDING_RAISED,
                INFO if healed else WARNING,
                rule=finding.rule,
                severity=finding.severity,
                action=finding.action,
                step=finding.step,
                evidence=finding.evidence,
                remedy=finding.remedy,
            )


def _state(finding: Finding) -> tuple[object, ...]:
    return finding.status, finding.severity, finding.action


def _row(rank: RankSummary, node_rank: int) -> RankRow:
    return RankRow(
        rank=rank.rank,
        node_rank=node_rank,
        step=rank.step,
        phase=rank.phase,
        phase_age=rank.phase_age,
        registered=rank.registered,
        exit_code=rank.exit_code,
    )
