"""Checks of what the chart installs: API server, CRD, operator. Called by `doctor.cluster`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from speech_cli.cluster_client import Body, ClusterClient, Forbidden, NotFound
from speech_cli.doctor import machine
from speech_cli.doctor.row import Row, fail, ok, skipped, warn
from speech_cli.extras import lazily
from speech_cli.rendering.view import mapping, objects, whole
from speech_contract import names
from speech_contract.status import HEARD_EVERY_SECONDS

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEPLOYMENTS: Final = "/apis/apps/v1/deployments"
OF_OPERATORS: Final = {
    "labelSelector": f"{names.LABEL_APP}={names.APP},{names.LABEL_COMPONENT}={names.OPERATOR}"
}
UPGRADE: Final = "upgrade the chart, as in `helm upgrade speechtrain charts/speechtrain`"
INSTALL: Final = "install the chart, as in `helm install speechtrain charts/speechtrain`"
NOTICED_SECONDS: Final = 5.0  # below it nobody reading ages in seconds would see it
SHOWN: Final = 3


def clock(client: ClusterClient, now: Callable[[], float] = time.time) -> Iterator[Row]:
    """The API server's clock beside this one; its header is cut to whole seconds."""
    # With the mail that comes along: for this row alone.
    from email.utils import parsedate_to_datetime

    name, before = "clock", now()
    told = client.date()
    after = now()
    try:
        server = parsedate_to_datetime(told).timestamp()
    except ValueError:
        yield skipped(name, f"the API server's answer has no readable Date header ({told!r})")
        return
    ahead, behind = before - (server + 1.0), server - after
    skew = max(ahead, behind, 0.0)
    if skew < NOTICED_SECONDS:
        yield ok(name, "here and at the API server the same")
        return
    side = "ahead of" if ahead > behind else "behind"
    made = fail if skew >= HEARD_EVERY_SECONDS else warn
    said = f"this machine is {skew:.0f} s {side} the API server: ages here are wrong by that"
    yield made(name, said, "keep both by NTP (chrony, systemd-timesyncd)")


def crd(client: ClusterClient) -> Iterator[Row]:
    """Whether the kind is there, and has the fields that this command line knows."""
    name = "CRD"
    try:
        theirs = _schema(client)
    except NotFound:
        yield fail(name, f"there is no {names.CRD_NAME}", INSTALL)
        return
    missing, more = sorted(_known() - theirs), sorted(theirs - _known())
    if missing:
        said = f"is older than this command line: {_some(missing)} are unknown to it"
        yield fail(name, said, UPGRADE)
    elif more:
        said = f"is newer than this command line, which does not know {_some(more)}"
        yield warn(name, said, f"upgrade this command line ({machine.version()})")
    else:
        yield ok(name, f"{names.CRD_NAME} has the fields of this command line")


@functools.cache
def _known() -> set[str]:
    """The fields of this command line's own models."""
    return fields(lazily("speech_contract.api.crd", "cli").schema())


def _schema(client: ClusterClient) -> set[str]:
    """The fields that the API server knows. Raises NotFound where it serves no such kind."""
    try:
        found = client.get(f"{CRDS}/{names.CRD_NAME}")
    except Forbidden:  # the published schema is everybody's
        return _published(client)
    versions = {str(v.get("name")): v for v in objects(found, "spec", "versions")}
    return fields(mapping(versions.get(names.VERSION), "schema", "openAPIV3Schema"))


def _published(client: ClusterClient) -> set[str]:
    document = client.get(f"/openapi/v3/apis/{names.API_VERSION}")
    kinds = mapping(document, "components", "schemas").items()
    found = next((kind for name, kind in kinds if name.endswith(f".{names.KIND}")), None)
    if found is None:
        raise NotFound(f"no {names.KIND} is served")
    return fields(found)


def fields(schema: Any, path: str = "") -> set[str]:
    """Dotted paths below spec and status of a structural schema; a list's items are its own fields."""
    inner = mapping(schema, "properties")
    shown = inner if path else {key: inner[key] for key in ("spec", "status") if key in inner}
    found = {path} if path else set()
    for key, value in shown.items():
        found |= fields(value, f"{path}.{key}" if path else key)
    for holder in ("items", "additionalProperties"):
        held = mapping(schema, holder)
        found |= fields(held, path) if path and held else set()
    return found


def operators(client: ClusterClient) -> list[Body]:
    """The Deployments of operators, in any namespace. Raises Forbidden."""
    return client.every(DEPLOYMENTS, OF_OPERATORS)


def operator(client: ClusterClient) -> Iterator[Row]:
    """Whether an operator runs, and of which version."""
    found = operators(client)
    if not found:
        said = f"no Deployment has the labels {OF_OPERATORS['labelSelector']}"
        yield fail("operator", said, INSTALL)
    for deployment in found:
        yield _operator(deployment)


def _operator(deployment: Mapping[str, Any]) -> Row:
    name = f"operator {place_of(deployment)}"
    ready = whole(mapping(deployment, "status").get("readyReplicas")) or 0
    wanted = whole(mapping(deployment, "spec").get("replicas"))
    wanted = 1 if wanted is None else wanted
    version = str(mapping(deployment, "metadata", "labels").get(names.LABEL_APP_VERSION) or "")
    told = f"{version or 'of unknown version'}, {ready} of {wanted} replicas ready"
    if not ready:
        space, _, its = place_of(deployment).partition("/")
        return fail(
            name, told, f"`kubectl describe deployment {its} -n {space}`, and its pod's log"
        )
    if version != machine.version():
        said = f"{told}; this command line is {machine.version()}"
        return warn(name, said, "bring the older one to the version of the other")
    return warn(name, told, "`kubectl get pods` there") if ready < wanted else ok(name, told)


def place_of(thing: Mapping[str, Any]) -> str:
    """`namespace/name` of an object."""
    metadata = mapping(thing, "metadata")
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def _some(paths: list[str]) -> str:
    """The first few, without what lies below one that is listed."""
    tops = [p for p in paths if not any(p.startswith(f"{other}.") for other in paths)]
    more = f" and {len(tops) - SHOWN} more" if len(tops) > SHOWN else ""
    return ", ".join(tops[:SHOWN]) + more
