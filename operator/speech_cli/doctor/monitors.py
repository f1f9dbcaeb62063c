"""Whether Prometheus reads what the chart's monitors ask for. Called by `doctor.cluster`.

The Prometheus operator's own rules: a selector that is not set selects nothing, an empty one everything; a namespace
selector that is not set means the namespace of the Prometheus object (its API reference, `PrometheusSpec`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from speech_cli.cluster_client import Body, ClusterClient, NotFound
from speech_cli.doctor.installation import place_of
from speech_cli.doctor.row import Row, asked, ok, skipped, warn
from speech_cli.rendering.view import mapping, objects
from speech_contract import names

API: Final = "/apis/monitoring.coreos.com/v1"
OURS: Final = {"labelSelector": f"{names.LABEL_APP}={names.APP}"}
Labels = Mapping[str, Any]


class Kind(NamedTuple):
    """A kind that the chart makes, the value that makes it, and the field by which Prometheus selects it."""

    kind: str
    value: str
    field: str
    instead: str = ""  # another value that does its work

    @property
    def path(self) -> str:
        """Of the list over all namespaces."""
        return f"{API}/{self.kind.lower()}s"


KINDS: Final = (
    Kind("PodMonitor", "podMonitor", "podMonitor"),
    Kind("ServiceMonitor", "serviceMonitor", "serviceMonitor"),
    Kind("PrometheusRule", "prometheusRule", "rule", instead="grafanaAlerts"),
)


def rows(client: ClusterClient) -> Iterator[Row]:
    """Each of our monitors and rules, and whether a Prometheus object selects it."""
    servers = functools.cache(lambda: tuple(client.every(f"{API}/prometheuses")))
    for kind in KINDS:
        yield from asked(kind.kind, functools.partial(_of_kind, client, kind, servers))


def _of_kind(
    client: ClusterClient, kind: Kind, servers: Callable[[], tuple[Body, ...]]
) -> Iterator[Row]:
    try:
        ours, there = client.every(kind.path, OURS), servers()
    except NotFound:
        remedy = (
            f"with another collector, scrape the port `{names.SUPERVISOR_PORT_NAME}` of pods with the label "
            f"{names.LABEL_JOB_ROLE}={names.REPLICA_MASTER}, and of the operator's"
        )
        yield skipped(kind.kind, "the kinds of the Prometheus operator are not served here", remedy)
        return
    if not ours:
        other = f", or fine as it is with {kind.instead}.enabled" if kind.instead else ""
        remedy = f"`helm upgrade … --set {kind.value}.enabled=true`{other}"
        yield warn(kind.kind, "the chart has not made one: nobody scrapes or alerts by it", remedy)
    for one in ours:
        yield _judged(client, kind, one, there)


def _judged(client: ClusterClient, kind: Kind, ours: Body, servers: tuple[Body, ...]) -> Row:
    name = f"{kind.kind} {place_of(ours)}"
    if not servers:
        return warn(name, "no Prometheus object is there to select it", "install a Prometheus")
    space = str(mapping(ours, "metadata").get("namespace"))
    labels = functools.cache(lambda: _namespace_labels(client, space))
    doubts = {place_of(server): obstacle(kind, server, ours, labels) for server in servers}
    if chosen := [server for server, doubt in doubts.items() if not doubt]:
        return ok(name, f"selected by Prometheus {', '.join(chosen)}")
    told = "; ".join(f"Prometheus {server}: {doubt}" for server, doubt in doubts.items())
    remedy = (
        f"`helm upgrade … --set {kind.value}.additionalLabels.KEY=VALUE` with a label that it asks for, "
        "or widen that selector"
    )
    return warn(name, told, remedy)


def obstacle(kind: Kind, server: Body, ours: Body, namespace_labels: Callable[[], Labels]) -> str:
    """Why a Prometheus object does not select one of ours; "" when it does."""
    spec = mapping(server, "spec")
    own, spaces = f"{kind.field}Selector", f"{kind.field}NamespaceSelector"
    if spec.get(own) is None:
        return f"{own} is not set, which selects none"
    if doubt := mismatch(spec[own], mapping(ours, "metadata", "labels")):
        return f"{own} asks for {doubt}"
    space = str(mapping(ours, "metadata").get("namespace"))
    if spec.get(spaces) is None:
        theirs = mapping(server, "metadata").get("namespace")
        return "" if space == theirs else f"{spaces} is not set: it reads namespace {theirs} alone"
    doubt = mismatch(spec[spaces], namespace_labels()) if spec[spaces] else ""
    return f"{spaces} asks of namespace {space} for {doubt}" if doubt else ""


def mismatch(selector: Any, labels: Labels) -> str:
    """The first requirement of a `metav1.LabelSelector` that labels do not meet; "" when they meet all."""
    for key, value in mapping(selector, "matchLabels").items():
        if labels.get(key) != value:
            return f"{key}={value}"
    for wanted in objects(selector, "matchExpressions"):
        key, values = str(wanted.get("key")), wanted.get("values") or []
        operator, has = wanted.get("operator"), key in labels
        met = {
            "In": has and labels.get(key) in values,
            "NotIn": not has or labels.get(key) not in values,
            "Exists": has,
            "DoesNotExist": not has,
        }
        if not met.get(str(operator), False):
            return f"{key} {operator} {', '.join(map(str, values))}".rstrip()
    return ""


def _namespace_labels(client: ClusterClient, namespace: str) -> Labels:
    return mapping(client.get(f"/api/v1/namespaces/{namespace}"), "metadata", "labels")
