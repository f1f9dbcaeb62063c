"""Facts that another controller waits for, stated in the status of its object. Called by `kubernetes`.

Read, changed and written whole at the version that was read: whoever else wrote meanwhile is not overwritten.
"""

from __future__ import annotations

from typing import Any

from speech_operator.cluster.base import Conflict, JobKey
from speech_operator.cluster.rest import ApiError, Body, Rest
from speech_operator.plan import Fact, Mark

LONGEST_MESSAGE = 32768  # of metav1.Condition


async def put_mark(rest: Rest, key: JobKey, mark: Mark, now: str) -> None:
    """Write it where it does not read so. What has changed since is left alone: its watch tells of it.

    Raises ClusterError; Conflict when somebody wrote at this very moment.
    """
    path = mark.kind.path(key.namespace, mark.record.name)
    document = await rest.find(path)
    if document is None or mark.kind.project(document, key.name) != mark.record:
        return
    status = document.get("status") or {}
    changed = marked(status, mark, document["metadata"].get("generation"), now)
    if changed == status:
        return
    try:
        await rest.put(f"{path}/status", {**document, "status": changed})
    except ApiError as error:
        if error.status in (404, 409):
            raise Conflict(str(error)) from error
        raise


def marked(status: Body, mark: Mark, generation: int | None, now: str) -> Body:
    """The status with the facts; a condition that reads so already stays as it is. Pure."""
    conditions = list(status.get("conditions") or ())
    for fact in mark.facts:
        old: Body = next((c for c in conditions if c["type"] == fact.type), {})
        new = _condition(fact, old, generation, now)
        if new != old:
            conditions = [c for c in conditions if c["type"] != fact.type] + [new]
    kept = {name: value for name, value in status.items() if name not in mark.without}
    return {**kept, "conditions": conditions}


def _condition(fact: Fact, old: Body, generation: int | None, now: str) -> Body:
    value = "True" if fact.value else "False"
    message = fact.message[:LONGEST_MESSAGE]
    if (old.get("status"), old.get("reason"), old.get("message")) == (value, fact.reason, message):
        return old
    since = old["lastTransitionTime"] if old.get("status") == value else now
    made: dict[str, Any] = {
        "type": fact.type,
        "status": value,
        "reason": fact.reason,
        "message": message,
        "lastTransitionTime": since,
    }
    return made if generation is None else {**made, "observedGeneration": generation}
