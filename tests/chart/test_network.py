"""Who may connect to whom where the chart's NetworkPolicies are on.

The policies are read as the API's documentation says (https://kubernetes.io/docs/concepts/services-networking/
network-policies/): pods that a policy selects are closed but for what some policy lets in. The cluster of the test
bed has no plugin that enforces them, so no connection is tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from product.chart import NAMESPACE, helm, only

from speech_contract import names
from speech_operator.resources.metadata import pod_labels

Object = dict[str, Any]
Render = Callable[..., list[Object]]
NAMESPACE_NAME = "kubernetes.io/metadata.name"
PROMETHEUS = {
    "namespaceSelector": {"matchLabels": {NAMESPACE_NAME: "monitoring"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
}
ON: Object = {
    "networkPolicy": {"enabled": True, "metricsFrom": [PROMETHEUS]},
    "watchNamespaces": ["speech", "asr"],
}
METRICS, RENDEZVOUS, PROBES = names.SUPERVISOR_PORT_NAME, "rendezvous", "probes"


class Pod(NamedTuple):
    """Where a pod is, and by what it is selected."""

    namespace: str
    labels: dict[str, str]


MASTER, WORKER = (
    Pod("speech", {names.LABEL_JOB_NAME: "te", **pod_labels(rank, 1)}) for rank in (0, 1)
)
SCRAPER = Pod("monitoring", {"app.kubernetes.io/name": "prometheus"})
STRANGER = Pod("speech", {"app": "notebook"})


def operator(objects: list[Object]) -> Pod:
    """The operator's pod, as the chart labels it."""
    template = only(objects, "Deployment")["spec"]["template"]
    return Pod(NAMESPACE, template["metadata"]["labels"])


def chosen(selector: Object, labels: dict[str, str]) -> bool:
    """A label selector with the operators that the chart uses."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    for one in selector.get("matchExpressions", []):
        assert one["operator"] == "Exists"
        wanted = wanted and one["key"] in labels
    return wanted


def let_in(peer: Object, source: Pod, home: str) -> bool:
    """Whether a peer of a policy in namespace `home` is `source`."""
    there = peer.get("namespaceSelector")
    near = (
        source.namespace == home
        if there is None
        else chosen(there, {NAMESPACE_NAME: source.namespace})
    )
    return near and chosen(peer.get("podSelector", {}), source.labels)


def reaches(objects: list[Object], source: Pod, target: Pod, port: str) -> bool:
    """Whether `source` may connect to that named port of `target`."""
    specs = [
        o["spec"]
        for o in objects
        if o["kind"] == "NetworkPolicy"
        and o["metadata"]["namespace"] == target.namespace
        and chosen(o["spec"]["podSelector"], target.labels)
    ]
    return not specs or any(
        port in [p["port"] for p in rule.get("ports", [{"port": port}])]
        and any(let_in(peer, source, target.namespace) for peer in rule["from"])
        for spec in specs
        for rule in spec["ingress"]
    )


def test_supervisors_and_the_operator_are_open_to_those_who_need_them_alone(render: Render) -> None:
    objects = render(**ON)
    boss = operator(objects)
    tester = Pod(NAMESPACE, only(objects, "Pod")["metadata"]["labels"])
    pods = {
        "rank": WORKER,
        "operator": boss,
        "scraper": SCRAPER,
        "stranger": STRANGER,
        "test": tester,
    }
    doors = {"job": (MASTER, METRICS), "ranks": (MASTER, RENDEZVOUS), "operator": (boss, METRICS)}
    doors["probes"] = (boss, PROBES)
    open_to = {
        door: {name for name, pod in pods.items() if reaches(objects, pod, *place)}
        for door, place in doors.items()
    }
    assert open_to == {
        "job": {"rank", "operator", "scraper"},
        "ranks": {"rank"},
        "operator": {"scraper", "test"},
        "probes": set(),  # the kubelet is no pod: no policy keeps it out
    }


def test_pods_that_are_not_ours_stay_as_they_were(render: Render) -> None:
    assert reaches(render(**ON), SCRAPER, STRANGER, "http")


def test_a_namesake_in_another_namespace_stays_outside(render: Render) -> None:
    objects = render(**ON)
    for pod in (operator(objects), SCRAPER, WORKER):
        assert not reaches(objects, pod._replace(namespace="evil"), MASTER, METRICS)


def test_the_namespaces_are_those_watched_or_named(render: Render) -> None:
    def places(**values: Any) -> set[str]:
        found = [o for o in render(**values) if o["kind"] == "NetworkPolicy"]
        return {o["metadata"]["namespace"] for o in found}

    named = {"enabled": True, "metricsFrom": [PROMETHEUS], "jobNamespaces": ["asr"]}
    assert places() == set()
    assert places(**ON) == {NAMESPACE, "speech", "asr"}
    assert places(networkPolicy=named) == {NAMESPACE, "asr"}
    assert places(networkPolicy={"enabled": True}) == {NAMESPACE}


def test_monitors_that_nobody_could_follow_are_refused() -> None:
    values = {"networkPolicy": {"enabled": True}, "podMonitor": {"enabled": True}}
    done = helm("template", "st", values=values)
    assert done.returncode != 0
    assert "networkPolicy.metricsFrom is empty" in done.stderr


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_budget_guards_the_stand_by_and_never_holds_up_a_drain(
    render: Render, replicas: int
) -> None:
    objects = render(operator={"replicaCount": replicas})
    budgets = [o for o in objects if o["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == replicas - 1
    for budget in budgets:
        assert budget["spec"]["maxUnavailable"] == 1
        assert chosen(budget["spec"]["selector"], operator(objects).labels)
