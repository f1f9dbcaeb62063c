"""Python stacks as faulthandler prints them: read, shortened, and the laggard of a hang named. Pure.

Called by `supervisor` on a stall. A stack is text; only the thread that runs the training matters here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from speech_contract.findings import RankRow

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]*)", line (?P<line>\d+) in (?P<name>.+?)\s*$')
_THREAD = re.compile(r"^(Current thread|Thread) ")
_LIBRARY = re.compile(r"site-packages|dist-packages|/lib/python\d|^<frozen|speech_telemetry/")
_COLLECTIVE = re.compile(r"torch/distributed/|horovod|mpi4py")
_WAITING = re.compile(r"torch/autograd/|torch/cuda/|in synchronize|in backward|in item")
STACK_LIMIT = 4000  # characters of a stack that travel to the master


@dataclasses.dataclass(frozen=True)
class Frame:
    """One line of a stack, innermost first."""

    file: str
    line: int
    name: str

    @property
    def is_library(self) -> bool:
        """Whether the code is Python's, a package's or ours rather than the user's."""
        return bool(_LIBRARY.search(self.file))


def training_thread(text: str) -> list[Frame]:
    """The frames of the thread that trains: the one that ends in the script's module level.

    faulthandler prints the main thread last; a thread that took the signal is marked "Current".
    """
    threads: list[list[Frame]] = []
    for line in text.splitlines():
        if _THREAD.match(line):
            threads.append([])
        elif threads and (match := _FRAME.match(line)):
            threads[-1].append(Frame(match["file"], int(match["line"]), match["name"]))
    threads = [thread for thread in threads if thread]
    outermost = [thread for thread in threads if thread[-1].name == "<module>"]
    return outermost[-1] if outermost else threads[-1] if threads else []


def python_line(text: str) -> str:
    """`train.py:42 in all_reduce`: the user's innermost line and the innermost function; "" without a stack."""
    frames = training_thread(text)
    if not frames:
        return ""
    own = next((frame for frame in frames if not frame.is_library), frames[0])
    return f"{own.file.rpartition('/')[2]}:{own.line} in {frames[0].name}"


def describe(row: RankRow, text: str) -> str:
    """`rank 1 in phase Training at train.py:42 in all_reduce`."""
    where = python_line(text)
    return f"rank {row.rank} in phase {row.phase.value}" + (f" at {where}" if where else "")


def laggard(rows: Sequence[RankRow], stacks: Mapping[int, str]) -> RankRow | None:
    """The rank that the others wait for: lowest step, then the one not inside a collective, then the one
    that stamped its phase longest ago."""
    candidates = [row for row in rows if row.exit_code is None]
    if not candidates:
        return None
    return min(candidates, key=lambda row: _order(row, stacks.get(row.rank, "")))


def _order(row: RankRow, text: str) -> tuple[int, int, float, int]:
    # Only the innermost frame tells: a hook of the user's that hangs has backward() below it, too.
    inmost = "".join(f"{frame.file} in {frame.name}" for frame in training_thread(text)[:1])
    waits = 2 if _COLLECTIVE.search(inmost) else 1 if _WAITING.search(inmost) else 0
    return (-1 if row.step is None else row.step, waits, -row.phase_age, row.rank)
