"""The kinds of objects that jobs are made of, one row each. Read by policies, clusters and informers.

A new kind is a row here, a policy that asks for it (`Create`, `Delete`, `Observed.of`), and the right to it in the
chart. The row's records reach the policy through `Observed.of`.
"""

from __future__ import annotations

import functools
from typing import Any, Final

from speech_contract import names
from speech_operator.child_kind import ChildKind, ChildRecord, Record
from speech_operator.cluster.config_maps import stored
from speech_operator.cluster.kueue_records import flavor, priority, workload
from speech_operator.cluster.node_record import node
from speech_operator.cluster.pod_record import child_record, record
from speech_operator.cluster.runtime_records import runtime
from speech_operator.runtimes import is_named
from speech_operator.snapshot import (
    ConfigRecord,
    FlavorRecord,
    NodeRecord,
    PodRecord,
    PriorityRecord,
    RuntimeRecord,
    WorkloadRecord,
)


def _serves(flavor: FlavorRecord, child: Record) -> bool:
    return isinstance(child, WorkloadRecord) and any(
        flavor.name in given.flavors for given in child.assignments.values()
    )


def _no_child(one: PriorityRecord, child: Record) -> bool:
    return False  # it is read when a Workload is made, and never again


def _carries(one: NodeRecord, child: Record) -> bool:
    return isinstance(child, PodRecord) and child.node == one.name


CONFIG_MAP: Final[ChildKind[ConfigRecord]] = ChildKind(
    "ConfigMap", "configmaps", "config map", stored
)
POD: Final[ChildKind[PodRecord]] = ChildKind("Pod", "pods", "pod", record, watched=True)
SERVICE: Final[ChildKind[ChildRecord]] = ChildKind(
    "Service", "services", "service", child_record, only_name=names.service_name
)
WORKLOAD: Final[ChildKind[WorkloadRecord]] = ChildKind(
    "Workload", "workloads", "Workload", workload,
    api_version=names.KUEUE_API_VERSION, watched=True, optional=True,
)  # fmt: skip
FLAVOR: Final[ChildKind[FlavorRecord]] = ChildKind(
    "ResourceFlavor", "resourceflavors", "ResourceFlavor", flavor,
    api_version=names.KUEUE_API_VERSION, namespaced=False, watched=True, optional=True, concerns=_serves,
)  # fmt: skip
QUEUE_PRIORITY: Final[ChildKind[PriorityRecord]] = ChildKind(
    "WorkloadPriorityClass", "workloadpriorityclasses", "WorkloadPriorityClass", priority,
    api_version=names.KUEUE_API_VERSION, namespaced=False, watched=True, optional=True, concerns=_no_child,
)  # fmt: skip
PRIORITY: Final[ChildKind[PriorityRecord]] = ChildKind(
    "PriorityClass", "priorityclasses", "PriorityClass", priority,
    api_version="scheduling.k8s.io/v1", namespaced=False, watched=True, optional=True, concerns=_no_child,
)  # fmt: skip
RUNTIME: Final[ChildKind[RuntimeRecord]] = ChildKind(
    names.RUNTIME_KIND, names.RUNTIME_PLURAL, "runtime",
    functools.partial(runtime, names.RUNTIME_KIND),
    api_version=names.API_VERSION, watched=True, optional=True, named_by=is_named,
)  # fmt: skip
CLUSTER_RUNTIME: Final[ChildKind[RuntimeRecord]] = ChildKind(
    names.CLUSTER_RUNTIME_KIND, names.CLUSTER_RUNTIME_PLURAL, "runtime",
    functools.partial(runtime, names.CLUSTER_RUNTIME_KIND),
    api_version=names.API_VERSION, namespaced=False, watched=True, optional=True, named_by=is_named,
)  # fmt: skip
# Looked at by name alone (`Cluster.nodes`), by an operator that is told to.
NODE: Final[ChildKind[NodeRecord]] = ChildKind(
    "Node", "nodes", "node", node,
    namespaced=False, watched=True, optional=True, concerns=_carries, page=50,
    without="a lost node is told by what Kubernetes does to its pods, minutes later: grant get, list, watch of nodes "
    "(chart: nodeWatch.enabled: true), or set nodeWatch.enabled: false",
)  # fmt: skip
KINDS: Final[tuple[ChildKind[Any], ...]] = (CONFIG_MAP, POD, SERVICE)
# What a job is read with. An older CRD than ours has none of them.
RUNTIMES: Final[tuple[ChildKind[RuntimeRecord], ...]] = (RUNTIME, CLUSTER_RUNTIME)
# Looked at only by an operator that is told to, for the sake of jobs that Kueue admits.
KUEUE_KINDS: Final[tuple[ChildKind[Any], ...]] = (WORKLOAD, FLAVOR, QUEUE_PRIORITY, PRIORITY)


def kinds(*, kueue: bool) -> tuple[ChildKind[Any], ...]:
    """Every kind that an operator looks at."""
    return (*KINDS, *RUNTIMES, *KUEUE_KINDS) if kueue else (*KINDS, *RUNTIMES)
