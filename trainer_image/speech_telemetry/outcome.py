"""How the attempt ends, in one record, and the termination log that keeps it. Called by `supervisor`.

The log is rewritten in place at each change: the kubelet mounts it as one file, which no rename can replace,
and an out-of-memory kill takes the whole container, so that the last record is all that is left.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from speech_contract.findings import Finding, FindingStatus
from speech_contract.outcome import (
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_SIGTERM,
    Outcome,
    encode,
    stand_in,
)
from speech_contract.rules import rules_of

EXIT_TERMINATED = EXIT_SIGTERM
ENDS_WELL = frozenset({EXIT_DONE, EXIT_INTERRUPTED})


@dataclasses.dataclass(frozen=True)
class End:
    """Why the attempt ends. `step` is the finding's, when a rule ended it."""

    exit_code: int
    message: str = ""
    rule: str = ""
    rank: int | None = None
    log_tail: str = ""
    step: int | None = None


def rank_end(rank: int, code: int, error: str, log_tail: str) -> End:
    """The end of a rank that failed: its own code and first error line, or what the code means."""
    message = error or stand_in(rank, code)
    return End(code, message, "", rank, log_tail)


def cause(ends: Iterable[End]) -> End:
    """Of several failures the one that explains the others: the first whose code says more than 1."""
    known = list(ends)
    return next((end for end in known if end.exit_code != EXIT_ERROR), known[0])


def stopped_code(codes: Iterable[int | None]) -> int:
    """The pod's exit code after SIGTERM: 75 when the ranks saved, 143 unless every one of them ended well."""
    known = set(codes)
    if not known <= ENDS_WELL:
        return EXIT_TERMINATED
    return EXIT_DONE if known == {EXIT_DONE} else EXIT_INTERRUPTED


def rule_of(code: int, findings: Iterable[Finding]) -> str:
    """The health rule behind an exit code that a rank chose itself; "" when none was found."""
    rules = rules_of(code)
    own = (rule for rule in rules if rule.record.trainer_ends)
    active = (f.rule for f in findings if f.rule in rules and f.status is FindingStatus.ACTIVE)
    rule = next(own, None) or next(active, None)
    return rule.value if rule is not None else ""


class TerminationLog:
    """The pod's termination log. `error` keeps why it can't be written; nothing is raised."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.error = ""

    def write(self, outcome: Outcome) -> None:
        """Replace the record, in place."""
        if self._path is None:
            return
        data = encode(outcome).encode()
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                # Spaces up to the old end: a reader between write and cut sees a whole record.
                os.write(descriptor, data.ljust(os.fstat(descriptor).st_size))
                os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError as error:
            self.error = str(error)
