"""A pod of the gang as a plain manifest. Kubernetes gets it as it is; one machine reads command and env of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from speech_contract import names, paths, wire
from speech_contract.api import JobSpec
from speech_contract.recipes import Launcher
from speech_contract.run_config import RunConfig
from speech_operator.resources.affinity import keep_away
from speech_operator.resources.config_map import gpus_per_node
from speech_operator.resources.environment import build_environment, merged
from speech_operator.resources.metadata import child_metadata, pod_labels
from speech_operator.snapshot import Observed, Platform

LAUNCH = "speechtrain-launch"
LAUNCHER_FILE = f"{paths.LAUNCHER_DIR}/launch.pyz"
CPU_PER_RANK_MILLI = 250  # without any request a pod is the first to be evicted
NODE_FAILURE_SECONDS = 300  # a node may be unreachable this long before its pods go
_CONFIG_DIR, _, _CONFIG_KEY = paths.RUN_CONFIG_FILE.rpartition("/")
# Fields of `spec.pod` that are no plain fields of a pod's spec, or are more there than the job asks for.
OWN_WORDS = frozenset(
    {"labels", "annotations", "volumes", "tolerations", "nodeSelector", "securityContext"}
)
_SHM, _TMP, _CONFIG, _LAUNCHER = "dshm", "tmp", "run-config", "launcher"


def build_pod(
    seen: Observed, config: RunConfig, node_rank: int, excluded: Sequence[str] = ()
) -> dict[str, Any]:
    """The manifest of the pod with this node rank of the config's attempt, away from `excluded` nodes."""
    job, spec = seen.job, seen.spec
    name = names.pod_name(job.name, node_rank)
    metadata = child_metadata(job, name, pod_labels(node_rank, config.attempt))
    team = {names.LABEL_TEAM: job.team} if job.team else {}
    metadata["labels"] = {**spec.pod.labels, **team, **metadata["labels"]}
    if spec.pod.annotations:
        metadata["annotations"] = dict(spec.pod.annotations)
    body = _pod_spec(seen, spec, config, node_rank)
    if excluded:
        body["affinity"] = keep_away(body.get("affinity", {}), excluded)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def launch_command(spec: JobSpec) -> list[str]:
    """What the container runs: the launcher, `--`, and what it launches."""
    custom = spec.recipe.custom
    if custom is None:
        return [LAUNCH, "--", "python", "-m", "speech_trainer"]
    command = [*spec.trainer.command, *spec.trainer.args]
    if custom.launcher is Launcher.NONE or not spec.trainer.command:
        return command
    if custom.launcher is Launcher.IMAGE:
        return [LAUNCH, "--", *command]
    return ["python3", LAUNCHER_FILE, "--", *command]


def _pod_spec(seen: Observed, spec: JobSpec, config: RunConfig, node_rank: int) -> dict[str, Any]:
    scheduling = {
        key: value for key, value in _plain(spec.pod).items() if key not in OWN_WORDS and value
    }
    selector = dict(spec.pod.node_selector)
    if spec.accelerator:
        selector.setdefault(names.LABEL_GPU_PRODUCT, spec.accelerator)
    body = {
        **scheduling,
        "restartPolicy": "Never",
        "hostname": names.pod_name(seen.job.name, node_rank),
        "subdomain": names.service_name(seen.job.name),
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": config.grace_seconds,
        "securityContext": _pod_security(spec),
        "tolerations": _tolerations(spec),
        "nodeSelector": selector,
        "volumes": _volumes(seen, spec, config),
        "containers": [_container(seen.platform, spec, config, node_rank)],
    }
    if _injected(spec):
        body["initContainers"] = [_launcher_container(seen.platform)]
    return body


def _container(
    platform: Platform, spec: JobSpec, config: RunConfig, node_rank: int
) -> dict[str, Any]:
    trainer = spec.trainer
    command = launch_command(spec)
    own = build_environment(config, node_rank)
    container: dict[str, Any] = {
        "name": names.CONTAINER,
        "image": trainer.image or platform.default_image,
        "env": merged([_plain(variable) for variable in trainer.env], own),
        "ports": _ports(),
        "resources": _resources(spec, config),
        "volumeMounts": _mounts(spec),
        "securityContext": _container_security(spec),
        "terminationMessagePath": paths.TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {
            "httpGet": {"path": wire.PATH_READYZ, "port": names.SUPERVISOR_PORT_NAME},
            "periodSeconds": 5,
        },
    }
    if command:
        container["command"] = command
    elif trainer.args:
        container["args"] = list(trainer.args)
    if not spec.recipe.watched:
        del container["readinessProbe"]  # nobody answers it
    if trainer.env_from:
        container["envFrom"] = [_plain(source) for source in trainer.env_from]
    return container


def _injected(spec: JobSpec) -> bool:
    custom = spec.recipe.custom
    return custom is not None and custom.launcher is Launcher.INJECTED


def _ports() -> list[dict[str, Any]]:
    return [
        {"name": names.MASTER_PORT_NAME, "containerPort": names.MASTER_PORT},
        {"name": names.SUPERVISOR_PORT_NAME, "containerPort": names.SUPERVISOR_PORT},
    ]


def _resources(spec: JobSpec, config: RunConfig) -> dict[str, Any]:
    given = _plain(spec.trainer.resources_per_node)
    requests = dict(given.get("requests", {}))
    if "cpu" not in given.get("limits", {}):
        requests.setdefault("cpu", f"{CPU_PER_RANK_MILLI * config.ranks_per_node}m")
    return {**given, "requests": requests}


def _mounts(spec: JobSpec) -> list[dict[str, Any]]:
    ours: list[dict[str, Any]] = [
        {"name": _SHM, "mountPath": "/dev/shm"},  # noqa: S108 - data workers pass batches here
        {"name": _CONFIG, "mountPath": _CONFIG_DIR, "readOnly": True},
    ]
    mounts = [_plain(mount) for mount in spec.trainer.volume_mounts]
    if all(mount["mountPath"].rstrip("/") != "/tmp" for mount in mounts):  # noqa: S108
        ours.append({"name": _TMP, "mountPath": "/tmp"})  # noqa: S108
    if _injected(spec):
        ours.append({"name": _LAUNCHER, "mountPath": paths.LAUNCHER_DIR, "readOnly": True})
    return mounts + ours


def _volumes(seen: Observed, spec: JobSpec, config: RunConfig) -> list[dict[str, Any]]:
    name = names.config_name(seen.job.name, config.attempt)
    items = [{"key": _CONFIG_KEY, "path": _CONFIG_KEY}]
    ours: list[dict[str, Any]] = [
        {"name": _SHM, "emptyDir": {"medium": "Memory"}},
        {"name": _TMP, "emptyDir": {}},
        {"name": _CONFIG, "configMap": {"name": name, "items": items}},
    ]
    if _injected(spec):
        ours.append({"name": _LAUNCHER, "emptyDir": {}})
    return [_plain(volume) for volume in spec.pod.volumes] + ours


def _launcher_container(platform: Platform) -> dict[str, Any]:
    """Copies the launcher out of the operator's own image."""
    return {
        "name": _LAUNCHER,
        "image": platform.launcher_image,
        "command": ["python3", "-m", "speech_operator.copy_launcher", paths.LAUNCHER_DIR],
        "volumeMounts": [{"name": _LAUNCHER, "mountPath": paths.LAUNCHER_DIR}],
        "securityContext": _restricted(),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }


def _tolerations(spec: JobSpec) -> list[dict[str, Any]]:
    listed = [_plain(toleration) for toleration in spec.pod.tolerations]
    if spec.accelerator or gpus_per_node(spec):
        listed.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    for taint in ("not-ready", "unreachable"):
        key = f"node.kubernetes.io/{taint}"
        if all(toleration.get("key") != key for toleration in listed):
            rule = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            listed.append({**rule, "tolerationSeconds": NODE_FAILURE_SECONDS})
    return listed


def _pod_security(spec: JobSpec) -> dict[str, Any]:
    """A fresh volume is root's: the kubelet gives it to fsGroup, which every process of the pod is in."""
    asked = spec.pod.security_context
    security: dict[str, Any] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    group = asked.fs_group
    if group is None:
        group = spec.trainer.security_context.run_as_group or names.IMAGE_GROUP
    if group:
        security["fsGroup"] = group
    if asked.supplemental_groups:
        security["supplementalGroups"] = list(asked.supplemental_groups)
    return security


def _restricted() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _container_security(spec: JobSpec) -> dict[str, Any]:
    given = _plain(spec.trainer.security_context)
    added = given.pop("capabilities", {}).get("add", [])
    security = {**_restricted(), **given}
    if added:
        security["capabilities"] = {"drop": ["ALL"], "add": added}
    return security


def _plain(model: BaseModel) -> dict[str, Any]:
    """A model as Kubernetes writes it, without the fields that nobody set."""
    document = model.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    assert isinstance(document, dict)
    return document
