"""How an attempt ended: the exit-code table and the outcome document in the termination log.

The trainer and the supervisor exit with these codes; the operator decides by `ExitMeaning.next`; CLI and
status show the remedy. Codes 16 and 17 are Megatron's, 75 is sysexits' EX_TEMPFAIL, ≥ 128 a signal.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re
from typing import Final

from speech_contract import codec
from speech_contract.preflight import PreflightReport
from speech_contract.progress import Finding


class Next(str, enum.Enum):
    """What follows an exit code."""

    COMPLETE = "Complete"
    RESTART = "Restart"
    RESTART_CONFIRMED = "RestartFromConfirmed"
    RESUME = "Resume"  # saved itself: restart or suspend, never counted
    FAIL = "Fail"


class Cause(str, enum.Enum):
    """Names of exit codes; also the reason of the condition Failed or Restarting."""

    DONE = "Done"
    ERROR = "Error"
    USAGE = "UsageError"
    RESTART_ELSEWHERE = "HardwareFault"
    DO_NOT_CONTINUE = "DoNotContinue"
    NON_FINITE = "NonFiniteBudgetSpent"
    NOT_LEARNING = "NotLearning"
    SKIP_BUDGET = "SkipBudgetSpent"
    DIVERGED = "Diverged"
    STALLED = "Stalled"
    RANK_DISAGREES = "RankDisagrees"
    BAD_CONFIG = "BadConfig"
    BAD_DATA = "BadData"
    INTERNAL = "InternalError"
    INTERRUPTED = "Interrupted"
    ABORTED = "Aborted"
    BUS_ERROR = "BusError"
    SEGFAULT = "SegmentationFault"
    KILLED = "Killed"
    OUT_OF_MEMORY = "OutOfMemory"
    PREFLIGHT = "PreflightFailed"


EXIT_DONE: Final = 0
EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_OTHER_HARDWARE: Final = 16
EXIT_DO_NOT_CONTINUE: Final = 17
EXIT_NON_FINITE: Final = 40
EXIT_NOT_LEARNING: Final = 41
EXIT_SKIP_BUDGET: Final = 42
EXIT_DIVERGED: Final = 43
EXIT_PREFLIGHT: Final = 44
EXIT_STALLED: Final = 45
EXIT_RANK_DISAGREES: Final = 46
EXIT_BAD_CONFIG: Final = 64
EXIT_BAD_DATA: Final = 65
EXIT_INTERNAL: Final = 70
EXIT_INTERRUPTED: Final = 75
EXIT_KILLED: Final = 137


@dataclasses.dataclass(frozen=True)
class ExitMeaning:
    """One row of the table in DESIGN section 3."""

    code: int
    cause: Cause
    meaning: str
    next: Next
    counted: bool
    remedy: str


_ROWS: Final = (
    ExitMeaning(0, Cause.DONE, "done", Next.COMPLETE, False, "nothing to do"),
    ExitMeaning(
        1,
        Cause.ERROR,
        "the training script raised an exception",
        Next.RESTART,
        True,
        "read the last log lines; the same cause `runPolicy.restarts.sameCause` times ends the job",
    ),
    ExitMeaning(
        2,
        Cause.USAGE,
        "the command line was refused",
        Next.FAIL,
        False,
        "correct trainer.command or trainer.args",
    ),
    ExitMeaning(
        16,
        Cause.RESTART_ELSEWHERE,
        "the hardware is not what the job asked for",
        Next.RESTART,
        True,
        "check the node's devices; the node is left out at the next attempt",
    ),
    ExitMeaning(
        17,
        Cause.DO_NOT_CONTINUE,
        "the script asked not to be continued",
        Next.FAIL,
        False,
        "read the last log lines",
    ),
    ExitMeaning(
        40,
        Cause.NON_FINITE,
        "non-finite losses or gradients beyond the budget, or a spike that did not heal",
        Next.RESTART_CONFIRMED,
        True,
        "lower the learning rate or mend the named data window; `speechtrain why` names component "
        "and module, with --replay-batch which module was first",
    ),
    ExitMeaning(
        41,
        Cause.NOT_LEARNING,
        "the run was not learning",
        Next.FAIL,
        False,
        "look for swallowed exceptions, a missing backward() or a detached loss",
    ),
    ExitMeaning(
        42,
        Cause.SKIP_BUDGET,
        "too many samples were skipped",
        Next.FAIL,
        False,
        "mend or remove the files listed in quarantine.jsonl, or raise health.skippedSamples.maxRatio",
    ),
    ExitMeaning(
        43,
        Cause.DIVERGED,
        "training diverged or collapsed",
        Next.FAIL,
        False,
        "lower the learning rate; look at the finding's evidence",
    ),
    ExitMeaning(
        44,
        Cause.PREFLIGHT,
        "a check before the first step failed",
        Next.FAIL,
        False,
        "mend what the message names; `speechtrain preflight FILE` shows the whole table on a laptop",
    ),
    ExitMeaning(
        45,
        Cause.STALLED,
        "no step within the stall limit",
        Next.RESTART,
        True,
        "read the Python stacks in the rank logs; raise health.stall.floorSeconds if steps are "
        "that long",
    ),
    ExitMeaning(
        46,
        Cause.RANK_DISAGREES,
        "one rank disagrees with its peers",
        Next.RESTART,
        True,
        "the named node is left out at the next attempt; test its GPU memory",
    ),
    ExitMeaning(
        64,
        Cause.BAD_CONFIG,
        "the configuration was refused",
        Next.FAIL,
        False,
        "correct the field that the message names",
    ),
    ExitMeaning(
        65,
        Cause.BAD_DATA,
        "the data was refused",
        Next.FAIL,
        False,
        "run `speechtrain data validate` on the manifest",
    ),
    ExitMeaning(
        70,
        Cause.INTERNAL,
        "a fault in speechtrain itself",
        Next.FAIL,
        False,
        "report it with the log of the attempt",
    ),
    ExitMeaning(
        75,
        Cause.INTERRUPTED,
        "interrupted after saving",
        Next.RESUME,
        False,
        "nothing to do: it resumes from its last checkpoint",
    ),
    ExitMeaning(
        130, Cause.KILLED, "interrupted by SIGINT", Next.RESTART, True, "see who sent the signal"
    ),
    ExitMeaning(
        134,
        Cause.ABORTED,
        "aborted (often NCCL or a C++ assertion)",
        Next.RESTART,
        True,
        "read the last log lines; the same cause `runPolicy.restarts.sameCause` times ends the job",
    ),
    ExitMeaning(
        135,
        Cause.BUS_ERROR,
        "bus error (often a full /dev/shm)",
        Next.RESTART,
        True,
        "give the pod more shared memory or use fewer data workers",
    ),
    ExitMeaning(
        137,
        Cause.KILLED,
        "killed by SIGKILL",
        Next.RESTART,
        True,
        "look for memory pressure or for who killed it",
    ),
    ExitMeaning(
        139,
        Cause.SEGFAULT,
        "segmentation fault",
        Next.RESTART,
        True,
        "read the last log lines; the same cause `runPolicy.restarts.sameCause` times ends the job",
    ),
    ExitMeaning(
        143, Cause.KILLED, "ended by SIGTERM", Next.RESTART, True, "see who sent the signal"
    ),
)
EXIT_CODES: Final = {row.code: row for row in _ROWS}


def meaning_of(code: int) -> ExitMeaning:
    """The row of an exit code; unlisted 3–127 read as 1, unlisted ≥ 128 as 139."""
    if code in EXIT_CODES:
        return EXIT_CODES[code]
    row = EXIT_CODES[EXIT_ERROR if code < 128 else 139]
    return dataclasses.replace(row, code=code)


OUTCOME_LIMIT_BYTES: Final = 3500  # the kubelet cuts the termination log at 4096 bytes


@dataclasses.dataclass(frozen=True)
class Outcome:
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
    step: int | None = None  # newest step of the attempt
    resumed_from_step: int | None = None
    last_checkpoint_step: int | None = None
    last_confirmed_step: int | None = None
    component: str = ""  # loss component of the first bad step
    module: str = ""  # module whose gradient was bad
    loss: float | None = None  # the last numbers of the attempt: nobody can ask for them any more
    gradient_norm: float | None = None
    samples_skipped: int | None = None
    non_finite_steps: int | None = None
    verdict: str = ""
    findings: list[Finding] = dataclasses.field(default_factory=list)
    log_tail: str = ""
    rollbacks: int = 0  # of this attempt
    discarded_steps: int = 0  # trained and then left behind by roll-backs or by exit code 40
    preflight: PreflightReport | None = None


def encode(outcome: Outcome) -> str:
    """The outcome as JSON of at most OUTCOME_LIMIT_BYTES bytes: log tail, preflight rows, then findings give way."""
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
    checked = outcome.preflight
    if checked is not None and len(checked.results) > 1:
        fewer = dataclasses.replace(checked, results=checked.results[:-1])
        return dataclasses.replace(outcome, preflight=fewer)
    if outcome.findings:
        return dataclasses.replace(outcome, findings=outcome.findings[:-1])
    if checked is not None and checked.results:
        fewer = dataclasses.replace(checked, results=())
        return dataclasses.replace(outcome, preflight=fewer)
    return dataclasses.replace(outcome, message=outcome.message[: len(outcome.message) // 2])


def decode(text: str) -> Outcome | None:
    """Read a termination log; None when it holds no outcome (a foreign message, a cut text)."""
    try:
        return codec.loads(Outcome, text)
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
    return f"{exit_code}/{rule or '-'}/{digest}"
