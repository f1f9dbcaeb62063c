"""The operator dies after every write, and every request fails once: the job ends the same, whole.

Short form: each request fails in one way, in turn. `SWEEP=whole` tries each way on each request.
"""

from __future__ import annotations

import functools
import os

from apibed.admin import Admin
from apibed.sweep import dies_after, healthy, side_by_side, suffers
from apibed.transports import FAULTS

WHOLE = os.environ.get("SWEEP") == "whole"


async def test_dying_after_any_write_changes_nothing(admin: Admin) -> None:
    wanted, recording = await healthy(admin, "crash-never")
    assert '"counted": 1' in wanted
    deaths: list[int] = []
    runs = [
        functools.partial(dies_after, admin, number + 1, wanted, deaths)
        for number in range(len(recording.writes))
    ]
    problems = await side_by_side(list(runs))
    assert not problems, "\n\n".join(problems)
    assert len(deaths) >= max(15, len(runs) - 2)


async def test_any_request_may_fail_once(admin: Admin) -> None:
    wanted, recording = await healthy(admin, "fault-never")
    ways = range(len(FAULTS)) if WHOLE else (None,)
    runs = [
        functools.partial(suffers, admin, at, at if way is None else way, wanted)
        for at in range(1, len(recording.requests) + 1)
        for way in ways
    ]
    assert len(runs) > 30
    problems = await side_by_side(list(runs))
    assert not problems, "\n\n".join(problems)
