"""What ranks, supervisors and the operator say to each other, byte by byte.

rank → supervisor     one Unix datagram per step (`Datagram`), and a mmap of the current phase (PHASE_RECORD)
supervisor → master   POST /join once, POST /summary each second (`Summary` → `SummaryReply`), token in a header
operator → master     GET /progress?since=<version>&wait=<seconds>
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Final

from speech_contract.phases import Phase
from speech_contract.report import Match, Memory, Report
from speech_contract.values import Value, frozen

# Step, index into PHASES, time.monotonic() of the stamp.
PHASE_RECORD: Final = struct.Struct("=qqd")
DATAGRAM_LIMIT: Final = 8192  # bytes; larger ones are refused by the reporter, with a count
TOKEN_HEADER: Final = "X-Speechtrain-Token"  # noqa: S105 - a header's name
PROGRESS_LIMIT_BYTES: Final = 256 * 1024
PATH_METRICS: Final = "/metrics"
PATH_PROGRESS: Final = "/progress"
PATH_HEALTHZ: Final = "/healthz"
PATH_READYZ: Final = "/readyz"
PATH_JOIN: Final = "/join"
PATH_SUMMARY: Final = "/summary"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)  # as a `Report` is
class Datagram(Report):
    """A report as a rank sends it."""

    rank: int
    step: int  # batches taken; goes back at a roll-back
    time: float  # time.time()
    phase: Phase = Phase.TRAINING


@frozen
class RankSummary(Value):
    """One rank as a worker's supervisor reports it."""

    rank: int
    step: int | None
    phase: Phase
    phase_age: float  # seconds
    registered: bool
    exit_code: int | None = None
    message: str = ""  # first error line when it failed
    newest: Datagram | None = None


@frozen
class Summary(Value):
    """What a worker's supervisor sends to the master's each second, and at once when a rank ends."""

    node_rank: int
    attempt: int
    pod: str
    node: str
    ranks: list[RankSummary]
    log_tail: str = ""
    stacks: dict[str, str] = dataclasses.field(default_factory=dict)  # rank → Python stack
    final: bool = False
    memory: Memory | None = None
    matches: dict[str, Match] = dataclasses.field(default_factory=dict)  # by the pattern's name


@frozen
class SummaryReply(Value):
    """The master's orders to a worker's supervisor."""

    stacks: bool = False  # take every rank's Python stack and send it
    stop: int | None = None  # end the ranks and exit with this code
    grace_seconds: float = 5.0
