"""All objects of a kind, page by page. Called by `kubernetes`, the job watch, `remembered` and `pod_warnings`."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from speech_contract import names
from speech_operator.cluster.rest import Body, Rest

PAGE: Final = 25  # objects: a hundred jobs take 3 MiB as parsed, and the allocator keeps some of it


async def list_jobs(rest: Rest, namespaces: Sequence[str]) -> AsyncIterator[Body]:
    """Every job of these namespaces; of all, when none is named. Raises ClusterError."""
    for namespace in namespaces or ("",):
        where = f"/namespaces/{namespace}" if namespace else ""
        async for job in list_all(rest, f"/apis/{names.API_VERSION}{where}/{names.PLURAL}", {}):
            yield job


async def list_all(rest: Rest, path: str, query: Mapping[str, str]) -> AsyncIterator[Body]:
    """Every object under a path. Raises ClusterError."""
    asked = {"limit": str(PAGE), **query}
    while True:
        page = await rest.get(f"{path}?{urllib.parse.urlencode(asked)}")
        for found in page.get("items") or ():
            yield found
        asked["continue"] = (page.get("metadata") or {}).get("continue") or ""
        if not asked["continue"]:
            break
