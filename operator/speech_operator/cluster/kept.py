"""What an API server keeps of a status that is written under an older CRD. Called by `kubernetes`. Pure.

A field that its CRD lacks is dropped in silence, a word that its CRD lacks refuses the whole status. Neither may
end a job nor pass unseen. What the next pass decides by is never left out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

ESSENTIAL: Final = frozenset({"attempt", "attempts", "conditions", "restarts"})
COUNTS: Final = frozenset(
    {"restarts.counted", "restarts.causes", "restarts.causes.fingerprint", "restarts.causes.count"}
)
REMEDY: Final = (
    "the CRD is older than this operator; apply the CRD of this version "
    "(helm upgrade with crds.enabled, or kubectl apply --server-side -f its file)"
)


def dropped(sent: Any, kept: Any, path: str = "") -> Iterator[str]:
    """Paths of what was sent and did not arrive; of a list, each path once, without its index."""
    seen: set[str] = set()
    for found in _missing(sent, kept, path):
        if found not in seen:
            seen.add(found)
            yield found


def _missing(sent: Any, kept: Any, path: str) -> Iterator[str]:
    if isinstance(sent, Mapping) and isinstance(kept, Mapping):
        for name, value in sent.items():
            inner = f"{path}.{name}" if path else str(name)
            if name in kept:
                yield from _missing(value, kept[name], inner)
            else:
                yield inner
    elif isinstance(sent, list) and isinstance(kept, list):
        for one, other in zip(sent, kept, strict=False):
            yield from _missing(one, other, path)


def essential(lost: Sequence[str]) -> bool:
    """Whether what was dropped decides what follows: without its counts no budget of restarts would ever bind.

    Without what was added to them later, counts are never reset and no window binds.
    """
    return any(path in ESSENTIAL | COUNTS for path in lost)


def without(status: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The status without the fields that were refused, as the API server names them: `status.health.findings[2].rule`.

    Of a list the whole item goes. A field that is gone already was a required one: then what held it goes.
    """
    smaller = copy.deepcopy(dict(status))
    paths = [steps for field in fields if (steps := _steps(field)) and steps[0] not in ESSENTIAL]
    for steps in sorted(paths, key=_backwards, reverse=True):
        _remove(smaller, steps)
    return smaller


def _steps(field: str) -> list[str | int]:
    """Names and indexes below `status`; empty for anything else."""
    found = re.findall(r"([^.\[\]]+)|\[(\d+)\]", field)
    steps: list[str | int] = [int(index) if index else name for name, index in found]
    return steps[1:] if steps[:1] == ["status"] else []


def _backwards(steps: Sequence[str | int]) -> list[str]:
    """Later items of a list go first, so that indexes stay true."""
    return [f"{step:06d}" if isinstance(step, int) else step for step in steps]


def _remove(status: dict[str, Any], steps: Sequence[str | int]) -> None:
    items = [place for place, step in enumerate(steps) if isinstance(step, int)]
    steps = steps[: items[-1] + 1] if items else steps
    while steps and not _pop(status, steps):
        steps = steps[:-1]


def _pop(status: Any, steps: Sequence[str | int]) -> bool:
    *parents, last = steps
    holder = status
    try:
        for step in parents:
            holder = holder[step]
        del holder[last]
    except (KeyError, IndexError, TypeError):
        return False
    return True
