"""What the operator may do with an API server: the rules of the chart's roles, as rows.

The chart's `speechtrain.jobRules` grants them, `speechtrain doctor` asks the API server whether they hold, and
tests/contract/test_rights.py compares the two.
"""

from __future__ import annotations

from typing import Final

from speech_contract import names
from speech_contract.values import Value, frozen


@frozen
class Right(Value):
    """Verbs on one resource of one API group; a subresource is named as RBAC names it, `pods/log`."""

    group: str
    resource: str
    verbs: tuple[str, ...]


OPERATOR_RIGHTS: Final = (
    Right(names.GROUP, names.PLURAL, ("delete", "get", "list", "watch")),
    Right(names.GROUP, names.RUNTIME_PLURAL, ("list", "watch")),
    Right(names.GROUP, f"{names.PLURAL}/status", ("update",)),
    Right(names.GROUP, f"{names.PLURAL}/finalizers", ("update",)),
    Right("", "pods", ("create", "delete", "get", "list", "watch")),
    Right("", "services", ("create", "get", "list")),
    Right("", "configmaps", ("create", "delete", "list")),
    Right("", "events", ("create", "list")),
)
# Of no namespace, whatever namespaces are watched: the chart's role NAME-runtimes.
CLUSTER_RIGHTS: Final = (Right(names.GROUP, names.CLUSTER_RUNTIME_PLURAL, ("list", "watch")),)
# Of no namespace either, where the chart's nodeWatch.enabled is set: the role NAME-nodes.
NODE_RIGHTS: Final = (Right("", "nodes", ("get", "list", "watch")),)
# Beside those where the chart's kueue.enabled is set.
QUEUE_RIGHTS: Final = (
    Right(names.KUEUE_GROUP, "workloads", ("create", "delete", "get", "list", "watch")),
    Right(names.KUEUE_GROUP, "workloads/status", ("update",)),
)
