"""What every rule shares: one finding that is raised, may heal, and may ask for an end of the attempt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Generic, TypeVar

from speech_contract.exit_codes import EXIT_CODES
from speech_contract.findings import Action, Finding, FindingStatus, RankRow
from speech_contract.report import Match, Memory
from speech_contract.rules import Rule, Severity
from speech_contract.thresholds import HealthMode, OnExceeded
from speech_contract.values import Value, frozen
from speech_health.pace import Pace
from speech_health.samples import Source, StepSample
from speech_health.stretch import Stretch

LimitsT = TypeVar("LimitsT")
StreamT = TypeVar("StreamT")


@frozen
class Attempt(Value):
    """What every rule may know of the attempt that it judges."""

    mode: HealthMode
    wall: Callable[[], float]  # epoch seconds now
    pace: Pace


@frozen
class Decision(Value):
    """What the supervisor must do: end the ranks and exit with `exit_code`."""

    exit_code: int
    finding: Finding
    next: OnExceeded  # STOP or RESTART
    want_stacks: bool = False  # take every rank's Python stack before ending it

    def __post_init__(self) -> None:
        assert self.exit_code in EXIT_CODES, self.exit_code
        assert self.next in (OnExceeded.STOP, OnExceeded.RESTART), self.next


_ACTED = {OnExceeded.STOP: Action.STOPPED, OnExceeded.RESTART: Action.RESTARTED}
_WOULD = {OnExceeded.STOP: Action.WOULD_STOP, OnExceeded.RESTART: Action.WOULD_RESTART}


class Detector(Generic[LimitsT, StreamT]):
    """A rule: its thresholds, and what it keeps of each source and rank.

    Subclasses override what they listen to (`feed`, `observe`, `tick`, `finish`) and call the three verbs below;
    `pass_over` where long logs cost too much without.
    All are built alike, by `Monitor`, from `Rule.record`.
    """

    rule: Rule
    feeds_on: ClassVar[
        tuple[str, ...]
    ] = ()  # fields, one of which a report must carry; (): any report

    def __init__(self, limits: LimitsT, attempt: Attempt) -> None:
        """`limits`: the rule's section of the thresholds."""
        self.finding: Finding | None = None
        self.decision: Decision | None = None
        self._limits = limits
        self._mode = attempt.mode
        self._wall = attempt.wall
        self._pace = attempt.pace
        self._streams: dict[tuple[Source, int], StreamT] = {}  # what is known per source and rank

    def feed(self, sample: StepSample) -> None:
        """Take one report."""

    def pass_over(self, stretch: Stretch) -> bool:
        """Take calm reports at once, to the same effect as `feed` for each. False: it wants them one by one.

        Only where nothing of its own is going on: a finding must not change.
        """
        return False

    def observe(self, now: float, host: int, memory: Memory) -> None:
        """Take a reading of a host's memory; `now` monotonic."""

    def match(self, host: int, matches: dict[str, Match]) -> None:
        """Take what the patterns of `health.logPatterns` found so far in the pod of node rank `host`."""

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Look at the clock (monotonic seconds) and at the ranks."""

    def finish(self, now: float, exit_code: int) -> None:
        """The ranks ended."""

    def forget_stdout(self) -> None:
        """The script's own reporter speaks now: what stdout said is superseded.

        It need not send what the rule feeds on, so nothing else might ever end what stdout had shown.
        """
        superseded = [key for key in self._streams if key[0] is Source.STDOUT]
        for key in superseded:
            del self._streams[key]
        if superseded and self.feeds_on and not self._streams:
            self._heal("the script reports by itself")

    @property
    def active(self) -> bool:
        """The fault is there now."""
        return self.finding is not None and self.finding.status is FindingStatus.ACTIVE

    def _warn(
        self,
        evidence: str,
        *,
        severity: Severity = Severity.WARNING,
        action: Action = Action.WARNED,
        step: int | None = None,
        rank: int | None = None,
        remedy: str = "",
    ) -> Finding:
        """Raise the finding, or sharpen the active one: `since` and the first bad step stay."""
        before = self.finding if self.active else None
        self.finding = Finding(
            rule=self.rule,
            status=FindingStatus.ACTIVE,
            severity=severity,
            evidence=evidence,
            action=action,
            remedy=remedy or self.rule.record.remedy,
            step=step if before is None or before.step is None else before.step,
            rank=rank,
            since=self._wall() if before is None else before.since,
        )
        return self.finding

    def _exceed(
        self,
        evidence: str,
        on_exceeded: OnExceeded,
        *,
        step: int | None = None,
        rank: int | None = None,
        want_stacks: bool = False,
        code: int | None = None,
    ) -> None:
        """The threshold is passed: critical, and a decision unless the user asked for a warning alone.

        `code`: the exit code, where it is not the record's.
        """
        if on_exceeded not in _ACTED:
            self._warn(evidence, step=step, rank=rank)
            return
        notify = self._mode is HealthMode.NOTIFY
        action = (_WOULD if notify else _ACTED)[on_exceeded]
        finding = self._warn(
            evidence, severity=Severity.CRITICAL, action=action, step=step, rank=rank
        )
        if not notify and self.decision is None:
            code = self.rule.record.exit_code if code is None else code
            assert code is not None, f"{self.rule.value} only warns: its record has no exit code"
            self.decision = Decision(code, finding, on_exceeded, want_stacks)

    def _heal(self, how: str) -> None:
        """The fault is gone; the finding stays listed with its step."""
        if self.finding is not None and self.active and self.decision is None:
            self.finding = dataclasses.replace(
                self.finding,
                status=FindingStatus.HEALED,
                evidence=f"{self.finding.evidence}; healed: {how}",
            )
