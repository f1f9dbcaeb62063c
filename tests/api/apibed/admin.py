"""The cluster's administrator over one pool of connections: what kubelets and people do, without a thread a call."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from bed.api import MERGE, ApiError
from kubernetes.aio.client import ApiClient

from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.transport import KubernetesTransport, connect

Body = dict[str, Any]


class Admin:
    """Use as an async context manager. `transport` is for the operator under test."""

    def __init__(self, transport: KubernetesTransport) -> None:
        self.transport = transport

    @classmethod
    async def login(cls, kubeconfig: Path) -> Admin:
        return cls(await connect(str(kubeconfig), in_flight=200))

    async def close(self) -> None:
        await self.transport.close()
        # TLS says farewell in later turns of the loop; then nothing is left open.
        await asyncio.sleep(0.2)

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Body:
        api: ApiClient = self.transport._api
        headers = {"Content-Type": content_type}
        try:
            answer = await api.call_api(
                method, self.transport._host + path, headers, body,
                _request_timeout=aiohttp.ClientTimeout(total=30),
            )  # fmt: skip
            text = (await answer.read()).decode()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterError(f"{method} {path}: {error!r}") from error
        if not 200 <= answer.status < 300:
            raise ApiError(method, path, answer.status, text[:2000])
        document: Body = json.loads(text)
        return document

    async def get(self, path: str) -> Body:
        return await self.call("GET", path)

    async def find(self, path: str) -> Body | None:
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def post(self, path: str, body: Body) -> Body:
        return await self.call("POST", path, body)

    async def patch(self, path: str, body: Any, content_type: str = MERGE) -> Body:
        return await self.call("PATCH", path, body, content_type)

    async def delete(self, path: str) -> Body:
        return await self.call("DELETE", path)
