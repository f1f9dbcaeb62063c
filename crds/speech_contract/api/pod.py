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
)
from speech_contract.errors import ContractError

Text = Annotated[str, Field(min_length=1)]


def _exactly_one(owner: Model, *names: str) -> None:
    aliases = {name: type(owner).model_fields[name].alias or name for name in names}
    given = [alias for name, alias in aliases.items() if getattr(owner, name) is not None]
    if len(given) != 1:
        rule = f"sets {', '.join(given) or 'none'} of {', '.join(aliases.values())}"
        raise ContractError("", getattr(owner, "name", ""), rule, "set exactly one of them")


class KeyReference(Model):
    """One key of a ConfigMap or Secret in the job's namespace."""

    name: Name
    """Name of the ConfigMap or Secret."""
    key: Text
    """The key whose value is taken."""
    optional: bool = False
    """True starts the pod even when object or key is not there."""


class FieldReference(Model):
    """A field of the pod, as in the downward API."""

    field_path: Text
    """As in `metadata.name` or `status.podIP`."""


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
        _exactly_one(self, "secret_key_ref", "config_map_key_ref", "field_ref")
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
            _exactly_one(self, "value", "value_from")
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
        _exactly_one(self, "config_map_ref", "secret_ref")
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


class PersistentVolumeClaim(Model):
    """A claim in the job's namespace."""

    claim_name: Name
    """Name of the claim in the job's namespace."""
    read_only: bool = False
    """True forbids writing."""


class EmptyDirectory(Model):
    """Scratch space that dies with the pod."""

    medium: Literal["", "Memory"] = ""
    """Memory keeps it in RAM; empty means the node's disk."""
    size_limit: Quantity | None = None
    """Largest size, as in 10Gi; unset means none."""


class KeyToPath(Model):
    """One key of a ConfigMap or Secret as a file."""

    key: Text
    """Key of the ConfigMap or Secret."""
    path: Text
    """Its file, relative to the mount."""


class ConfigMapVolume(Model):
    """A ConfigMap as files."""

    name: Name
    """Name of the ConfigMap."""
    items: list[KeyToPath] = Field(default_factory=list)
    """Keys that become files; empty means all."""
    optional: bool = False
    """True starts the pod even when it is not there."""


class SecretVolume(Model):
    """A Secret as files; referred to by name."""

    secret_name: Name
    """Name of the Secret."""
    items: list[KeyToPath] = Field(default_factory=list)
    """Keys that become files; empty means all."""
    optional: bool = False
    """True starts the pod even when it is not there."""


class Volume(Model):
    """A volume of the pod: exactly one of the sources that restricted Pod Security lets through."""

    name: Label
    """What `trainer.volumeMounts` calls it."""
    persistent_volume_claim: PersistentVolumeClaim | None = None
    """A claim in the job's namespace."""
    empty_dir: EmptyDirectory | None = None
    """Scratch space that dies with the pod."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap as files."""
    secret: SecretVolume | None = None
    """A Secret as files."""

    @model_validator(mode="after")
    def _one(self) -> Volume:
        _exactly_one(self, "persistent_volume_claim", "empty_dir", "config_map", "secret")
        return self


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


_VOLUMES_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "maxLength": 63}},
        "x-kubernetes-preserve-unknown-fields": True,
    },
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
_OPEN_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "x-kubernetes-preserve-unknown-fields": True,
}


class Pod(Model):
    """How and where the pods run. On one machine only the names of volumes matter."""

    volumes: Annotated[list[Volume], WithJsonSchema(_VOLUMES_SCHEMA)] = Field(default_factory=list)
    """persistentVolumeClaim, emptyDir, configMap or secret; nothing of the host."""
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
