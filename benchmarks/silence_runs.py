"""The zoo of silences with fresh seeds: every stop named by its limit, nobody else accused. Used by accept_health.py.

accept_health.py puts tests/zoo on the path.
"""

from __future__ import annotations

from typing import Any

from judging import Heard, listen
from record import Row
from shares import score, score_rows, spread
from silences import LATE, PATIENCE, STOPS, unfold
from trivial import TIMERS, timer_cries, timer_misses


def measure(number: int, seed: int) -> dict[str, Any]:
    """Listen to `number` fresh attempts in which a rank stops, or only takes its time."""
    kinds = [*STOPS, *PATIENCE]
    heard: dict[str, list[Heard]] = {kind: [] for kind in kinds}
    for index in range(number):
        kind = kinds[index % len(kinds)]
        heard[kind].append(listen(kind, unfold(kind, seed * 1_000_003 + index)))
    every = [one for those in heard.values() for one in those]
    stops = [one for one in every if one.attempt.stopped is not None]
    lost, cried = sum(one.missed for one in stops), sum(bool(one.early) for one in every)
    return {
        "attempts": len(every),
        "stops": len(stops),
        **score(lost, len(stops), cried, len(every)),
        "lateSecondsAllowed": LATE,
        "trivial": [
            {
                "seconds": seconds,
                "missed": sum(timer_misses(one.attempt, seconds) for one in stops),
                "falseAlarms": sum(timer_cries(one.attempt, seconds) for one in every),
            }
            for seconds in TIMERS
        ],
        "rows": [row(kind, those) for kind, those in heard.items()],
    }


def row(kind: str, heard: list[Heard]) -> dict[str, Any]:
    """One kind of attempt."""
    told = (STOPS | PATIENCE)[kind].__doc__ or ""
    entry: dict[str, Any] = {
        "kind": kind,
        "what": told.splitlines()[0],
        "n": len(heard),
        "falseAlarms": sum(bool(one.early) for one in heard),
    }
    if kind in STOPS:
        named = [one.late + one.attempt.limit for one in heard if one.late is not None]
        entry |= {
            "missed": sum(one.missed for one in heard),
            "limitSeconds": spread([round(one.attempt.limit) for one in heard]),
            "seconds": spread([round(value) for value in named]),
        }
    return entry


def table(result: dict[str, Any]) -> list[Row]:
    """Every stop named by its limit, nobody else accused."""
    names = (f"stops named > {LATE:g} s after their limit", "false alarms in silence")
    return score_rows(names, result, result["stops"], result["attempts"])
