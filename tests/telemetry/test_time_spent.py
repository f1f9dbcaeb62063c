"""What the time of a run went into, as its own rows tell it."""

from __future__ import annotations

from typing import Any

import pytest

from speech_contract.exit_codes import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_NON_FINITE
from speech_contract.goodput import seconds_of
from speech_telemetry.report.curves import Curves
from speech_telemetry.report.time_spent import time_spent
from speech_telemetry.series import Row


def opens(time: float) -> Row:
    return {"opens": {"job": "voice"}, "time": time}


def steps(first: int, last: int, since: float, each: float = 10.0) -> list[Row]:
    """Rows of these steps, the first of them at `since`."""
    numbers = range(first, last + 1)
    return [
        {"step": n, "time": since + each * (n - first), "losses": {"total": 1.0}} for n in numbers
    ]


def ends(time: float, code: int = 0, **progress: Any) -> Row:
    return {"ends": {"exitCode": code}, "progress": progress, "time": time}


def account_of(*attempts: list[Row]) -> tuple[dict[str, int], str | None]:
    """The parts that are not 0, and the ratio."""
    curves = Curves()
    for number, rows in enumerate(attempts, start=1):
        for row in rows:
            curves.take(row, number)
    curves.settle()
    told = time_spent(curves)
    return {part: seconds for part, seconds in seconds_of(told).items() if seconds}, told.ratio


@pytest.mark.parametrize(
    ("attempts", "parts", "ratio"),
    [
        ([], {}, None),
        ([[opens(0), ends(30, EXIT_ERROR)]], {"startup": 30}, None),
        # A file cut before its head says nothing of when it began.
        ([steps(1, 5, since=0)], {}, None),
        ([[opens(0), *steps(1, 5, since=20)]], {"startup": 20, "productive": 40}, "0.667"),
        (
            [[opens(0), *steps(1, 5, since=20), ends(70)]],
            {"startup": 20, "productive": 50},
            "0.714",
        ),
        (
            [[opens(0), *steps(1, 5, since=20), ends(70, EXIT_ERROR)]],
            {"startup": 20, "productive": 40, "stalled": 10},
            "0.571",
        ),
        (
            [[opens(0), *steps(1, 5, since=20), ends(70, EXIT_INTERRUPTED, checkpointSeconds=4.0)]],
            {"startup": 20, "productive": 36, "checkpoint": 14},
            "0.514",
        ),
    ],
    ids=["no attempt", "no step", "no head", "runs", "ended well", "failed", "saved and stopped"],
)
def test_the_time_of_one_attempt(
    attempts: list[list[Row]], parts: dict[str, int], ratio: str | None
) -> None:
    assert account_of(*attempts) == (parts, ratio)


def test_steps_that_were_trained_and_not_saved_are_recomputed_and_the_time_between_attempts_is_nobodys() -> (
    None
):
    killed = [opens(0), *steps(1, 6, since=10), ends(60, 137)]
    again = [opens(5000), *steps(4, 8, since=5010), ends(5050)]
    parts, ratio = account_of(killed, again)
    assert parts == {"startup": 20, "productive": 70, "recomputed": 20}
    assert ratio == "0.636"


def test_what_a_roll_back_left_is_discarded_and_its_steps_are_new_when_they_come_again() -> None:
    rows = [opens(0), *steps(1, 6, since=10), *steps(4, 8, since=70), ends(110)]
    assert account_of(rows)[0] == {"startup": 10, "productive": 70, "discarded": 30}


def test_an_attempt_whose_budget_is_spent_leaves_what_was_not_confirmed() -> None:
    spent = [opens(0), *steps(1, 6, since=10), ends(60, EXIT_NON_FINITE, lastConfirmedStep=3)]
    after = [opens(100), *steps(4, 8, since=110), ends(150)]
    assert account_of(spent, after)[0] == {"startup": 20, "productive": 60, "discarded": 30}


def test_no_more_is_saved_than_there_was_time() -> None:
    rows = [opens(0), *steps(1, 3, since=10), ends(30, checkpointSeconds=1e9)]
    assert account_of(rows) == ({"startup": 10, "checkpoint": 20}, "0.000")


def test_a_clock_that_went_back_takes_no_time_away() -> None:
    rows = [opens(100), *steps(1, 3, since=50), ends(40)]
    assert account_of(rows) == ({}, None)
