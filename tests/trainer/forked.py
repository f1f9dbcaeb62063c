"""Ranks forked from one interpreter: what their script imports is imported once, not once a rank.

    python forked.py ENDED COUNT SCRIPT WORD ...

Each rank runs SCRIPT as `__main__` with the words and its own RANK; ENDED gets a line with rank and exit code of each.
Started by `ranks.py`; workers that have ranks of several lives call `fork`.
"""

from __future__ import annotations

import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from speech_contract import env


def fork(life: Callable[[], object]) -> int:
    """A child that lives `life` and ends with its exit code, 1 after an exception that it prints; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 0
    try:
        life()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(ended: Path, count: int, script: str) -> None:
    """Import, fork, and write down how each rank ended."""
    runpy.run_path(script, run_name="imported")

    def life(rank: int) -> None:
        os.environ[env.RANK] = str(rank)
        runpy.run_path(script, run_name="__main__")

    ranks = {fork(lambda rank=rank: life(rank)): rank for rank in range(count)}  # type: ignore[misc]
    with ended.open("a", buffering=1) as file:
        while ranks:
            pid, status = os.wait()
            file.write(f"{ranks.pop(pid)} {os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    del sys.argv[0]
    main(Path(sys.argv.pop(0)), int(sys.argv.pop(0)), sys.argv[0])
