"""The master's judgement: joins all reports, runs `speech_health`, publishes progress and metrics.

Driven by `supervisor` in its main thread; only the board and the exporter are read by other threads.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from speech_contract.events import Event
from speech_contract.exit_codes import EXIT_NON_FINITE
from speech_contract.findings import Finding, FindingStatus, RankRow, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Progress, Rule
from speech_contract.report import Match, Memory, Peers, Reads
from speech_contract.run_config import RunConfig
from speech_contract.wire import Datagram, RankSummary, Summary
from speech_health.hearing import Hearing
from speech_health.monitor import Decision, Monitor
from speech_health.samples import Source, StepSample, from_datagram
from speech_telemetry.board import Board
from speech_telemetry.exporter import Exporter
from speech_telemetry.logs import INFO, WARNING, EventLog
from speech_telemetry.marks import Marks
from speech_telemetry.naming import MOST_NAMES, Names
from speech_telemetry.series import Series
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
        series: Series | None = None,
    ) -> None:
        self.series = series
        self.state = JobState(ranks)
        self.board = board
        recipe = config.recipe
        self.marks = Marks(config, log) if recipe.custom is not None else None
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
        self._unheard: dict[str, float] = {}
        self._names = Names(self._too_many_names)
        self._stated: dict[Rule, Finding] = {}
        self._phase = Phase.RENDEZVOUS
        self._phase_since = wall()

    def start(self) -> None:
        """The ranks start now: every limit counts from here."""
        self._monitor = Monitor(self._config.health, started=self._monotonic(), wall=self._wall)
        if self.series is not None:
            self.series.opens(_opening(self._config))

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
        datagram = self._names.bounded(datagram)
        self.state.take_datagram(datagram, node_rank, now)
        sample = from_datagram(datagram, now)
        self._fresh.append(sample)
        self._hearing.take(sample)
        if datagram.peers is not None:
            self._peers = datagram.peers
        if datagram.rank == self.state.lead:
            self._keep(sample)
        self._judge(sample, leads=datagram.rank == self.state.lead)

    def take_stdout(self, sample: StepSample) -> None:
        """One sample read off a rank's output."""
        sample = self._names.bounded(sample)
        self.state.take_stdout(sample)
        if self.state.source is Source.STDOUT:
            self._keep(sample)
        self._fresh.append(sample)
        self._hearing.take(sample)
        self._judge(sample, leads=self._monitor is not None and not self._monitor.reporter_speaks)

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
            if newest is not None and not _same(self.state.newest.get(rank.rank), newest):
                self.take_datagram(newest, summary.node_rank)
            self.state.take_row(_row(rank, summary.node_rank), now)

    def take_memory(self, node_rank: int, memory: Memory) -> None:
        """A reading of a host's memory."""
        self.state.memory[str(node_rank)] = memory
        if self._monitor is not None:
            self._monitor.observe_memory(self._monotonic(), node_rank, memory)

    def tick(
        self,
        phases: Mapping[int, tuple[int, Phase, float]],
        node_rank: int,
        unheard: Mapping[str, float] | None = None,
    ) -> bool:
        """Look at the clock and the phase records, then publish. True when a new version began.

        `unheard`: seconds of silence of workers that should have spoken, by node rank.
        """
        self._unheard = dict(unheard or {})
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

    def told_back(self, message: str) -> str:
        """Why an attempt ends with exit code 40, and what follows where the script saves by itself."""
        if self.marks is None:
            return message
        self._settle(self.marks, message)
        return f"{message}; {self.marks.told}"

    def publish(self, *, done: bool = False) -> bool:
        """Show the newest state to readers. True when a new version began."""
        if done:
            self._enter(Phase.DONE)
        findings = self.findings
        self._state_changes(findings)
        progress = self.state.progress(self._base(done), findings, self.verdict, self._monotonic())
        if self.marks is not None:
            progress = self.marks.shown(progress)
        fresh, self._fresh = self._fresh, []
        self.exporter.update(progress, *fresh)
        if self.series is not None:
            self.series.flush()
        return self.board.publish(progress)

    def close(self, facts: Mapping[str, Any]) -> None:
        """Keep how the attempt ended beside its numbers."""
        if self.series is not None and self._monitor is not None:
            self.series.ends(facts, self.board.progress)
            self.series.flush()

    def _judge(self, sample: StepSample, *, leads: bool) -> None:
        if self._monitor is None:
            return
        self._monitor.feed(sample)
        if self.marks is not None:
            self.marks.take(sample, self._monitor.non_finite_steps, leads=leads)
            if self.decision is not None and self.decision.exit_code == EXIT_NON_FINITE:
                self._settle(self.marks, self.decision.finding.evidence)

    def _settle(self, marks: Marks, cause: str) -> None:
        """At once, before any rank is ended: whoever is killed from now on is followed by the same."""
        finding = self.decision.finding if self.decision is not None else None
        other = finding is not None and finding.rule is not Rule.NON_FINITE
        marks.go_back(finding.step if finding is not None and other else None, cause)

    def _keep(self, sample: StepSample) -> None:
        if self.series is not None:
            skipped = None if sample.skipped is None else sum(self.state.skips().values())
            self.series.take(sample, skipped)

    def _too_many_names(self, field: str, name: str) -> None:
        self._log.emit(
            Event.NAMES_FOLDED, WARNING, field=field, first=name, kept=MOST_NAMES,
            remedy="give each loss one name for the whole run, and no name of a batch or a recording",
        )  # fmt: skip

    def _base(self, done: bool) -> Progress:
        attempt = self._config.attempt
        return Progress(
            version="",
            attempt=attempt,
            phase=self._phase,
            phase_since=self._phase_since,
            done=done,
            reads=self._reads(),
            unheard=self._unheard,
        )

    def _reads(self) -> Reads | None:
        """How the numbers come, and which of them have lost their names."""
        told, folded = self._hearing.told, self._names.folded
        return dataclasses.replace(told, folded=folded) if told and folded else told

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
            if self.series is not None:
                self.series.finding(finding)
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


def _same(known: Datagram | None, newest: Datagram) -> bool:
    """Whether a summary repeats a report. By its moment: NaN is never equal to itself."""
    return known is not None and (known.step, known.time) == (newest.step, newest.time)


def _state(finding: Finding) -> tuple[object, ...]:
    return finding.status, finding.severity, finding.action


def _opening(config: RunConfig) -> dict[str, Any]:
    """What a reader of the numbers alone must know of the attempt."""
    return {
        "attempt": config.attempt,
        "job": config.name,
        "namespace": config.namespace,
        "recipe": config.recipe.name,
        "ranks": config.world_size,
        "nodes": config.num_nodes,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


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
