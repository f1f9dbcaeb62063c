"""A status under an older CRD: what is dropped is told, what is refused is left out, what decides is never given up."""

from __future__ import annotations

from typing import Any

import pytest

from speech_operator.cluster import kept

KEPT = {"attempt": 1, "restarts": {"counted": 2}, "conditions": []}
PHASE = {"word": "w", "since": "s"}


@pytest.mark.parametrize(
    ("sent", "there", "lost"),
    [
        ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}, []),
        ({"a": 1, "b": {"c": 2}}, {"b": {}}, ["a", "b.c"]),
        ({"l": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}, {"l": [{"x": 1}, {"x": 2}]}, ["l.y"]),
        ({"a": 1}, None, []),  # an answer without a status says nothing
    ],
)
def test_what_did_not_arrive(sent: Any, there: Any, lost: list[str]) -> None:
    assert list(kept.dropped(sent, there)) == lost


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (["status.state"], {"phase": PHASE, "found": [1, 2, 3]}),
        (["status.found[0]", "status.found[2].rule"], {"state": "s", "phase": PHASE, "found": [2]}),
        (["status.phase.word"], {"state": "s", "phase": {"since": "s"}, "found": [1, 2, 3]}),
        (["status.phase.other"], {"state": "s", "found": [1, 2, 3]}),  # was required: all goes
        (["status.attempt", "status.conditions[0].type", "metadata.name", ""], None),
    ],
)
def test_what_is_refused_goes(fields: list[str], left: Any) -> None:
    status = {"state": "s", "phase": PHASE, "found": [1, 2, 3]}
    assert kept.without({**KEPT, **status}, fields) == {
        **KEPT,
        **(status if left is None else left),
    }


@pytest.mark.parametrize(
    ("lost", "decides"),
    [
        (["restarts"], True),
        (["restarts.counted"], True),
        (["restarts.causes.count"], True),
        (["restarts.windowTimes", "restarts.lastResetStep", "restarts.total"], False),
        (["restarts.causes.lastTime"], False),
        (["progress.heardAt"], False),
    ],
)
def test_an_older_crd_may_lack_what_the_budgets_got_later(lost: list[str], decides: bool) -> None:
    assert kept.essential(lost) is decides
