"""All jobs of an API server, page by page. Called by `kubernetes` and by the job watch."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncIterator, Sequence
from typing import Final

from speech_contract import names
from speech_operator.cluster.rest import Body, Rest

PAGE: Final = 500


async def list_jobs(rest: Rest, namespaces: Sequence[str]) -> AsyncIterator[Body]:
    """Every job of these namespaces; of all, when none is named. Raises ClusterError."""
    for namespace in namespaces or ("",):
        where = f"/namespaces/{namespace}" if namespace else ""
        query = {"limit": str(PAGE)}
        while True:
            words = urllib.parse.urlencode(query)
            page = await rest.get(f"/apis/{names.API_VERSION}{where}/{names.PLURAL}?{words}")
            for job in page.get("items") or ():
                yield job
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                break
