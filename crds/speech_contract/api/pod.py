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
    key: Text
    optional: bool = False


class FieldReference(Model):
    """A field of the pod, as in the downward API."""

    field_path: Text


class EnvironmentSource(Model):
    """Where the value of an environment variable comes from: exactly one of these."""

    secret_key_ref: KeyReference | None = None
    config_map_key_ref: KeyReference | None = None
    field_ref: FieldReference | None = None

    @model_validator(mode="after")
    def _one(self) -> EnvironmentSource:
        _exactly_one(self, "secret_key_ref", "config_map_key_ref", "field_ref")
        return self


class EnvironmentVariable(Model):
    """One environment variable of the trainer; a Secret is referred to, never written out."""

    name: Annotated[str, Field(pattern=ENV_NAME, max_length=253)]
    value: str | None = None
    value_from: EnvironmentSource | None = None

    @model_validator(mode="after")
    def _one(self) -> EnvironmentVariable:
        if self.value is not None and self.value_from is not None:
            _exactly_one(self, "value", "value_from")
        return self


class NamedReference(Model):
    """A ConfigMap or Secret, whole."""

    name: Name
    optional: bool = False


class EnvironmentFrom(Model):
    """Many environment variables from one ConfigMap or Secret."""

    prefix: str = ""
    config_map_ref: NamedReference | None = None
    secret_ref: NamedReference | None = None

    @model_validator(mode="after")
    def _one(self) -> EnvironmentFrom:
        _exactly_one(self, "config_map_ref", "secret_ref")
        return self


class VolumeMount(Model):
    """Where a volume of `pod.volumes` appears in the trainer's container."""

    name: Label
    mount_path: Annotated[str, Field(pattern="^/", max_length=1024)]
    read_only: bool = False
    sub_path: str = ""


class Capabilities(Model):
    """RDMA needs locked memory; nothing else may be added."""

    add: list[Literal["IPC_LOCK"]] = Field(default_factory=list)


class SecurityContext(Model):
    """Who the trainer runs as. Never root, never privileged: those fields do not exist here."""

    run_as_user: Annotated[int, Field(ge=1)] | None = None
    run_as_group: Annotated[int, Field(ge=1)] | None = None
    read_only_root_filesystem: bool = False
    capabilities: Capabilities | None = None


class Resources(Model):
    """Kubernetes resources of one node's pod, as in `nvidia.com/gpu: 8`."""

    limits: dict[str, Quantity] = Field(default_factory=dict)
    requests: dict[str, Quantity] = Field(default_factory=dict)


class Trainer(Model):
    """The container `pytorch`. On one machine image, resources and mounts of the cluster are ignored."""

    image: Annotated[str, Field(max_length=1024)] = ""
    """Image of the trainer; empty means the operator's default."""
    command: list[str] = Field(default_factory=list)
    """What to run; for the custom recipe alone."""
    args: list[str] = Field(default_factory=list)
    resources_per_node: Resources = Field(default_factory=Resources)
    env: list[EnvironmentVariable] = Field(default_factory=list)
    env_from: list[EnvironmentFrom] = Field(default_factory=list)
    volume_mounts: list[VolumeMount] = Field(default_factory=list)
    security_context: SecurityContext = Field(default_factory=SecurityContext)


class PersistentVolumeClaim(Model):
    """A claim in the job's namespace."""

    claim_name: Name
    read_only: bool = False


class EmptyDirectory(Model):
    """Scratch space that dies with the pod."""

    medium: Literal["", "Memory"] = ""
    size_limit: Quantity | None = None


class KeyToPath(Model):
    """One key of a ConfigMap or Secret as a file."""

    key: Text
    path: Text


class ConfigMapVolume(Model):
    """A ConfigMap as files."""

    name: Name
    items: list[KeyToPath] = Field(default_factory=list)
    optional: bool = False


class SecretVolume(Model):
    """A Secret as files; referred to by name."""

    secret_name: Name
    items: list[KeyToPath] = Field(default_factory=list)
    optional: bool = False


class Volume(Model):
    """A volume of the pod: exactly one of the sources that restricted Pod Security lets through."""

    name: Label
    persistent_volume_claim: PersistentVolumeClaim | None = None
    empty_dir: EmptyDirectory | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None

    @model_validator(mode="after")
    def _one(self) -> Volume:
        _exactly_one(self, "persistent_volume_claim", "empty_dir", "config_map", "secret")
        return self


class Affinity(Model):
    """Kubernetes' affinity, passed on."""

    node_affinity: Passed | None = None
    pod_affinity: Passed | None = None
    pod_anti_affinity: Passed | None = None


class Toleration(Model):
    """A taint that the pod may stand on."""

    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None


class TopologySpreadConstraint(Model):
    """How the pods spread over a topology."""

    max_skew: Annotated[int, Field(ge=1)]
    topology_key: Text
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    label_selector: Passed | None = None
    min_domains: Annotated[int, Field(ge=1)] | None = None
    match_label_keys: list[str] = Field(default_factory=list)


class PullSecret(Model):
    """A Secret with the registry's credentials."""

    name: Name


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
    tolerations: list[Toleration] = Field(default_factory=list)
    affinity: Annotated[Affinity, WithJsonSchema(_OPEN_SCHEMA)] | None = None
    """nodeAffinity, podAffinity and podAntiAffinity as Kubernetes has them."""
    topology_spread_constraints: list[TopologySpreadConstraint] = Field(default_factory=list)
    service_account_name: OptionalName = ""
    priority_class_name: OptionalName = ""
    runtime_class_name: OptionalName = ""
    scheduler_name: OptionalName = ""
    image_pull_secrets: list[PullSecret] = Field(default_factory=list)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
