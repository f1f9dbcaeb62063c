"""Ranks of a worker script for the tests that need several: `Started`, and `run_ranks` where all are waited for."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speech_contract import env
from speech_operator.cluster.local import free_ports

FORKED = Path(__file__).with_name("forked.py")
DEADLINE = 300  # seconds; generous, a busy machine is no fault of the code


class Started:
    """Ranks of `script` that meet at a port of loopback. `end` them in any case."""

    def __init__(self, count: int, script: Path, *words: object, log: Path) -> None:
        self._log, self._ended = log, log.with_suffix(".ended")
        command = [sys.executable, FORKED, self._ended, str(count), script, *map(str, words)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            env.WORLD_SIZE: str(count),
            env.MASTER_ADDR: "127.0.0.1",
            env.MASTER_PORT: str(*free_ports(1)),
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
