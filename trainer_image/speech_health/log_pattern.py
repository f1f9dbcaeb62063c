"""Rule LogPattern: the script printed a line that a person described beforehand.

Nobody but the user knows which sentence of a script means trouble. `PatternReader` runs in the supervisor of every pod,
where the lines are; the detector, in the master's, joins what all pods found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from speech_contract import stated
from speech_contract.actions import OnExceeded
from speech_contract.exit_codes import EXIT_ERROR
from speech_contract.findings import SEVERITY_ORDER, Action, RankRow
from speech_contract.report import Match
from speech_contract.rules import Rule, Severity
from speech_contract.stated import MAX_LINE
from speech_health.detector import Attempt, Detector

QUOTED: Final = 160  # characters of a line in a sentence
COUNTED: Final = 10  # matches that are told one by one; further ones with the next tick


class PatternReader:
    """The ranks of one pod, line by line; what was found so far in `matches`, by the pattern's name."""

    def __init__(self, patterns: Sequence[stated.LogPattern]) -> None:
        self.matches: dict[str, Match] = {}
        self._patterns = [(p.name, re.compile(p.pattern).search) for p in patterns]

    def feed(self, rank: int, step: int | None, line: str) -> bool:
        """Take a line; `step` is where its rank is. True when a pattern found it."""
        found = [name for name, search in self._patterns if search(line, 0, MAX_LINE)]
        for name in found:
            first = self.matches.get(name) or Match(0, line.strip()[:QUOTED], rank, step)
            self.matches[name] = Match(first.count + 1, first.line, first.rank, first.step)
        return bool(found)


class LogPattern(Detector[tuple[stated.LogPattern, ...], None]):
    """One finding for all patterns, the worst first: what a line said stays said."""

    rule = Rule.LOG_PATTERN

    def __init__(self, limits: tuple[stated.LogPattern, ...], attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._found: dict[str, dict[int, Match]] = {}  # name → node rank → what its pod found
        self._untold = False  # a count changed since it was told

    def match(self, host: int, matches: dict[str, Match]) -> None:
        """Take what the pod of node rank `host` found so far."""
        for name, match in matches.items():
            if self._found.setdefault(name, {}).get(host) != match:
                self._found[name][host] = match
                self._untold = True
                if self._count(name) <= COUNTED:
                    self._tell()

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Tell the newest counts."""
        self._tell()

    def finish(self, now: float, exit_code: int) -> None:
        """The last word on the counts."""
        self._tell()

    def _count(self, name: str) -> int:
        return sum(match.count for match in self._found.get(name, {}).values())

    def _tell(self) -> None:
        if not self._untold:
            return
        self._untold = False
        fired = [p for p in self._limits if self._count(p.name) >= p.times]
        if not fired:
            return
        fired.sort(key=lambda pattern: (not _acts(pattern), -SEVERITY_ORDER[pattern.severity]))
        worst, first = fired[0], self._first(fired[0])
        evidence = "; ".join(self._sentence(pattern) for pattern in fired)
        if _acts(worst):
            code = EXIT_ERROR if worst.action is OnExceeded.RESTART else None
            self._exceed(evidence, worst.action, step=first.step, rank=first.rank, code=code)
        else:
            quiet = worst.severity is Severity.INFO
            action = Action.NONE if quiet else Action.WARNED
            severity, step, rank = worst.severity, first.step, first.rank
            self._warn(evidence, severity=severity, action=action, step=step, rank=rank)

    def _first(self, pattern: stated.LogPattern) -> Match:
        found = self._found[pattern.name].values()
        return min(found, key=lambda match: (match.step is not None, match.step or 0))

    def _sentence(self, pattern: stated.LogPattern) -> str:
        count, first = self._count(pattern.name), self._first(pattern)
        at = "before the first step" if first.step is None else f"at step {first.step}"
        lines = "1 line" if count == 1 else f"{count} lines, the first"
        return f"pattern {pattern.name!r}: {lines} of rank {first.rank} {at}: {first.line!r}"


def _acts(pattern: stated.LogPattern) -> bool:
    return pattern.action is not OnExceeded.WARN
