"""The preflight on two ranks: one table when they agree, and a name when one goes its own way."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speech_contract import env, paths
from speech_contract.preflight import Check, Mark

WORKER = Path(__file__).with_name("preflight_worker.py")
DEADLINE = 180  # seconds; generous, a busy machine is no fault of the code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_ranks(name: str, directory: Path, voice: Path, enough: int) -> dict[int, dict[str, Any]]:
    """Two ranks; ends once `enough` of them have written what they saw."""
    common = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        env.WORLD_SIZE: "2",
        env.MASTER_ADDR: "127.0.0.1",
        env.MASTER_PORT: str(free_port()),
    }
    command = [sys.executable, str(WORKER), name, str(directory), str(voice)]
    log = directory / "ranks.log"
    with log.open("wb") as file:
        processes = [
            subprocess.Popen(command, env={**common, env.RANK: str(r)}, stdout=file, stderr=file)
            for r in range(2)
        ]
    try:
        return _read(directory, name, processes, enough, log)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _read(
    directory: Path, name: str, processes: list[subprocess.Popen[bytes]], enough: int, log: Path
) -> dict[int, dict[str, Any]]:
    end = time.monotonic() + DEADLINE
    while True:
        ended = [rank for rank, process in enumerate(processes) if process.poll() is not None]
        if len(ended) >= enough:
            return {r: json.loads((directory / f"{name}-{r}.json").read_text()) for r in ended}
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.05)


def rows(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "run" / paths.PREFLIGHT).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["results"]
    return found


def test_two_ranks_pass_together(tmp_path: Path, voice: Path) -> None:
    seen = run_ranks("good", tmp_path, voice, 2)
    assert [seen[r]["message"] for r in (0, 1)] == ["", ""]
    assert seen[0]["shown"].startswith("CHECK ")
    assert seen[1]["shown"] == ""  # rank 0 speaks for all
    fields = {row["field"]: row for row in rows(tmp_path) if row["check"] == Check.RANKS.value}
    assert set(fields) == {"configuration", "initial weights", "all-reduce", "pace"}
    assert "GB/s" in fields["all-reduce"]["measured"]
    assert [row for row in rows(tmp_path) if row["mark"] == Mark.FAILED.value] == []


def test_all_ranks_end_with_the_same_cause(tmp_path: Path, voice: Path) -> None:
    seen = run_ranks("dead_modules", tmp_path, voice, 2)
    assert seen[0]["message"] == seen[1]["message"]
    assert seen[0]["message"].startswith(f"{Check.INITIAL_LOSS.value}: generator/kl")


def test_a_rank_that_skips_says_so_although_its_peer_waits_for_it(
    tmp_path: Path, voice: Path
) -> None:
    seen = run_ranks("one_rank_skips", tmp_path, voice, 1)
    assert seen[1]["message"].startswith(f"{Check.INITIAL_LOSS.value}: rank 1: total: 0")
    assert seen[1]["verdict"] == "Failed"
    assert {row["rank"] for row in rows(tmp_path)} == {1}
