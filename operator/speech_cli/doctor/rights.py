"""Checks of rights, by asking the API server itself (SubjectAccessReview). Called by `doctor.cluster`.

Of the operator, what the chart's roles should grant it; of the person, what each command needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from speech_cli.cluster_client import ClusterClient
from speech_cli.doctor.installation import UPGRADE, operators, place_of
from speech_cli.doctor.row import Row, fail, ok, skipped, warn
from speech_cli.rendering.view import mapping, objects
from speech_contract import env, names
from speech_contract.rights import (
    CLUSTER_RIGHTS,
    NODE_RIGHTS,
    OPERATOR_RIGHTS,
    QUEUE_RIGHTS,
    Right,
)

REVIEWS: Final = "/apis/authorization.k8s.io/v1"
# What a person does → the right it needs, in the words of docs/cluster-cli.md.
OF_A_PERSON: Final = {
    "status, why, wait and top": Right(names.GROUP, names.PLURAL, ("get", "list")),
    "submitting a job": Right(names.GROUP, names.PLURAL, ("create",)),
    "suspend and resume": Right(names.GROUP, names.PLURAL, ("patch",)),
    "causes of failed pods": Right("", "pods", ("list",)),
    "events in `why`": Right("", "events", ("list",)),
    "logs": Right("", "pods/log", ("get",)),
}
ASK: Final = (
    "ask for the role `view` or `edit` of the namespace: the chart adds its jobs to both of them"
)
Attributes = dict[str, str]


def of_person(client: ClusterClient, namespace: str) -> Iterator[Row]:
    """What the person may do with the jobs of a namespace."""
    missing = [
        f"{what} ({verb} {right.resource})"
        for what, right in OF_A_PERSON.items()
        for verb in right.verbs
        if not _allowed(client, _attributes(right, verb, namespace))
    ]
    name = "your rights"
    if missing:
        yield warn(name, f"in namespace {namespace} you may not: {', '.join(missing)}", ASK)
    else:
        yield ok(name, f"in namespace {namespace} every command may be used")


def of_operators(client: ClusterClient) -> Iterator[Row]:
    """What each operator may do in the namespaces that it watches."""
    found = operators(client)
    if not found:
        yield skipped("operator's rights", "there is no operator to ask about")
    for deployment in found:
        yield _of_operator(client, deployment)
        yield _of_nodes(client, deployment)


def _of_operator(client: ClusterClient, deployment: Mapping[str, Any]) -> Row:
    settings = _settings(deployment)
    rights = OPERATOR_RIGHTS + (QUEUE_RIGHTS if settings.get("KUEUE") == "true" else ())
    watched = [n for n in settings.get("WATCH_NAMESPACES", "").split(",") if n] or [""]
    asked = [(namespace, right) for namespace in watched for right in rights]
    asked += [("", right) for right in CLUSTER_RIGHTS]
    missing = _missing(client, _account(deployment), asked)
    name = f"operator's rights {place_of(deployment)}"
    if missing:
        remedy = f"{UPGRADE}: it brings its roles; see that nothing edits them afterwards"
        return fail(name, f"its account may not {', '.join(missing)}", remedy)
    where = ", ".join(watched) if watched != [""] else "all namespaces"
    return ok(name, f"all that it needs, in {where}")


def _of_nodes(client: ClusterClient, deployment: Mapping[str, Any]) -> Row:
    """What an operator without it does not know; all else works."""
    name = f"operator's view of nodes {place_of(deployment)}"
    late = "a lost node is noticed when Kubernetes takes its pods off, minutes later"
    if _settings(deployment).get("NODE_WATCH") != "true":
        return skipped(name, f"it watches no nodes: {late} (chart: nodeWatch.enabled)")
    missing = _missing(client, _account(deployment), [("", right) for right in NODE_RIGHTS])
    if not missing:
        return ok(name, "it watches them: a lost one is noticed by itself")
    remedy = "let who may grant it install the chart's ClusterRole for nodes, or set nodeWatch.enabled: false"
    return warn(name, f"its account may not {', '.join(missing)}: {late}", remedy)


def _missing(
    client: ClusterClient, account: tuple[str, str], asked: Iterable[tuple[str, Right]]
) -> list[str]:
    """What of these the account may not do, by namespace and right; "" is the whole cluster."""
    return [
        f"{verb} {right.resource}{f' in {namespace}' if namespace else ''}"
        for namespace, right in asked
        for verb in right.verbs
        if not _allowed(client, _attributes(right, verb, namespace), account)
    ]


def _settings(deployment: Mapping[str, Any]) -> dict[str, str]:
    """What the chart told the operator, by the names of its settings in capitals."""
    containers = objects(deployment, "spec", "template", "spec", "containers")
    return {
        str(item.get("name")).removeprefix(env.OPERATOR_PREFIX): str(item.get("value") or "")
        for container in containers
        for item in objects(container, "env")
    }


def _account(deployment: Mapping[str, Any]) -> tuple[str, str]:
    pod = mapping(deployment, "spec", "template", "spec")
    namespace = str(mapping(deployment, "metadata").get("namespace"))
    return namespace, str(pod.get("serviceAccountName") or "default")


def _attributes(right: Right, verb: str, namespace: str) -> Attributes:
    resource, _, sub = right.resource.partition("/")
    told = {"group": right.group, "resource": resource, "subresource": sub, "verb": verb}
    return {**told, "namespace": namespace}


def _allowed(
    client: ClusterClient, attributes: Attributes, account: tuple[str, str] | None = None
) -> bool:
    """The API server's own answer, about a service account or about whoever asks. Raises Forbidden."""
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    kind = "SelfSubjectAccessReview"
    if account is not None:
        kind, (namespace, name) = "SubjectAccessReview", account
        spec["user"] = f"system:serviceaccount:{namespace}:{name}"
        own = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
        spec["groups"] = [*own, "system:authenticated"]
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    answer = client.create(f"{REVIEWS}/{kind.lower()}s", body)
    return mapping(answer, "status").get("allowed") is True
