"""The way to the API server. Every row was put to golang.org/x/net/http/httpproxy (0.61.0), which answered the same."""

from __future__ import annotations

import pytest
from kubernetes.aio.client import ApiClient, Configuration

from speech_operator.cluster.proxies import proxy_for
from speech_operator.cluster.transport import KubernetesTransport, _choose_way
from speech_operator.watch import _connection

PROXY = "http://proxy:3128"
SERVICE, NAMED, SIX = (
    "https://10.96.0.1:443",
    "https://api.team.example.com",
    "https://[fd00::1]:6443",
)
DIRECT = [
    *((SERVICE, entry) for entry in ("10.96.0.0/12", "10.96.7.7/12", "10.96.0.1", "10.96.0.1:443", "*")),
    *((SERVICE, entry) for entry in ("example.com, 10.96.0.1", " 10.96.0.0/12 ,")),
    *((NAMED, entry) for entry in ("example.com", ".example.com", "*.example.com", "api.team.example.com")),
    *((NAMED, entry) for entry in ("API.Team.Example.com", "example.com:443", "team.example.com:443", "*.com")),
    *((SIX, entry) for entry in ("fd00::/8", "fd00::1", "[fd00::1]:6443")),
    ("https://localhost:6443", ""),
    ("https://127.0.0.1:6443", ""),
    ("https://[::1]:6443", ""),
]  # fmt: skip
PROXIED = [
    *((SERVICE, entry) for entry in ("", "10.0.0.0/16", "10.96.0.1:6443", "10.96.0", "10.96.0.0/255.240.0.0")),
    *((SERVICE, entry) for entry in (".0.1", "fd00::/8", "10.96.0.1/33", ":443", "example.com")),
    *((NAMED, entry) for entry in (".api.team.example.com", "*.api.team.example.com", "ample.com", "api.*")),
    *((NAMED, entry) for entry in ("example.com:6443", ".", "10.0.0.0/8", "*example.com")),
    *((SIX, entry) for entry in ("[fd00::1]:443", "[fd00::1]")),
    ("https://localhost.example.com", ""),
]  # fmt: skip


@pytest.mark.parametrize(("server", "no_proxy"), DIRECT)
def test_goes_directly_where_go_does(server: str, no_proxy: str) -> None:
    assert proxy_for(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) is None


@pytest.mark.parametrize(("server", "no_proxy"), PROXIED)
def test_goes_by_the_proxy_where_go_does(server: str, no_proxy: str) -> None:
    assert proxy_for(server, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) == PROXY


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": PROXY}, None),  # of another scheme
        ({"https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": "", "https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": "proxy:3128"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "10.96.0.0/12"}, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other", "no_proxy": "10.96.0.0/12"}, PROXY),
    ],
)
def test_both_spellings_of_the_environment(environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(SERVICE, environment) == proxy


async def test_no_library_chooses_another_way() -> None:
    given = Configuration(host=SERVICE)
    _choose_way(given, {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.96.0.0/12"})
    assert given.proxy is None
    session = ApiClient(given).rest_client._create_pool_manager()
    assert not session.trust_env
    await session.close()


async def test_the_watch_goes_the_same_way() -> None:
    given = Configuration(host=SERVICE)
    _choose_way(given, {"HTTPS_PROXY": PROXY})
    told = await KubernetesTransport(given).credentials()
    assert (given.proxy, _connection(told).proxy_url) == (PROXY, PROXY)


def test_a_proxy_of_the_kubeconfig_wins() -> None:
    given = Configuration(host=SERVICE, proxy="http://own:1")
    _choose_way(given, {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"})
    assert given.proxy == "http://own:1"
