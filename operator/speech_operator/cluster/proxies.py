"""Which proxy leads to the API server, chosen as kubectl and every controller in Go choose it. Called by `transport`.

The rules are those of golang.org/x/net/http/httpproxy: `NO_PROXY` holds names, addresses, networks and ports.
aiohttp and urllib read names alone, and a pod whose `NO_PROXY` is its cluster's network would go to the proxy.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

PORTS: Final = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclasses.dataclass(frozen=True)
class _Target:
    host: str  # lower case, no brackets
    port: int
    address: Address | None


def proxy_for(server: str, environment: Mapping[str, str]) -> str | None:
    """URL of the proxy on the way to `server`, a URL; None: go there directly.

    Raises ValueError for a server that is no URL.
    """
    parts = urlsplit(server)
    host = (parts.hostname or "").lower()
    target = _Target(host, parts.port or PORTS.get(parts.scheme, 0), _address(host))
    proxy = _either(environment, f"{parts.scheme}_proxy")
    if not proxy or _is_here(target):
        return None
    excepted = _either(environment, "no_proxy").lower().split(",")
    if any(_covers(entry.strip(), target) for entry in excepted):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _either(environment: Mapping[str, str], name: str) -> str:
    """Upper case wins, unless it is empty."""
    return environment.get(name.upper()) or environment.get(name) or ""


def _is_here(target: _Target) -> bool:
    loopback = target.address is not None and target.address.is_loopback
    return target.host == "localhost" or loopback


def _covers(entry: str, target: _Target) -> bool:
    """Whether one entry of `NO_PROXY` means the target."""
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        return target.address is not None and target.address in network
    host, port = _split(entry)
    if port and port != str(target.port):
        return False
    if (address := _address(host)) is not None:
        return address == target.address
    return target.address is None and _names(host, target.host)


def _names(host: str, wanted: str) -> bool:
    """`a.b` means itself and what lies below it, `.a.b` and `*.a.b` only what lies below."""
    host = host.removeprefix("*") if host.startswith("*.") else host
    if not host:
        return False
    below = host if host.startswith(".") else f".{host}"
    return wanted == host or wanted.endswith(below)


def _split(entry: str) -> tuple[str, str]:
    """Host and port; an IPv6 address needs brackets to have one."""
    host, colon, port = entry.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], port
    return (host, port) if colon and ":" not in host else (entry, "")


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """A network in CIDR form; bits beyond its prefix do not count."""
    _, _, prefix = entry.partition("/")
    try:
        return ipaddress.ip_network(entry, strict=False) if prefix.isdecimal() else None
    except ValueError:
        return None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
