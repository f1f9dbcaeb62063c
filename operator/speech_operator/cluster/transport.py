"""Requests over the raw path of `kubernetes.aio`: its login and connection pool, no models. Built by `app`.

The typed half of that library validates every object and triples the memory of the process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.config_exception import ConfigException

from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.proxies import proxy_for
from speech_operator.cluster.rest import Answer

STREAMS: Final = 64  # connections beyond the pool of requests: one a watched namespace
IN_CLUSTER: Final = "KUBERNETES_SERVICE_HOST"


@dataclasses.dataclass(frozen=True)
class Credentials:
    """How to speak to the API server, for whoever brings an HTTP client of its own."""

    server: str
    verify: bool
    ca_file: str | None = None
    ca_data: str | bytes | None = None
    token: str | None = None  # without its scheme
    certificate_file: str | None = None
    key_file: str | None = None
    proxy: str | None = None  # URL; None: directly


class LoginError(ClusterError):
    """There is no way to an API server from here; the sentence says what was tried."""


class KubernetesTransport:
    """A `Transport` to a real API server."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._host = str(configuration.host).rstrip("/")
        self._api = ApiClient(configuration)

    async def close(self) -> None:
        """Close every connection."""
        await self._api.close()

    async def credentials(self) -> Credentials:
        """The login of this moment; tokens of service accounts change about once an hour."""
        headers = await self._headers("GET", "/")
        _, _, token = headers.get("authorization", "").partition(" ")
        given = self._configuration
        return Credentials(
            server=self._host,
            verify=bool(given.verify_ssl),
            ca_file=given.ssl_ca_cert,
            ca_data=given.ca_cert_data,
            token=token or None,
            certificate_file=given.cert_file,
            key_file=given.key_file,
            proxy=given.proxy,
        )

    async def send(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout_seconds: float
    ) -> Answer:
        """One request, one answer."""
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            response = await self._request(method, path, body, timeout)
            data = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _failure(method, path, error) from error
        return Answer(response.status, data, _seconds(response.headers.get("Retry-After")))

    async def stream(self, path: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        """Lines of a GET. The API server's refusal of a watch is a line as well: a `metav1.Status`."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds)
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._request("GET", path, None, timeout)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _failure("GET", path, error) from error
        try:
            async for line in response.response.content:
                yield line
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure("GET", path, error) from error
        finally:
            connection = response.response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()  # no farewell of TLS, which could outlive the loop
            response.response.close()

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: aiohttp.ClientTimeout,
    ) -> Any:
        headers = await self._headers(method, path)
        url = self._host + path
        return await self._api.call_api(method, url, headers, body, _request_timeout=timeout)

    async def _headers(self, method: str, path: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "speechtrain-operator"}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        return headers


async def connect(kubeconfig: str = "", in_flight: int = 32) -> KubernetesTransport:
    """Log in: by the kubeconfig, else as the pod that we are, else by kubectl's own. Raises LoginError."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = in_flight + STREAMS
    try:
        if not kubeconfig and IN_CLUSTER in os.environ:
            config.load_incluster_config(configuration)
        else:
            await config.load_kube_config(
                kubeconfig or None, client_configuration=configuration, persist_config=False
            )
    except (ConfigException, OSError) as error:
        raise LoginError(f"no way to an API server: {error}") from error
    _choose_way(configuration, os.environ)
    return KubernetesTransport(configuration)


def _choose_way(configuration: Configuration, environment: Mapping[str, str]) -> None:
    """Settle the proxy here, once: the library would leave it to aiohttp. A kubeconfig's own `proxy-url` wins."""
    if not configuration.proxy:
        configuration.proxy = proxy_for(str(configuration.host), environment)
    configuration.client_session_kwargs = {"trust_env": False}


def _failure(method: str, path: str, error: Exception) -> ClusterError:
    resource = path.partition("?")[0]
    return ClusterError(f"{method} {resource}: {type(error).__name__} {error}".rstrip())


def _seconds(text: str | None) -> float | None:
    """`Retry-After`; its other form, a date, counts as not given."""
    return float(text) if text is not None and text.isdecimal() else None
