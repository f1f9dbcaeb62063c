"""The kinds of objects that jobs are made of, one row each. Read by policies, clusters and informers.

A new kind is a row here, a policy that asks for it (`Create`, `Delete`, `Observed.of`), and the right to it in the
chart. The row's records reach the policy through `Observed.of`.
"""

from __future__ import annotations

from typing import Any, Final

from speech_contract import names
from speech_operator.child_kind import ChildKind, ChildRecord
from speech_operator.cluster.config_maps import stored
from speech_operator.cluster.pod_record import child_record, record
from speech_operator.snapshot import ConfigRecord, PodRecord

CONFIG_MAP: Final[ChildKind[ConfigRecord]] = ChildKind(
    "ConfigMap", "configmaps", "config map", stored
)
POD: Final[ChildKind[PodRecord]] = ChildKind("Pod", "pods", "pod", record, watched=True)
SERVICE: Final[ChildKind[ChildRecord]] = ChildKind(
    "Service", "services", "service", child_record, only_name=names.service_name
)
KINDS: Final[tuple[ChildKind[Any], ...]] = (CONFIG_MAP, POD, SERVICE)
