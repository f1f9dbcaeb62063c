"""The exit-code table: what a code means, what follows, what to do.

The trainer and the supervisor exit with these codes; the operator decides by `ExitMeaning.next`; CLI and
status show the remedy. Codes 16 and 17 are Megatron's, 75 is sysexits' EX_TEMPFAIL, ≥ 128 a signal.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from speech_contract.values import Value, frozen


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
    SUPERSEDED = "Superseded"
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
EXIT_SUPERSEDED: Final = 47
EXIT_BAD_CONFIG: Final = 64
EXIT_BAD_DATA: Final = 65
EXIT_INTERNAL: Final = 70
EXIT_INTERRUPTED: Final = 75
EXIT_SIGINT: Final = 130
EXIT_SIGABRT: Final = 134
EXIT_SIGBUS: Final = 135
EXIT_KILLED: Final = 137
EXIT_SIGSEGV: Final = 139
EXIT_SIGTERM: Final = 143


@frozen
class ExitMeaning(Value):
    """One row of the table."""

    code: int
    cause: Cause
    meaning: str
    next: Next
    counted: bool
    remedy: str


_ROWS: Final = (
    ExitMeaning(EXIT_DONE, Cause.DONE, "done", Next.COMPLETE, False, "nothing to do"),
    ExitMeaning(
        EXIT_ERROR,
        Cause.ERROR,
        "the training script raised an exception",
        Next.RESTART,
        True,
        "read the last log lines; the same cause `runPolicy.restarts.sameCause` times ends the job",
    ),
    ExitMeaning(
        EXIT_USAGE,
        Cause.USAGE,
        "the command line was refused",
        Next.FAIL,
        False,
        "correct trainer.command or trainer.args",
    ),
    ExitMeaning(
        EXIT_OTHER_HARDWARE,
        Cause.RESTART_ELSEWHERE,
        "the hardware is not what the job asked for",
        Next.RESTART,
        True,
        "check the node's devices; the node is left out at the next attempt",
    ),
    ExitMeaning(
        EXIT_DO_NOT_CONTINUE,
        Cause.DO_NOT_CONTINUE,
        "the script asked not to be continued",
        Next.FAIL,
        False,
        "read the last log lines",
    ),
    ExitMeaning(
        EXIT_NON_FINITE,
        Cause.NON_FINITE,
        "non-finite losses or gradients beyond the budget, or a spike that did not heal",
        Next.RESTART_CONFIRMED,
        True,
        "lower the learning rate or mend the named data window; `speechtrain why` names component "
        "and module, with --replay-batch which module was first",
    ),
    ExitMeaning(
        EXIT_NOT_LEARNING,
        Cause.NOT_LEARNING,
        "the run was not learning",
        Next.FAIL,
        False,
        "look for swallowed exceptions, a missing backward() or a detached loss",
    ),
    ExitMeaning(
        EXIT_SKIP_BUDGET,
        Cause.SKIP_BUDGET,
        "too many samples were skipped",
        Next.FAIL,
        False,
        "mend or remove the files listed in quarantine.jsonl, or raise health.skippedSamples.maxRatio",
    ),
    ExitMeaning(
        EXIT_DIVERGED,
        Cause.DIVERGED,
        "training diverged or collapsed",
        Next.FAIL,
        False,
        "lower the learning rate; look at the finding's evidence",
    ),
    ExitMeaning(
        EXIT_PREFLIGHT,
        Cause.PREFLIGHT,
        "a check before the first step failed",
        Next.FAIL,
        False,
        "mend what the message names; `speechtrain preflight FILE` shows the whole table on a laptop",
    ),
    ExitMeaning(
        EXIT_STALLED,
        Cause.STALLED,
        "no step within the stall limit",
        Next.RESTART,
        True,
        "read the Python stacks in the rank logs; raise health.stall.floorSeconds if steps are "
        "that long",
    ),
    ExitMeaning(
        EXIT_RANK_DISAGREES,
        Cause.RANK_DISAGREES,
        "one rank disagrees with its peers",
        Next.RESTART,
        True,
        "the named node is left out at the next attempt; test its GPU memory",
    ),
    ExitMeaning(
        EXIT_SUPERSEDED,
        Cause.SUPERSEDED,
        "a newer attempt has taken over the run directory",
        Next.FAIL,
        False,
        "nothing to do where the operator started that attempt, for this one is judged no more; else end the other "
        "run, or give this job a checkpoint.uri of its own",
    ),
    ExitMeaning(
        EXIT_BAD_CONFIG,
        Cause.BAD_CONFIG,
        "the configuration was refused",
        Next.FAIL,
        False,
        "correct the field that the message names",
    ),
    ExitMeaning(
        EXIT_BAD_DATA,
        Cause.BAD_DATA,
        "the data was refused",
        Next.FAIL,
        False,
        "run `speechtrain data validate` on the manifest",
    ),
    ExitMeaning(
        EXIT_INTERNAL,
        Cause.INTERNAL,
        "a fault in speechtrain itself",
        Next.FAIL,
        False,
        "report it with the log of the attempt",
    ),
    ExitMeaning(
        EXIT_INTERRUPTED,
        Cause.INTERRUPTED,
        "interrupted after saving",
        Next.RESUME,
        False,
        "nothing to do: it resumes from its last checkpoint",
    ),
    ExitMeaning(
        EXIT_SIGINT,
        Cause.KILLED,
        "interrupted by SIGINT",
        Next.RESTART,
        True,
        "see who sent the signal",
    ),
    ExitMeaning(
        EXIT_SIGABRT,
        Cause.ABORTED,
        "aborted (often NCCL or a C++ assertion)",
        Next.RESTART,
        True,
        "read the last log lines; the same cause `runPolicy.restarts.sameCause` times ends the job",
    ),
    ExitMeaning(
        EXIT_SIGBUS,
        Cause.BUS_ERROR,
        "bus error (often a full /dev/shm)",
        Next.RESTART,
        True,
        "give the pod more shared memory or use fewer data workers",
    ),
    ExitMeaning(
        EXIT_KILLED,
        Cause.KILLED,
        "killed by SIGKILL",
        Next.RESTART,
        True,
        "look for memory pressure or for who killed it",
    ),
    ExitMeaning(
        EXIT_SIGSEGV,
        Cause.SEGFAULT,
        "segmentation fault",
        Next.RESTART,
        True,
        "read the last log lines; the same cause `runPolicy.restarts.sameCause` times ends the job",
    ),
    ExitMeaning(
        EXIT_SIGTERM,
        Cause.KILLED,
        "ended by SIGTERM",
        Next.RESTART,
        True,
        "see who sent the signal",
    ),
)
EXIT_CODES: Final = {row.code: row for row in _ROWS}


def meaning_of(code: int) -> ExitMeaning:
    """The row of an exit code; unlisted 3–127 read as 1, unlisted ≥ 128 as 139."""
    if code in EXIT_CODES:
        return EXIT_CODES[code]
    row = EXIT_CODES[EXIT_ERROR if code < 128 else EXIT_SIGSEGV]
    return dataclasses.replace(row, code=code)
