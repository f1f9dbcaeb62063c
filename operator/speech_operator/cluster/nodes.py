"""What is known of the nodes that pods run on. Called by `kubernetes`.

Of one that the watch does not have the API server is asked anew: a watch may lag, and of a node that is gone pods are
deleted by force.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from speech_operator.children import NODE
from speech_operator.cluster.informer import Informers
from speech_operator.cluster.node_record import node
from speech_operator.cluster.rest import ApiError, Rest
from speech_operator.snapshot import NodeRecord

FORBIDDEN: Final = 403


async def known_nodes(
    rest: Rest, informers: Informers, wanted: Collection[str]
) -> dict[str, NodeRecord]:
    """Those that are wanted, by name; none where nobody watches or may watch them. Raises ClusterError."""
    informer = informers.find(NODE)
    if informer is None or not informer.served:
        return {}
    found = {record.name: record for record in informer.named("", wanted)}
    for name in sorted(set(wanted) - found.keys()):
        record = await _asked(rest, name)
        if record is not None:
            found[name] = record
    return found


async def _asked(rest: Rest, name: str) -> NodeRecord | None:
    try:
        document = await rest.find(NODE.path("", name))
    except ApiError as error:
        if error.status == FORBIDDEN:
            return None
        raise
    return NodeRecord(name, "", gone=True) if document is None else node(document, "")
