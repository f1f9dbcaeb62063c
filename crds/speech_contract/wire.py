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
from speech_contract.preflight import PreflightReport

PHASE_RECORD: Final = struct.Struct(
    "=qqd"
)  # step, index into PHASES, time.monotonic() of the stamp
DATAGRAM_LIMIT: Final = 8192  # bytes; larger ones are refused by the reporter, with a count
TOKEN_HEADER: Final = "X-Speechtrain-Token"  # noqa: S105 - a header's name
PROGRESS_LIMIT_BYTES: Final = 256 * 1024
PATH_METRICS: Final = "/metrics"
PATH_PROGRESS: Final = "/progress"
PATH_HEALTHZ: Final = "/healthz"
PATH_READYZ: Final = "/readyz"
PATH_JOIN: Final = "/join"
PATH_SUMMARY: Final = "/summary"


@dataclasses.dataclass(frozen=True)
class Datagram:
    """One report of one rank. Counters are cumulative, so a dropped datagram loses no NaN.

    `bad_*` describe the newest non-finite step that the rank knows of (flags are read one step late).
    """

    rank: int
    step: int  # batches taken; goes back at a roll-back
    time: float  # time.time()
    phase: Phase = Phase.TRAINING
    updates: int | None = None  # committed optimizer steps
    steps_total: int | None = None  # never goes back
    total_steps: int | None = None  # where the run wants to go
    non_finite_steps: int | None = None
    bad_step: int | None = None
    bad_component: str = ""
    bad_module: str = ""
    rollbacks: int | None = None
    discarded_steps: int | None = None
    samples_total: int | None = None
    audio_seconds_total: float | None = None
    step_seconds: float | None = None
    data_wait_seconds: float | None = None  # cumulative
    skipped: dict[str, int] | None = None  # cumulative, by reason
    losses: dict[str, float] | None = (
        None  # `total` or `loss` is the headline; others are components
    )
    gradient_norm: float | None = None
    learning_rate: float | None = None
    missing_gradients: list[str] | None = (
        None  # trainable, active modules without gradient this step
    )
    active_from: dict[str, int] | None = None  # part (`group` of `group/name`) → its first step
    evaluation: dict[str, float] | None = None
    last_checkpoint_step: int | None = None
    last_confirmed_step: int | None = None
    resumed_from_step: int | None = None
    gated: bool = False  # the engine acts on NonFinite itself (our recipes)
    message: str = ""  # one line worth keeping: a roll-back, a save
    device: str = ""
    dropped: int = 0  # datagrams this reporter could not send
    preflight: PreflightReport | None = None  # repeated, bounded, from its end on


@dataclasses.dataclass(frozen=True)
class RankSummary:
    """One rank as a worker's supervisor reports it."""

    rank: int
    step: int | None
    phase: Phase
    phase_age: float  # seconds
    registered: bool
    exit_code: int | None = None
    message: str = ""  # first error line when it failed
    newest: Datagram | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a worker's supervisor sends to the master's each second, and at once when a rank ends."""

    node_rank: int
    attempt: int
    pod: str
    node: str
    ranks: list[RankSummary]
    log_tail: str = ""
    stacks: dict[str, str] = dataclasses.field(default_factory=dict)  # rank → Python stack
    final: bool = False


@dataclasses.dataclass(frozen=True)
class SummaryReply:
    """The master's orders to a worker's supervisor."""

    stacks: bool = False  # take every rank's Python stack and send it
    stop: int | None = None  # end the ranks and exit with this code
    grace_seconds: float = 5.0
