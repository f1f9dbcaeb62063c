"""The preflight on two ranks: one table when they agree, and a name when one goes its own way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ranks import Started

from speech_contract import paths
from speech_contract.preflight import Check, Mark

WORKER = Path(__file__).with_name("preflight_worker.py")


def take(name: str, directory: Path, voice: Path, enough: int = 2) -> dict[int, dict[str, Any]]:
    """Two ranks; ends once `enough` of them have written what they saw."""
    started = Started(2, WORKER, name, directory, voice, log=directory / "ranks.log")
    try:
        ended = started.wait(enough)
    finally:
        started.end()
    return {r: json.loads((directory / f"{name}-{r}.json").read_text()) for r in ended}


def rows(directory: Path) -> list[dict[str, Any]]:
    text = (directory / "run" / paths.PREFLIGHT).read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["results"]
    return found


def test_two_ranks_pass_together(tmp_path: Path, voice: Path) -> None:
    seen = take("good", tmp_path, voice)
    assert [seen[r]["message"] for r in (0, 1)] == ["", ""]
    assert seen[0]["shown"].startswith("CHECK ")
    assert seen[1]["shown"] == ""  # rank 0 speaks for all
    fields = {row["field"]: row for row in rows(tmp_path) if row["check"] == Check.RANKS.value}
    assert set(fields) == {"configuration", "initial weights", "all-reduce", "pace"}
    assert "GB/s" in fields["all-reduce"]["measured"]
    assert [row for row in rows(tmp_path) if row["mark"] == Mark.FAILED.value] == []


def test_all_ranks_end_with_the_same_cause(tmp_path: Path, voice: Path) -> None:
    seen = take("dead_modules", tmp_path, voice)
    assert seen[0]["message"] == seen[1]["message"]
    assert seen[0]["message"].startswith(f"{Check.INITIAL_LOSS.value}: generator/kl")


def test_a_rank_that_skips_says_so_although_its_peer_waits_for_it(
    tmp_path: Path, voice: Path
) -> None:
    seen = take("one_rank_skips", tmp_path, voice, enough=1)
    assert seen[1]["message"].startswith(f"{Check.INITIAL_LOSS.value}: rank 1: total: 0")
    assert seen[1]["verdict"] == "Failed"
    assert {row["rank"] for row in rows(tmp_path)} == {1}
