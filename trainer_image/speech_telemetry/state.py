"""What the master knows of the attempt, joined from every report: rank rows, and the progress document. Pure.

Fed by `supervisor` with datagrams, stdout samples and worker summaries; every clock comes in as an argument.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from speech_contract.findings import Finding, RankRow, Verdict
from speech_contract.losses import headline
from speech_contract.phases import STARTUP, Phase
from speech_contract.preflight import PreflightReport
from speech_contract.progress import Progress
from speech_contract.report import BadStep, Memory, Report
from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample

SPEED_WINDOW = 60.0  # seconds over which speeds are taken
_REPORTED = tuple(field.name for field in dataclasses.fields(Report))


@dataclasses.dataclass
class _Rank:
    row: RankRow
    seen: float  # monotonic time at which `row.phase_age` was true


class JobState:
    """All ranks of the job as far as this supervisor hears of them."""

    def __init__(self, ranks: Mapping[int, int]) -> None:
        """`ranks`: global rank → node rank of every process that is expected."""
        self._ranks = {r: _Rank(RankRow(r, node), 0.0) for r, node in ranks.items()}
        self._lead: int | None = None
        self._merged: dict[str, Any] = {}
        self._skipped: dict[int, dict[str, int]] = {}
        self._history: collections.deque[tuple[float, int, float, float]] = collections.deque()
        self.source: Source | None = None
        self.step: int | None = None
        self.updated_at = 0.0
        self.stdout_non_finite = 0
        self._first_bad: BadStep | None = None
        self._bad_turn: int | None = None
        self.newest: dict[int, Datagram] = {}
        self.memory: dict[str, Memory] = {}
        self.preflight: PreflightReport | None = None

    def take_datagram(self, datagram: Datagram, node_rank: int, now: float) -> None:
        """A rank's report, local or out of a worker's summary."""
        rank = datagram.rank
        entry = self._entry(rank, node_rank)
        step = _counted(datagram.step, datagram.phase, entry.row.step)
        entry.row = dataclasses.replace(
            entry.row, step=step, phase=datagram.phase, phase_age=0.0, registered=True
        )
        entry.seen = now
        self.newest[rank] = datagram
        if datagram.skipped:
            self._skipped[rank] = datagram.skipped
        if datagram.preflight is not None and not (self.preflight and self.preflight.failed):
            self.preflight = datagram.preflight  # any rank's failure is the job's
        if self._lead is None or rank < self._lead or self.source is not Source.REPORTER:
            self._lead = rank
        self.source = Source.REPORTER
        self._take_bad(datagram)
        if rank == self._lead:
            self._merge(datagram, now)

    def take_stdout(self, sample: StepSample) -> None:
        """A sample that was read from a rank's output; ignored where the rank reports by itself."""
        entry = self._entry(sample.rank, 0)
        if entry.row.registered:
            return
        entry.row = dataclasses.replace(
            entry.row, step=sample.step, phase=Phase.TRAINING, phase_age=0.0
        )
        entry.seen = sample.now
        if self.source is Source.REPORTER:
            return
        self.source = Source.STDOUT
        if (sample.bad_loss is not None or sample.bad_gradient) and sample.turn != self._bad_turn:
            self._bad_turn = sample.turn  # a redraw is no second one
            self.stdout_non_finite += 1
        self._merge(sample, sample.now)

    def take_phase(
        self, rank: int, node_rank: int, step: int, phase: Phase, age: float, now: float
    ) -> None:
        """A rank's phase record."""
        entry = self._entry(rank, node_rank)
        counted = _counted(step, phase, entry.row.step)
        entry.row = dataclasses.replace(
            entry.row, step=counted, phase=phase, phase_age=age, registered=True
        )
        entry.seen = now

    def take_row(self, row: RankRow, now: float) -> None:
        """A rank as a worker's supervisor sees it."""
        entry = self._entry(row.rank, row.node_rank)
        entry.row, entry.seen = row, now

    def take_exit(self, rank: int, node_rank: int, code: int) -> None:
        """A rank ended."""
        entry = self._entry(rank, node_rank)
        entry.row = dataclasses.replace(entry.row, exit_code=code)

    def rows(self, now: float) -> list[RankRow]:
        """Every rank, with the age of its phase as of `now`."""
        return [self._aged(entry, now) for _, entry in sorted(self._ranks.items())]

    def step_of(self, rank: int) -> int | None:
        """Where a rank is; None before its first step."""
        entry = self._ranks.get(rank)
        return None if entry is None else entry.row.step

    def running(self) -> bool:
        """Every rank reported a step, or the output showed one."""
        return self.source is Source.STDOUT or all(
            entry.row.step is not None for entry in self._ranks.values()
        )

    def _take_bad(self, datagram: Datagram) -> None:
        """The first bad step as the leading rank tells it, with the samples of the rank that had it."""
        told, known = _first_bad(datagram, self._first_bad), self._first_bad
        if told is None:
            return
        same = known is None or known.step == told.step
        if same and (known is None or told.samples):
            self._first_bad = told
        elif not same and datagram.rank == self._lead:
            self._first_bad = told

    @property
    def lead(self) -> int | None:
        """The rank that speaks for the job; None before the first report."""
        return self._lead

    def get(self, name: str) -> Any:
        """The last reported value of a Datagram field, over all reports of the leading rank."""
        return self._merged.get(name)

    def phase(self, now: float) -> Phase:
        """Where the attempt is: where its leading rank is."""
        rows = self.rows(now)
        if not rows:
            return Phase.STARTING
        lead = next((row for row in rows if row.rank == self._lead), rows[0])
        return lead.phase

    def progress(
        self, base: Progress, findings: list[Finding], verdict: Verdict, now: float
    ) -> Progress:
        """`base` (version, attempt, phase, done) with everything that the reports said."""
        losses = self.get("losses") or {}
        speeds = self._speeds()
        return dataclasses.replace(
            base,
            running=self.running(),
            source=self.source.value if self.source else "",
            step=self.step,
            total_steps=self.get("total_steps"),
            loss=losses.get(headline(losses)),
            losses=losses,
            gradient_norm=self.get("gradient_norm"),
            learning_rate=self.get("learning_rate"),
            step_seconds=self.get("step_seconds") or speeds.get("step_seconds"),
            audio_seconds_per_second=speeds.get("audio"),
            data_wait_ratio=speeds.get("wait"),
            eta_seconds=self._eta(speeds),
            samples_skipped=self.skips(),
            non_finite_steps=self.get("non_finite_steps") or self.stdout_non_finite,
            updates=self.get("updates") or 0,
            rollbacks=self.get("rollbacks") or 0,
            discarded_steps=self.get("discarded_steps") or 0,
            checkpoint_seconds=self.get("checkpoint_seconds"),
            resumed_from_step=self.get("resumed_from_step"),
            resume_note=self.get("resume_note") or "",
            last_checkpoint_step=self.get("last_checkpoint_step"),
            last_confirmed_step=self.get("last_confirmed_step"),
            first_bad=self._first_bad,
            evaluation=self.get("evaluation") or {},
            device=self.get("device") or "",
            verdict=verdict,
            findings=findings,
            ranks=self.rows(now),
            updated_at=self.updated_at,
            weights=self.get("weights"),
            codebooks=self.get("codebooks") or {},
            memory=dict(self.memory),
            preflight=self.preflight,
        )  # fmt: skip

    def _entry(self, rank: int, node_rank: int) -> _Rank:
        return self._ranks.setdefault(rank, _Rank(RankRow(rank, node_rank), 0.0))

    def _aged(self, entry: _Rank, now: float) -> RankRow:
        age = entry.row.phase_age + max(0.0, now - entry.seen) if entry.seen else 0.0
        return dataclasses.replace(entry.row, phase_age=round(age, 3))

    def _merge(self, report: Datagram | StepSample, now: float) -> None:
        for name in _REPORTED:
            value = getattr(report, name)
            if value is not None and value != "":
                self._merged[name] = value
        if isinstance(report, Datagram) and report.gated:
            # Our engine says it in every report: none is confirmed any more once it is quarantined.
            self._merged["last_confirmed_step"] = report.last_confirmed_step
        self.updated_at = report.time
        if _counted(report.step, report.phase, self.step) is not None:
            self.step = report.step
            self._pace(now)

    def _pace(self, now: float) -> None:
        assert self.step is not None
        audio = float(self.get("audio_seconds_total") or 0.0)
        wait = float(self.get("data_wait_seconds") or 0.0)
        if self._history and self._history[-1][1] > self.step:
            self._history.clear()  # rolled back
        self._history.append((now, self.step, audio, wait))
        while now - self._history[0][0] > SPEED_WINDOW and len(self._history) > 2:
            self._history.popleft()

    def _speeds(self) -> dict[str, float]:
        if len(self._history) < 2:
            return {}
        (t0, s0, a0, w0), (t1, s1, a1, w1) = self._history[0], self._history[-1]
        if t1 <= t0 or s1 <= s0:
            return {}
        speeds = {"step_seconds": (t1 - t0) / (s1 - s0)}
        if a1:
            speeds["audio"] = max(0.0, a1 - a0) / (t1 - t0)
        if self.get("data_wait_seconds") is not None:
            speeds["wait"] = min(1.0, max(0.0, w1 - w0) / (t1 - t0))
        return speeds

    def _eta(self, speeds: Mapping[str, float]) -> float | None:
        total, seconds = self.get("total_steps"), speeds.get("step_seconds")
        if total is None or seconds is None or self.step is None:
            return None
        return float(max(0, total - self.step) * seconds)

    def skips(self) -> dict[str, int]:
        """Samples that were skipped so far, of all ranks, by reason."""
        counts: collections.Counter[str] = collections.Counter()
        for skipped in self._skipped.values():
            counts.update(skipped)
        return dict(counts)


def _first_bad(datagram: Datagram, known: BadStep | None) -> BadStep | None:
    """Of a script that tells of its newest bad step alone, the first such report counts."""
    newest = (datagram.bad_step, datagram.bad_component or None, datagram.bad_module or None)
    if datagram.first_bad is not None or known is not None or newest == (None, None, None):
        return datagram.first_bad
    step = datagram.step if datagram.bad_step is None else datagram.bad_step
    return BadStep(step, datagram.bad_component, datagram.bad_module)


def _counted(step: int, phase: Phase, before: int | None) -> int | None:
    """The step of a row. A stamp before the first step carries 0, which is no step yet."""
    if before is None and (phase in STARTUP or (step == 0 and phase is not Phase.TRAINING)):
        return None
    return step
