"""Ranks of a worker script, forked from one interpreter: what the script imports is imported once, not once a rank.

    python ranks.py ENDED COUNT SCRIPT WORD ...

Each rank runs SCRIPT as `__main__` with the words and its own RANK. Tests start them by `Started` and `run_ranks`.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speech_contract import env

DEADLINE = 300  # seconds; generous, a busy machine is no fault of the code


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Started:
    """Ranks of `script` that meet at a port of loopback. `end` them in any case."""

    def __init__(self, count: int, script: Path, *words: object, log: Path) -> None:
        self.count, self._log, self._ended = count, log, log.with_suffix(".ended")
        command = [sys.executable, __file__, self._ended, str(count), script, *map(str, words)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            env.WORLD_SIZE: str(count),
            env.MASTER_ADDR: "127.0.0.1",
            env.MASTER_PORT: str(free_port()),
        }
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, env=environment, stdout=file, stderr=file, start_new_session=True
            )

    @property
    def codes(self) -> dict[int, int]:
        """Exit codes of the ranks that have ended."""
        text = self._ended.read_text() if self._ended.exists() else ""
        whole = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
        return {int(rank): int(code) for rank, code in map(str.split, whole)}

    def wait(self, enough: int) -> dict[int, int]:
        """Until so many have ended."""
        end = time.monotonic() + DEADLINE
        while len(codes := self.codes) < enough:
            gone = self._process.poll() is not None and len(self.codes) < enough
            assert not gone, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.05)
        return codes

    @property
    def said(self) -> str:
        """The end of what they printed."""
        return self._log.read_text(errors="replace")[-4000:]

    def end(self) -> None:
        """Those that still run too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def run_ranks(
    script: Path, mode: str, directory: Path, count: int = 2, *words: object
) -> list[dict[str, Any]]:
    """Run the worker on `count` ranks and return what each of them wrote to `DIRECTORY/MODE-<rank>.json`."""
    started = Started(count, script, mode, directory, *words, log=directory / f"{mode}.log")
    try:
        codes = started.wait(count)
    finally:
        started.end()
    assert set(codes.values()) == {0}, (codes, started.said)
    return [json.loads((directory / f"{mode}-{r}.json").read_text()) for r in range(count)]


def _fork(life: Callable[[], object]) -> int:
    """A child that lives `life`; its process id."""
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

    ranks = {_fork(lambda rank=rank: life(rank)): rank for rank in range(count)}  # type: ignore[misc]
    with ended.open("a", buffering=1) as file:
        while ranks:
            pid, status = os.wait()
            file.write(f"{ranks.pop(pid)} {os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    del sys.argv[0]
    main(Path(sys.argv.pop(0)), int(sys.argv.pop(0)), sys.argv[0])
