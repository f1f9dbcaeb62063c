"""A job whose status nobody can read is told of once, and again where it is another job or the telling failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.plan import JobEvent
from speech_operator.refusals import Unreadable

KEY = JobKey("speech", "asr")
SENTENCE = "status.attempt: no number"


@pytest.fixture
def cluster(make_cluster: Callable[..., Any]) -> Any:
    return make_cluster()


async def test_an_unreadable_status_is_told_once_until_it_is_another(cluster: Any) -> None:
    unreadable = Unreadable(cluster)
    for sentence in (SENTENCE, SENTENCE, "status.state: unknown"):
        await unreadable.tell(KEY, sentence)
    assert [event.message for event in cluster.events] == [
        f"this job stands still: {SENTENCE}",
        "this job stands still: status.state: unknown",
    ]


async def test_the_next_job_of_the_same_name_is_told_of_as_well(cluster: Any) -> None:
    unreadable = Unreadable(cluster)
    await unreadable.tell(KEY, SENTENCE)
    cluster.document["metadata"] = {**cluster.document["metadata"], "uid": "another"}
    await unreadable.tell(KEY, SENTENCE)
    assert len(cluster.events) == 2


async def test_nothing_is_kept_of_a_job_that_is_gone(cluster: Any) -> None:
    unreadable = Unreadable(cluster)
    await unreadable.tell(KEY, SENTENCE)
    unreadable.forget(KEY)
    assert not vars(unreadable)["_told"]
    cluster.gone = True
    await unreadable.tell(KEY, SENTENCE)
    assert len(cluster.events) == 1
    assert not vars(unreadable)["_told"]


async def test_an_event_that_was_refused_is_tried_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[JobEvent] = []

    async def post_event(key: JobKey, uid: str, event: JobEvent) -> None:
        posted.append(event)
        if len(posted) == 1:
            raise ClusterError("no answer")

    monkeypatch.setattr(cluster, "post_event", post_event)
    unreadable = Unreadable(cluster)
    with pytest.raises(ClusterError, match="no answer"):
        await unreadable.tell(KEY, SENTENCE)
    for _ in range(2):
        await unreadable.tell(KEY, SENTENCE)
    assert len(posted) == 2
