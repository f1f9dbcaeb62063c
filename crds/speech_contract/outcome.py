"""How an attempt ended: the outcome document in the termination log, read with the exit-code table.

Written by the supervisor, read by the operator and the CLI. The table (`exit_codes`) is passed on from here: who
reads an outcome needs both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Final

from speech_contract import codec
from speech_contract.exit_codes import (
    EXIT_BAD_CONFIG,
    EXIT_BAD_DATA,
    EXIT_CODES,
    EXIT_DIVERGED,
    EXIT_DO_NOT_CONTINUE,
    EXIT_DONE,
    EXIT_ERROR,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_KILLED,
    EXIT_NON_FINITE,
    EXIT_NOT_LEARNING,
    EXIT_OTHER_HARDWARE,
    EXIT_PREFLIGHT,
    EXIT_RANK_DISAGREES,
    EXIT_SIGABRT,
    EXIT_SIGBUS,
    EXIT_SIGINT,
    EXIT_SIGSEGV,
    EXIT_SIGTERM,
    EXIT_SKIP_BUDGET,
    EXIT_STALLED,
    EXIT_SUPERSEDED,
    EXIT_USAGE,
    Cause,
    ExitMeaning,
    Next,
    meaning_of,
)
from speech_contract.progress import Account
from speech_contract.values import frozen

__all__ = [
    "EXIT_BAD_CONFIG",
    "EXIT_BAD_DATA",
    "EXIT_CODES",
    "EXIT_DIVERGED",
    "EXIT_DONE",
    "EXIT_DO_NOT_CONTINUE",
    "EXIT_ERROR",
    "EXIT_INTERNAL",
    "EXIT_INTERRUPTED",
    "EXIT_KILLED",
    "EXIT_NON_FINITE",
    "EXIT_NOT_LEARNING",
    "EXIT_OTHER_HARDWARE",
    "EXIT_PREFLIGHT",
    "EXIT_RANK_DISAGREES",
    "EXIT_SIGABRT",
    "EXIT_SIGBUS",
    "EXIT_SIGINT",
    "EXIT_SIGSEGV",
    "EXIT_SIGTERM",
    "EXIT_SKIP_BUDGET",
    "EXIT_STALLED",
    "EXIT_SUPERSEDED",
    "EXIT_USAGE",
    "OUTCOME_LIMIT_BYTES",
    "Cause",
    "ExitMeaning",
    "Next",
    "Outcome",
    "decode",
    "encode",
    "fingerprint",
    "fingerprint_head",
    "meaning_of",
]

OUTCOME_LIMIT_BYTES: Final = 3500  # the kubelet cuts the termination log at 4096 bytes


@frozen
class Outcome(Account):
    """What a pod says of its attempt; rewritten at each phase or verdict change, last at the end.

    `exit_code` is None while the attempt runs: a container killed with its supervisor leaves such a record.
    """

    attempt: int
    node_rank: int
    phase: str
    exit_code: int | None = None
    message: str = ""  # first error line, or why it ended, as a sentence
    rule: str = ""  # the health rule that ended it
    rank: int | None = None  # global rank that failed first
    samples_skipped: int | None = None
    verdict: str = ""
    log_tail: str = ""


def encode(outcome: Outcome) -> str:
    """The outcome as JSON of at most OUTCOME_LIMIT_BYTES bytes.

    What gives way, in this order: log tail, names of samples, preflight rows, findings, the message's end.
    """
    text = codec.dumps(outcome)
    while len(text.encode()) > OUTCOME_LIMIT_BYTES:
        outcome = _smaller(outcome)
        text = codec.dumps(outcome)
    return text


def _smaller(outcome: Outcome) -> Outcome:
    if len(outcome.log_tail) > 40:
        return dataclasses.replace(
            outcome, log_tail="…" + outcome.log_tail[len(outcome.log_tail) // 3 :]
        )
    if outcome.log_tail:
        return dataclasses.replace(outcome, log_tail="")
    bad, checked = outcome.first_bad, outcome.preflight
    if bad is not None and bad.samples:
        return dataclasses.replace(
            outcome, first_bad=dataclasses.replace(bad, samples=bad.samples[:-1])
        )
    if checked is not None and len(checked.results) > 1:
        fewer = dataclasses.replace(checked, results=checked.results[:-1])
        return dataclasses.replace(outcome, preflight=fewer)
    if outcome.findings:
        return dataclasses.replace(outcome, findings=outcome.findings[:-1])
    if checked is not None and checked.results:
        fewer = dataclasses.replace(checked, results=())
        return dataclasses.replace(outcome, preflight=fewer)
    if bad is not None and not outcome.message:
        return dataclasses.replace(outcome, first_bad=None)
    return dataclasses.replace(outcome, message=outcome.message[: len(outcome.message) // 2])


def decode(text: str) -> Outcome | None:
    """Read a termination log; None when it holds no outcome (a foreign message, a cut text).

    What a trainer of another version says beside is passed over.
    """
    try:
        return codec.loads(Outcome, text, reading=codec.Reading.NEWER)
    except ValueError:
        return None


_STAND_IN: Final = re.compile(r"^rank \d+ ended with \d+: ")


def stand_in(rank: int, code: int) -> str:
    """What is said of a rank that left no error: the meaning of its code."""
    return f"rank {rank} ended with {code}: {meaning_of(code).meaning}"


def fingerprint(exit_code: int, rule: str, message: str) -> str:
    """Cause of an attempt: exit code, rule and first error line, digits and hex replaced by `#`.

    "" when a stand-in is all that is known of it: two unknown errors are not the same one.
    """
    if not rule and meaning_of(exit_code).cause is Cause.ERROR and _STAND_IN.match(message):
        return ""
    lines = message.strip().splitlines()
    line = re.sub(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|\d+", "#", lines[0] if lines else "")
    digest = hashlib.sha256(line.encode()).hexdigest()[:8]
    return f"{fingerprint_head(exit_code, rule)}{digest}"


def fingerprint_head(exit_code: int, rule: str) -> str:
    """What the fingerprints of all causes of this code and rule begin with."""
    return f"{exit_code}/{rule or '-'}/"
