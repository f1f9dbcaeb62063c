"""The pod template of a replica → `spec.trainer` and `spec.pod`. Called by `job`, once a template."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from speech_cli.conversion import sources
from speech_cli.conversion.notes import Reader
from speech_contract import names

GPU_TAINT: Final = "nvidia.com/gpu"
CHANGE_DIRECTORY: Final = 'cd "$0" && exec "$@"'
POD_SAME: Final = (
    "affinity", "topologySpreadConstraints", "serviceAccountName", "priorityClassName",
    "runtimeClassName", "imagePullSecrets",
)  # fmt: skip
OF_THE_NODE: Final = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace")
RESTRICTED: Final = "pods are restricted anyway"
POD_REASONS: Final = {
    "restartPolicy": "always Never: the operator restarts the whole gang",
    "automountServiceAccountToken": "pods of a job never get an API token",
    "hostname": "the operator sets it",
    "subdomain": "the operator sets it",
    "activeDeadlineSeconds": "runPolicy.activeDeadlineSeconds is for the whole job",
    "nodeName": "write a nodeSelector",
    "securityContext": RESTRICTED,
}
CONTAINER_REASONS: Final = {
    "name": f"the container is always called {names.CONTAINER}",
    "ports": "the operator sets them",
    "imagePullPolicy": "Kubernetes' default for the tag of the image holds",
    "livenessProbe": "the supervisor watches the ranks",
    "readinessProbe": "the supervisor answers it once every rank reported a step",
    "startupProbe": "the supervisor watches the start; see health.stall.startupSeconds",
    "terminationMessagePath": "the supervisor writes the outcome there",
    "terminationMessagePolicy": "the supervisor writes the outcome there",
    "lifecycle": "the supervisor forwards SIGTERM and waits for the ranks to save",
}
SECURITY_REASONS: Final = {
    name: RESTRICTED
    for name in ("allowPrivilegeEscalation", "runAsNonRoot", "seccompProfile", "procMount")
}


@dataclasses.dataclass
class Converted:
    """What a template became."""

    trainer: dict[str, Any] = dataclasses.field(default_factory=dict)
    pod: dict[str, Any] = dataclasses.field(default_factory=dict)
    accelerator: str = ""
    grace_seconds: Any = None


def convert_template(template: Reader) -> Converted:
    """Trainer, pod and what else hides in a template. Whatever cannot be had is refused in the notes."""
    made = Converted()
    metadata = template.inner("metadata")
    metadata.keep(made.pod, "labels", "annotations")
    metadata.finish({"creationTimestamp": "the API server sets it", "name": "the operator sets it"})
    spec = template.inner("spec")
    container = _container(spec)
    made.trainer, shared = _trainer(container)
    _security(container.inner("securityContext"), spec.inner("securityContext"), made)
    container.finish(CONTAINER_REASONS)
    if found := sources.volumes(spec, shared):
        made.pod["volumes"] = found
    _scheduling(spec, made)
    made.grace_seconds = spec.take("terminationGracePeriodSeconds")
    spec.finish(POD_REASONS)
    template.finish()
    return made


def _container(spec: Reader) -> Reader:
    spec.refuse(
        "initContainers",
        rule="would not run",
        remedy="do their work in trainer.command, or in a Job before",
    )
    items = list(spec.items("containers"))
    place = _trains(items, spec)
    for index, (item, path) in enumerate(items):
        if index != place:
            rule = f"is a second container; a job has one, {names.CONTAINER}"
            spec.notes.refused(
                path, _name(item), rule, "remove it, or run it as a Deployment of its own"
            )
    if place is None:
        return Reader({"image": "none"}, spec.at("containers"), spec.notes)
    chosen = Reader(items[place][0], items[place][1], spec.notes)
    chosen.take("name")
    return chosen


def _trains(items: list[tuple[Any, str]], spec: Reader) -> int | None:
    """Which container trains: the one called so, else the first, which must then be renamed."""
    found = [index for index, (item, _) in enumerate(items) if _name(item) == names.CONTAINER]
    if found:
        return found[0]
    if not items:
        spec.notes.refused(
            spec.at("containers"), None, "is missing", f"write one, called {names.CONTAINER}"
        )
        return None
    rule = f"must be called {names.CONTAINER}: that is the container that trains"
    spec.notes.refused(f"{items[0][1]}.name", _name(items[0][0]), rule, "rename it")
    return 0


def _name(item: Any) -> Any:
    return item.get("name") if isinstance(item, dict) else None


def _trainer(container: Reader) -> tuple[dict[str, Any], frozenset[str]]:
    trainer: dict[str, Any] = {}
    container.keep(trainer, "image")
    for name in ("command", "args"):
        if words := container.take_list(name):
            trainer[name] = words
            container.notes.kept(container.at(name))
    if "image" not in trainer:
        container.notes.refused(container.at("image"), None, "is missing", "name the image")
    _working_directory(container, trainer)
    resources = container.inner("resources")
    limits: dict[str, Any] = {}
    for name in ("limits", "requests"):
        if value := resources.take(name):
            limits[name] = value
            resources.notes.renamed(resources.at(name), f"spec.trainer.resourcesPerNode.{name}")
    resources.refuse("claims", rule="is not possible here", remedy="ask for an extended resource")
    resources.finish()
    mounts, shared = sources.mounts(container)
    parts = {
        "resourcesPerNode": limits,
        "env": sources.environment(container),
        "envFrom": sources.environment_from(container),
        "volumeMounts": mounts,
    }
    return trainer | {name: value for name, value in parts.items() if value}, shared


def _working_directory(container: Reader, trainer: dict[str, Any]) -> None:
    folder = container.take("workingDir")
    if not folder:
        return
    if not trainer.get("command"):
        container.notes.refused(
            container.at("workingDir"), folder, "needs a command that goes there",
            "write the image's entrypoint as command",
        )  # fmt: skip
        return
    trainer["command"] = ["/bin/sh", "-c", CHANGE_DIRECTORY, folder, *trainer["command"]]
    container.notes.changed(container.at("workingDir"), "the command goes there through /bin/sh")


def _security(container: Reader, pod: Reader, converted: Converted) -> None:
    made: dict[str, Any] = {}
    for name in ("runAsUser", "runAsGroup"):
        inner, outer = container.take(name), pod.take(name)
        value = outer if inner is None else inner
        at = pod.at(name) if inner is None else container.at(name)
        if value == 0:
            container.notes.refused(
                at,
                0,
                "is root, which no pod of a job is",
                "choose an id above 0 that may read the data",
            )
        elif value is not None:
            made[name] = value
            container.notes.kept(at)
    _groups_of_files(pod, converted.pod)
    container.keep(made, "readOnlyRootFilesystem")
    _capabilities(container, made)
    container.refuse("privileged", rule="is not possible", remedy="ask for a device as a resource")
    container.finish(SECURITY_REASONS)
    pod.finish(SECURITY_REASONS)
    if "runAsUser" not in made:
        container.notes.changed(
            container.at("runAsUser"), "unset: the image's user must not be root, else set it"
        )
    if made:
        converted.trainer["securityContext"] = made


def _groups_of_files(pod: Reader, into: dict[str, Any]) -> None:
    pod.take("fsGroupChangePolicy")  # always OnRootMismatch
    made: dict[str, Any] = {}
    if pod.look("fsGroup") == 0:
        pod.notes.dropped(
            pod.at("fsGroup"), "root's group is no job's; volumes are given to another"
        )
        pod.take("fsGroup")
    elif pod.look("fsGroup") is None:
        pod.notes.changed(
            pod.at("fsGroup"), "unset: claims that it may write are given to a group; 0 leaves them"
        )
    pod.keep(made, "fsGroup", "supplementalGroups")
    if made:
        into["securityContext"] = made


def _capabilities(container: Reader, made: dict[str, Any]) -> None:
    capabilities = container.inner("capabilities")
    for name in capabilities.take_list("add"):
        if name == "IPC_LOCK":
            made["capabilities"] = {"add": [name]}
            capabilities.notes.kept(capabilities.at("add"))
        else:
            capabilities.notes.refused(
                capabilities.at("add"), name, "is a capability that no job gets", "remove it"
            )
    capabilities.finish({"drop": "all of them are dropped anyway"})


def _scheduling(spec: Reader, made: Converted) -> None:
    spec.refuse(
        *OF_THE_NODE,
        rule="is not possible: pods are restricted",
        remedy="remove it; RDMA is a resource",
    )
    account = spec.take("serviceAccount")
    spec.keep(made.pod, *POD_SAME)
    if account and made.pod.setdefault("serviceAccountName", account) == account:
        spec.notes.renamed(spec.at("serviceAccount"), "spec.pod.serviceAccountName")
    if (scheduler := spec.take("schedulerName")) not in (None, "", "default-scheduler"):
        made.pod["schedulerName"] = scheduler
        spec.notes.kept(spec.at("schedulerName"))
    selector = spec.take_map("nodeSelector")
    if product := selector.pop(names.LABEL_GPU_PRODUCT, None):
        made.accelerator = str(product)
        spec.notes.renamed(
            f"{spec.at('nodeSelector')}[{names.LABEL_GPU_PRODUCT}]", f"spec.accelerator: {product}"
        )
    if selector:
        made.pod["nodeSelector"] = selector
        spec.notes.kept(spec.at("nodeSelector"))
    _tolerations(spec, made)


def _tolerations(spec: Reader, made: Converted) -> None:
    kept = []
    for item, path in spec.items("tolerations"):
        if isinstance(item, dict) and item.get("key") == GPU_TAINT:
            spec.notes.dropped(path, "jobs that ask for GPUs get it by themselves")
        else:
            kept.append(item)
            spec.notes.kept(path)
    if kept:
        made.pod["tolerations"] = kept
