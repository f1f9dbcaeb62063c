"""Volumes, mounts and environment of the container `pytorch`. Called by `template`."""

from __future__ import annotations

from typing import Any, Final

from speech_cli.conversion.notes import Notes, Reader
from speech_contract.api.rules import OURS_TO_SET

SHM: Final = "/dev/shm"  # noqa: S108 - a path in the pod
AS_CLAIM: Final = "make it a PersistentVolumeClaim and name that"
MODES: Final = {"defaultMode": "files of a volume keep Kubernetes' default mode"}
FIELDS: Final = {
    "persistentVolumeClaim": ("claimName", "readOnly"),
    "ephemeral": ("volumeClaimTemplate",),
    "csi": ("driver", "readOnly", "fsType", "volumeAttributes", "nodePublishSecretRef"),
    "emptyDir": ("medium", "sizeLimit"),
    "configMap": ("name", "optional"),
    "secret": ("secretName", "optional"),
    "projected": ("sources",),
}


def volumes(pod: Reader, unused: frozenset[str]) -> list[dict[str, Any]]:
    """The volumes of a pod without those that are `unused` now."""
    found = []
    for item, path in pod.items("volumes"):
        reader = Reader(item, path, pod.notes)
        name = reader.take("name")
        if str(name) in unused:
            pod.notes.dropped(path, f"{SHM} is in memory in every pod")
            continue
        found.append({"name": name, **_source(reader)})
    return found


def _source(volume: Reader) -> dict[str, Any]:
    source: dict[str, Any] = {}
    for kind, fields in FIELDS.items():
        given = volume.take(kind)
        if given is None:
            continue
        inner = Reader(given, volume.at(kind), volume.notes)
        source[kind] = {name: value for name in fields if (value := inner.take(name)) is not None}
        if files := [_file(item, path, volume.notes) for item, path in inner.items("items")]:
            source[kind]["items"] = files
        inner.finish(MODES)
    if source:
        volume.notes.kept(volume.path)
    volume.refuse(
        "hostPath", rule="is a folder of the node, which a job cannot have", remedy=AS_CLAIM
    )
    for kind in volume.fields:
        volume.refuse(kind, rule="is a kind of volume that a job cannot have", remedy=AS_CLAIM)
    return source


def _file(item: Any, path: str, notes: Notes) -> dict[str, Any]:
    reader = Reader(item, path, notes)
    file = {"key": reader.take("key"), "path": reader.take("path")}
    reader.finish({"mode": MODES["defaultMode"]})
    return file


def mounts(container: Reader) -> tuple[list[dict[str, Any]], frozenset[str]]:
    """Mounts, and the names of volumes that only stood for shared memory."""
    kept: list[dict[str, Any]] = []
    shared: set[str] = set()
    for item, path in container.items("volumeMounts"):
        reader = Reader(item, path, container.notes)
        mount: dict[str, Any] = {"name": reader.take("name"), "mountPath": reader.take("mountPath")}
        if str(mount["mountPath"]).rstrip("/") == SHM:
            shared.add(str(mount["name"]))
            container.notes.dropped(path, f"{SHM} is in memory in every pod")
            continue
        for name in ("readOnly", "subPath"):
            if value := reader.take(name):
                mount[name] = value
        reader.refuse("subPathExpr", rule="is not possible here", remedy="write subPath")
        reader.finish()
        container.notes.kept(path)
        kept.append(mount)
    return kept, frozenset(shared - {str(mount["name"]) for mount in kept})


def environment(container: Reader) -> list[dict[str, Any]]:
    """Variables, without those that the operator sets."""
    found = []
    for item, path in container.items("env"):
        reader = Reader(item, path, container.notes)
        name = str(reader.take("name"))
        if name in OURS_TO_SET or name.startswith("PET_"):
            container.notes.dropped(f"{path} {name}", "the operator sets it")
            continue
        variable: dict[str, Any] = {"name": name}
        if (value := reader.take("value")) is not None:
            variable["value"] = value
        if source := _value_from(reader.inner("valueFrom")):
            variable["valueFrom"] = source
        reader.finish()
        container.notes.kept(f"{path} {name}")
        found.append(variable)
    return found


def _value_from(source: Reader) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("secretKeyRef", "configMapKeyRef", "fieldRef"):
        if (given := source.take(kind)) is not None:
            inner = Reader(given, source.at(kind), source.notes)
            fields = ("fieldPath",) if kind == "fieldRef" else ("name", "key", "optional")
            found[kind] = {n: value for n in fields if (value := inner.take(n)) is not None}
            inner.take("apiVersion")
            inner.finish()
    remedy = "write the value"
    source.refuse("resourceFieldRef", "fileKeyRef", rule="is not possible here", remedy=remedy)
    source.finish()
    return found


def environment_from(container: Reader) -> list[dict[str, Any]]:
    """Whole ConfigMaps and Secrets as variables."""
    found = []
    for item, path in container.items("envFrom"):
        reader = Reader(item, path, container.notes)
        source: dict[str, Any] = {}
        reader.keep(source, "prefix")
        for kind in ("configMapRef", "secretRef"):
            reader.keep(source, kind)
        reader.finish()
        found.append(source)
    return found
