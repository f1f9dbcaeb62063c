"""Paths of a manifest on this machine: volumes are directories, relative paths start at the manifest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from speech_contract.api import JobSpec
from speech_contract.places import with_paths
from speech_contract.run_config import RunConfig


def localised(
    config: RunConfig, spec: JobSpec, folder: Path, volumes: Mapping[str, Path]
) -> RunConfig:
    """The run config with every path made absolute. `folder`: the manifest's; `volumes`: name → directory."""

    def local(path: str) -> str:
        return local_path(path, spec, folder, volumes)

    return with_paths(config, local)


def local_path(path: str, spec: JobSpec, folder: Path, volumes: Mapping[str, Path]) -> str:
    """One path: below a mount → into the volume's directory; relative → below the manifest's folder."""
    wanted = PurePosixPath(path)
    mounts = sorted(spec.trainer.volume_mounts, key=lambda m: len(m.mount_path), reverse=True)
    for mount in mounts:
        if wanted.is_relative_to(mount.mount_path):
            inside = wanted.relative_to(mount.mount_path)
            return str(volumes[mount.name] / mount.sub_path / inside)
    return str(folder / path)


def ignored_fields(spec: JobSpec) -> list[str]:
    """Fields of the manifest that mean nothing on one machine, as far as they are set."""
    trainer, pod = spec.trainer, spec.pod
    named: dict[str, object] = {
        "accelerator": spec.accelerator,
        "trainer.image": trainer.image,
        "trainer.resourcesPerNode": trainer.resources_per_node.model_fields_set,
        "trainer.envFrom": trainer.env_from,
        "trainer.env[].valueFrom": [v for v in trainer.env if v.value_from is not None],
        "trainer.securityContext": trainer.security_context.model_fields_set,
        "runPolicy.schedulingPolicy": spec.run_policy.scheduling_policy.model_fields_set,
    }
    named |= {
        f"pod.{field.alias}": getattr(pod, name) != field.get_default(call_default_factory=True)
        for name, field in type(pod).model_fields.items()
        if name != "volumes"
    }
    return [name for name, value in named.items() if value]
