"""The end state of a run as plain data, without what must differ between two runs. The list below is reviewed."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

from apibed.scene import Scene

# Identity, time and bookkeeping of the API server. Nothing that we write is in here but times, how long each part of
# a life took (`goodput`, by which nothing is decided), and the token, which is a hash of the job's uid.
DROPPED = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generateName",
    "selfLink",
)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
TOKEN = re.compile(r"\b[0-9a-f]{32}\b")
KINDS = ("pods", "services", "configmaps")


async def end_state(scene: Scene) -> str:
    """Job and children, whole, as text."""
    job = await scene.job()
    state: dict[str, Any] = {"job": job}
    for kind in KINDS:
        state[kind] = sorted(await scene.list(kind), key=lambda child: child["metadata"]["name"])
    uid = job["metadata"]["uid"] if job else "no job"
    (job or {}).get("status", {}).pop("goodput", None)
    text = json.dumps(_clean(state), indent=1, sort_keys=True)
    text = text.replace(uid, "<uid>").replace(scene.namespace, "<namespace>")
    return TOKEN.sub("<token>", TIME.sub("<time>", text))


def _clean(value: Any, inside: str = "") -> Any:
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not (inside == "metadata" and k in DROPPED)}
        return {k: _clean(v, k) for k, v in kept.items()}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value


def difference(one: str, other: str) -> str:
    """The lines that differ."""
    lines = difflib.unified_diff(one.splitlines(), other.splitlines(), "wanted", "found", n=2)
    return "\n".join(list(lines)[:60])
