"""The part of Kubernetes' pod that a job may set: `spec.trainer` and `spec.pod`, an allow-list.

No hostPath, no host network, nothing privileged, no values of Secrets: what is not listed here is
refused. Kubernetes' own big types (volumes, affinity) are checked here and not inlined into the CRD.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema, model_validator

from speech_contract.api.base import (
    ENV_NAME,
    Label,
    Model,
    Name,
    OptionalName,
    Passed,
    Quantity,
    Text,
    exactly_one,
)
from speech_contract.api.volumes import VOLUMES_SCHEMA, FieldReference, Volume


class KeyReference(Model):
    """One key of a ConfigMap or Secret in the job's namespace."""

    name: Name
    """Name of the ConfigMap or Secret."""
    key: Text
    """The key whose value is taken."""
    optional: bool = False
    """True starts the pod even when object or key is not there."""


class EnvironmentSource(Model):
    """Where the value of an environment variable comes from: exactly one of these."""

    secret_key_ref: KeyReference | None = None
    """One key of a Secret."""
    config_map_key_ref: KeyReference | None = None
    """One key of a ConfigMap."""
    field_ref: FieldReference | None = None
    """One field of the pod."""

    @model_validator(mode="after")
    def _one(self) -> EnvironmentSource:
        exactly_one(self, "secret_key_ref", "config_map_key_ref", "field_ref")
        return self


class EnvironmentVariable(Model):
    """One environment variable of the trainer; a Secret is referred to, never written out."""

    name: Annotated[str, Field(pattern=ENV_NAME, max_length=253)]
    """Name of the variable; those that the operator sets are refused."""
    value: str | None = None
    """Its value; empty when neither this nor valueFrom is set."""
    value_from: EnvironmentSource | None = None
    """Where the value comes from, instead of `value`."""

    @model_validator(mode="after")
    def _one(self) -> EnvironmentVariable:
        if self.value is not None and self.value_from is not None:
            exactly_one(self, "value", "value_from")
        return self


class NamedReference(Model):
    """A ConfigMap or Secret, whole."""

    name: Name
    """Name of the ConfigMap or Secret."""
    optional: bool = False
    """True starts the pod even when it is not there."""


class EnvironmentFrom(Model):
    """Many environment variables from one ConfigMap or Secret."""

    prefix: str = ""
    """Put before each name; empty by default."""
    config_map_ref: NamedReference | None = None
    """Every key of a ConfigMap."""
    secret_ref: NamedReference | None = None
    """Every key of a Secret."""

    @model_validator(mode="after")
    def _one(self) -> EnvironmentFrom:
        exactly_one(self, "config_map_ref", "secret_ref")
        return self


class VolumeMount(Model):
    """Where a volume of `pod.volumes` appears in the trainer's container."""

    name: Label
    """Name of a volume of `pod.volumes`."""
    mount_path: Annotated[str, Field(pattern="^/", max_length=1024)]
    """Absolute path in the container."""
    read_only: bool = False
    """True forbids writing."""
    sub_path: str = ""
    """Folder of the volume that is mounted; empty means its root."""


class Capabilities(Model):
    """RDMA needs locked memory; nothing else may be added."""

    add: list[Literal["IPC_LOCK"]] = Field(default_factory=list)
    """Linux capabilities to add; IPC_LOCK is the only one."""


class SecurityContext(Model):
    """Who the trainer runs as. Never root, never privileged: those fields do not exist here."""

    run_as_user: Annotated[int, Field(ge=1)] | None = None
    """User id, never 0; unset means the image's, which must not be root."""
    run_as_group: Annotated[int, Field(ge=1)] | None = None
    """Group id, never 0; unset means the image's."""
    read_only_root_filesystem: bool = False
    """True forbids writing outside of volumes."""
    capabilities: Capabilities | None = None
    """Linux capabilities; all are dropped but what is added here."""


class Resources(Model):
    """Kubernetes resources of one node's pod, as in `nvidia.com/gpu: 8`."""

    limits: dict[str, Quantity] = Field(default_factory=dict)
    """What one pod may use at most; its GPUs are counted as ranks."""
    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What one pod is sure to get; unset means the limits."""


class Trainer(Model):
    """The container `pytorch`. On one machine image, resources and mounts of the cluster are ignored."""

    image: Annotated[str, Field(max_length=1024)] = ""
    """Image of the trainer; empty means the operator's default."""
    command: list[str] = Field(default_factory=list)
    """What to run; for the custom recipe alone."""
    args: list[str] = Field(default_factory=list)
    """Arguments of the command; for the custom recipe alone."""
    resources_per_node: Resources = Field(default_factory=Resources)
    """What each pod asks for."""
    env: list[EnvironmentVariable] = Field(default_factory=list)
    """Environment variables of the trainer."""
    env_from: list[EnvironmentFrom] = Field(default_factory=list)
    """Environment variables from whole ConfigMaps and Secrets."""
    volume_mounts: list[VolumeMount] = Field(default_factory=list)
    """Where the volumes of `pod.volumes` appear."""
    security_context: SecurityContext = Field(default_factory=SecurityContext)
    """Who the trainer runs as."""


class Affinity(Model):
    """Kubernetes' affinity, passed on."""

    node_affinity: Passed | None = None
    """Which nodes to run on."""
    pod_affinity: Passed | None = None
    """Which pods to run beside."""
    pod_anti_affinity: Passed | None = None
    """Which pods to keep away from."""


class Toleration(Model):
    """A taint that the pod may stand on."""

    key: str = ""
    """Key of the taint; empty with operator Exists tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Exists asks for the key alone, Equal for the value too."""
    value: str = ""
    """Value of the taint."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Effect of the taint; empty tolerates all effects."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """Seconds on a node after a NoExecute taint appears; unset means for good."""


class TopologySpreadConstraint(Model):
    """How the pods spread over a topology."""

    max_skew: Annotated[int, Field(ge=1)]
    """Largest difference in pods between two domains."""
    topology_key: Text
    """Node label whose values are the domains."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What the scheduler does when it cannot keep the rule."""
    label_selector: Passed | None = None
    """Pods that are counted."""
    min_domains: Annotated[int, Field(ge=1)] | None = None
    """Least number of domains; unset means 1."""
    match_label_keys: list[str] = Field(default_factory=list)
    """Pod labels whose values narrow the pods that are counted."""


class PullSecret(Model):
    """A Secret with the registry's credentials."""

    name: Name
    """Name of the Secret."""


class PodSecurityContext(Model):
    """By which groups the pods reach their volumes. Who they run as stands in `trainer.securityContext`."""

    fs_group: Annotated[int, Field(ge=0)] | None = None
    """Group that volumes are given to; unset means `trainer.securityContext.runAsGroup`, else 10001, 0 leaves them."""
    supplemental_groups: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    """More groups of the pods' processes: for shares whose files no fsGroup changes, as on NFS."""


_OPEN_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "x-kubernetes-preserve-unknown-fields": True,
}


class Pod(Model):
    """How and where the pods run. On one machine only the names of volumes matter."""

    volumes: Annotated[list[Volume], WithJsonSchema(VOLUMES_SCHEMA)] = Field(default_factory=list)
    """persistentVolumeClaim, ephemeral, csi, emptyDir, configMap, secret or projected; nothing of the host."""
    security_context: PodSecurityContext = Field(default_factory=PodSecurityContext)
    """Groups by which the pods reach their volumes."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints that the pods may stand on."""
    affinity: Annotated[Affinity, WithJsonSchema(_OPEN_SCHEMA)] | None = None
    """nodeAffinity, podAffinity and podAntiAffinity as Kubernetes has them."""
    topology_spread_constraints: list[TopologySpreadConstraint] = Field(default_factory=list)
    """How the pods spread over zones or racks."""
    service_account_name: OptionalName = ""
    """Service account of the pods; empty means the namespace's default."""
    priority_class_name: OptionalName = ""
    """Priority class of the pods; empty means the cluster's default."""
    runtime_class_name: OptionalName = ""
    """Runtime class, as in nvidia; empty means the node's default."""
    scheduler_name: OptionalName = ""
    """Scheduler of the pods; empty means the cluster's default."""
    image_pull_secrets: list[PullSecret] = Field(default_factory=list)
    """Secrets with which images are pulled."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every pod, beside the operator's own."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of every pod."""
