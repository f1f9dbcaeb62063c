"""Node affinity that keeps a pod away from nodes by name, beside what the job asks for. Called by `pods`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_NODE: Final = "nodeAffinity"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


def keep_away(affinity: Mapping[str, Any], nodes: Sequence[str]) -> dict[str, Any]:
    """`affinity` that matches none of `nodes`; it is not changed in place.

    Fields, not the host-name label, which need not be the node's name. Terms are alternatives, so each gets the
    exclusion; an empty one matches nothing and stays so. A field requirement takes one value.
    """
    if not nodes:
        return dict(affinity)
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in nodes]
    required = (affinity.get(_NODE) or {}).get(_REQUIRED) or {}
    terms = required.get("nodeSelectorTerms") or [None]
    return {
        **affinity,
        _NODE: {
            **(affinity.get(_NODE) or {}),
            _REQUIRED: {
                **required,
                "nodeSelectorTerms": [_without(term, fields) for term in terms],
            },
        },
    }


def _without(term: Mapping[str, Any] | None, fields: list[dict[str, Any]]) -> dict[str, Any]:
    if term is None:  # the job asks for nothing
        return {"matchFields": fields}
    if not any(term.values()):
        return dict(term)
    return {**term, "matchFields": [*(term.get("matchFields") or ()), *fields]}
