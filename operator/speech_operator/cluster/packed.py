"""A job's document as text, for whoever keeps one of every job. Used by `KnownJobs` and `KubernetesCluster`.

What nobody here reads is left out: who wrote which field, and the manifest as kubectl applied it last. Both together
can be larger than the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

Document = Mapping[str, Any]
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


def pack(document: Document) -> bytes:
    """The document as text, without what nobody reads."""
    metadata = {k: v for k, v in (document.get("metadata") or {}).items() if k != "managedFields"}
    if LAST_APPLIED in (notes := metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in notes.items() if k != LAST_APPLIED}
    return orjson.dumps({**document, "metadata": metadata})


def unpack(packed: bytes) -> Document:
    """The document, made anew: who changes it changes nothing that is kept."""
    document: Document = orjson.loads(packed)
    return document
