"""Volumes of a pod: which sources a job may name, an allow-list. Used by `pod`; `rules` asks which ones stay.

Those that restricted Pod Security lets through, and no more: nothing of the node. Kubernetes' big types are
checked here and not inlined into the CRD. A Secret comes into a pod in one way, a volume of its own that names it, so
that whoever looks for it need look at one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from speech_contract.api.base import Label, Model, Name, Quantity, Text, exactly_one
from speech_contract.errors import ContractError

AS_SECRET: Final = "name the Secret in a volume of its own, as `secret: {secretName: …}`"  # noqa: S105
# Sources of Kubernetes' `projected` that carry credentials, and what to do instead.
CREDENTIALS: Final = {
    "secret": ("is a Secret, which no projected volume of a job holds", AS_SECRET),
    "serviceAccountToken": (
        "is a credential for the API server, which no pod of a job gets",
        "give the pods an account by pod.serviceAccountName where a cloud ties its rights to one, else " + AS_SECRET,
    ),
    "podCertificate": ("is a private key, which no projected volume of a job holds", AS_SECRET),
}  # fmt: skip


class PersistentVolumeClaim(Model):
    """A claim in the job's namespace."""

    claim_name: Name
    """Name of the claim in the job's namespace."""
    read_only: bool = False
    """True forbids writing, and leaves group and modes of its files as they are."""


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


class ClaimMetadata(Model):
    """What a claim that is made for a pod carries."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the claim."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the claim."""


class ClaimResources(Model):
    """How large a claim is."""

    requests: Annotated[dict[Literal["storage"], Quantity], Field(min_length=1)]
    """Size, as in `storage: 100Gi`."""


class ClaimSpec(Model):
    """What a claim asks for; it holds a file system."""

    access_modes: Annotated[
        list[Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany", "ReadOnlyMany"]],
        Field(min_length=1),
    ]
    """Who may mount it; a volume of one pod needs ReadWriteOnce alone."""
    resources: ClaimResources
    """How large it is."""
    storage_class_name: str | None = None
    """Storage class; unset means the cluster's default, empty a volume that somebody made by hand."""


class ClaimTemplate(Model):
    """The claim that is made for each pod."""

    metadata: ClaimMetadata = Field(default_factory=ClaimMetadata)
    """What it carries."""
    spec: ClaimSpec
    """What it asks for."""


class EphemeralVolume(Model):
    """A claim of its own for each pod, which goes with it: scratch space of a storage class."""

    volume_claim_template: ClaimTemplate
    """The claim."""


class SecretReference(Model):
    """A Secret in the job's namespace."""

    name: Name
    """Name of the Secret."""


class CSIVolume(Model):
    """A volume that a CSI driver makes for the pod, if it knows how (`Ephemeral` in its CSIDriver)."""

    driver: Name
    """Name of the driver."""
    read_only: bool = False
    """True forbids writing."""
    fs_type: str | None = None
    """File system; unset means the driver's."""
    volume_attributes: dict[str, str] = Field(default_factory=dict)
    """What the driver wants to know. Everybody who reads the job reads it too: no passwords."""
    node_publish_secret_ref: SecretReference | None = None
    """Secret that the kubelet hands to the driver."""


class FieldReference(Model):
    """A field of the pod, as in the downward API."""

    field_path: Text
    """As in `metadata.name` or `status.podIP`."""


class FieldFile(Model):
    """A field of the pod as a file."""

    path: Text
    """Its file, relative to the mount."""
    field_ref: FieldReference
    """Which field."""


class DownwardAPI(Model):
    """Fields of the pod as files."""

    items: list[FieldFile] = Field(default_factory=list)
    """Which files."""


class Projection(Model):
    """One source of a projected volume: exactly one of these, none of which carries a credential."""

    config_map: ConfigMapVolume | None = None
    """A ConfigMap."""
    downward_api: Annotated[DownwardAPI | None, Field(alias="downwardAPI")] = None
    """Fields of the pod."""

    @model_validator(mode="before")
    @classmethod
    def _without_credentials(cls, value: Any) -> Any:
        for kind in CREDENTIALS if isinstance(value, Mapping) else ():
            if kind in value:
                raise ContractError(kind, value[kind], *CREDENTIALS[kind])
        return value

    @model_validator(mode="after")
    def _one(self) -> Projection:
        exactly_one(self, "config_map", "downward_api")
        return self


class ProjectedVolume(Model):
    """Several sources in one folder."""

    sources: Annotated[list[Projection], Field(min_length=1)]
    """configMap or downwardAPI; no credentials."""


class Volume(Model):
    """A volume of the pod: exactly one of the sources that restricted Pod Security lets through."""

    name: Label
    """What `trainer.volumeMounts` calls it."""
    persistent_volume_claim: PersistentVolumeClaim | None = None
    """A claim in the job's namespace."""
    ephemeral: EphemeralVolume | None = None
    """A claim of its own for each pod, which goes with it."""
    csi: CSIVolume | None = None
    """A volume that a CSI driver makes for the pod."""
    empty_dir: EmptyDirectory | None = None
    """Scratch space that dies with the pod."""
    config_map: ConfigMapVolume | None = None
    """A ConfigMap as files."""
    secret: SecretVolume | None = None
    """A Secret as files."""
    projected: ProjectedVolume | None = None
    """Several sources in one folder."""

    @model_validator(mode="after")
    def _one(self) -> Volume:
        exactly_one(self, *(name for name in type(self).model_fields if name != "name"))
        return self

    @property
    def source(self) -> str:
        """The source that is set, as a manifest writes it."""
        fields = type(self).model_fields
        names = (name for name in fields if name != "name" and getattr(self, name) is not None)
        return str(fields[next(names)].alias)


VOLUMES_SCHEMA: Final[dict[str, Any]] = {
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
