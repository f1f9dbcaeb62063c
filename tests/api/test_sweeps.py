"""The operator dies after every write, and every request fails once: the job ends the same, whole.

Short form: each request fails in one way, in turn. `SWEEP=whole` tries each way on each request.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator

import pytest
from apibed.sweep import dies_after, healthy, side_by_side, suffers
from apibed.transports import FAULTS
from bed.cluster import Bed

from speech_operator.cluster.transport import KubernetesTransport, connect

WHOLE = os.environ.get("SWEEP") == "whole"


@pytest.fixture
async def admin(bed: Bed) -> AsyncIterator[KubernetesTransport]:
    made = await connect(str(bed.kubeconfig), in_flight=200)
    yield made
    await made.close()


async def test_dying_after_any_write_changes_nothing(
    bed: Bed, admin: KubernetesTransport
) -> None:
    wanted, recording = await healthy(bed, admin, "crash-never")
    assert '"counted": 1' in wanted
    runs = [
        functools.partial(dies_after, bed, admin, number + 1, wanted)
        for number in range(len(recording.writes))
    ]
    assert len(runs) > 15
    problems = await side_by_side(list(runs))
    assert not problems, "\n\n".join(problems)


async def test_any_request_may_fail_once(bed: Bed, admin: KubernetesTransport) -> None:
    wanted, recording = await healthy(bed, admin, "fault-never")
    ways = range(len(FAULTS)) if WHOLE else (None,)
    runs = [
        functools.partial(suffers, bed, admin, at, at if way is None else way, wanted)
        for at in range(1, len(recording.requests) + 1)
        for way in ways
    ]
    assert len(runs) > 30
    problems = await side_by_side(list(runs))
    assert not problems, "\n\n".join(problems)
