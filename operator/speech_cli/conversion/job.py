"""A PyTorchJob as a SpeechTrainingJob with the custom recipe. Called by `commands.convert`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from speech_cli.conversion import launching, policies
from speech_cli.conversion.notes import Note, Notes, Reader
from speech_cli.conversion.template import Converted, convert_template
from speech_cli.errors import UserError
from speech_contract import names
from speech_contract.api.validation import validate
from speech_contract.errors import ContractError

API_VERSION: Final = "kubeflow.org/v1"
KIND: Final = "PyTorchJob"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
SERVER_SETS: Final = {
    name: "the API server sets it"
    for name in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
                 "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds")
} | {"ownerReferences": "the new job has no owner yet", "finalizers": "they guard the old job"}  # fmt: skip
MASTER, WORKER = "Master", "Worker"


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The new job, and what became of every field of the old one."""

    job: dict[str, Any]
    notes: list[Note]


def convert(document: Mapping[str, Any], checkpoint: str = "", name: str = "") -> Conversion:
    """Convert one PyTorchJob. `checkpoint`: the run directory; else one is chosen and noted. `name`: of the new job.

    Raises UserError naming every field that cannot be had here, each with its remedy.
    """
    notes = Notes()
    top = Reader(document, "", notes)
    found = (top.take("apiVersion"), top.take("kind"))
    if found != (API_VERSION, KIND):
        raise UserError(
            f"is {found[1]} of {found[0]}, no {KIND} of {API_VERSION}; convert takes nothing else"
        )
    metadata = _metadata(top.inner("metadata"), name)
    spec = _spec(top.inner("spec"), metadata, checkpoint)
    top.finish_known(policies.PLACES, {"status": "nobody's to set"})
    if notes.refusals:
        raise _refusal(notes.refusals)
    job = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": metadata,
        "spec": spec,
    }
    if problems := validate(job):
        raise _refusal(problems)
    return Conversion(job, notes.rows)


def _metadata(metadata: Reader, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    metadata.keep(made, "name", "namespace", "labels")
    _named(made, metadata, name)
    annotations = metadata.take_map("annotations")
    annotations.pop(LAST_APPLIED, None)
    if annotations:
        made["annotations"] = annotations
        metadata.notes.kept(metadata.at("annotations"))
    metadata.finish_known(policies.PLACES, SERVER_SETS)
    return made


def _named(made: dict[str, Any], metadata: Reader, name: str) -> None:
    """The name: as asked for, else the old one. A generated one would differ at each apply, and so would the pods."""
    prefix = metadata.take("generateName")
    if name:
        metadata.notes.changed(
            metadata.at("name"), f"{made.get('name') or prefix or 'none'} → {name}, as asked"
        )
        made["name"] = name
    elif "name" not in made and prefix:
        metadata.notes.refused(
            metadata.at("generateName"), prefix, "gives every job another name, and pods are called after it",
            f"choose one with --name, as in --name {str(prefix).rstrip('-.')}-1, or write metadata.name",
        )  # fmt: skip
    elif "name" not in made:
        metadata.notes.refused(
            metadata.at("name"), None, "is missing", "give --name: pods are called after it"
        )
    elif prefix:
        metadata.notes.dropped(metadata.at("generateName"), "metadata.name is given, and wins")


def _spec(spec: Reader, metadata: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    notes = spec.notes
    nodes, template, restarts = _replicas(spec.inner("pytorchReplicaSpecs"))
    policy = spec.inner("runPolicy")
    policies.moved_down(spec, policy)
    scheduling = policies.queued(metadata, policy)
    run_policy = policies.run_policy(policy)
    policies.restart_policies(restarts, run_policy, notes)
    if priority := policies.finish_policy(policy, scheduling):
        template.pod.setdefault("priorityClassName", priority)
    if scheduling:
        run_policy["schedulingPolicy"] = scheduling
    if template.grace_seconds:
        run_policy["terminationGracePeriodSeconds"] = template.grace_seconds
        notes.renamed(
            "template.spec.terminationGracePeriodSeconds",
            "spec.runPolicy.terminationGracePeriodSeconds",
        )
    ranks = _ranks(spec, template)
    spec.finish_known(policies.PLACES)
    made: dict[str, Any] = {
        "recipe": launching.recipe(template.trainer, ranks, notes),
        "checkpoint": _checkpoint(template, str(metadata.get("name", "")), checkpoint, notes),
        "numNodes": nodes,
        "nprocPerNode": ranks,
        "trainer": template.trainer,
        "accelerator": template.accelerator,
        "pod": template.pod,
        "runPolicy": run_policy,
    }
    return {key: value for key, value in made.items() if value not in (None, "") and value != {}}


def _ranks(spec: Reader, template: Converted) -> int | None:
    elastic = spec.inner("elasticPolicy")
    value, field = spec.take("nprocPerNode"), spec.at("nprocPerNode")
    if value is None and (old := elastic.take("nProcPerNode")) is not None:
        value, field = old, elastic.at("nProcPerNode")
    policies.drop_elastic(elastic)
    command = [*template.trainer.get("command", ()), *template.trainer.get("args", ())]
    return launching.ranks_per_node(value, command, spec.notes, field)


def _replicas(replicas: Reader) -> tuple[int, Converted, dict[str, Any]]:
    """Nodes of the gang, the one template, and the restart policies by path."""
    notes = replicas.notes
    found: dict[str, tuple[Converted, str]] = {}
    restarts: dict[str, Any] = {}
    nodes = 0
    for kind in (MASTER, WORKER):
        key = _key(replicas, kind)
        if key is None:
            continue
        replica = replicas.inner(key)
        nodes += _count(replica, kind)
        if (policy := replica.take("restartPolicy")) is not None:
            restarts[replica.at("restartPolicy")] = policy
        # The second template must say the same: one table is enough.
        own = Notes() if found else notes
        found[kind] = (convert_template(_template(replica, own)), replica.at("template"))
        notes.refusals += own.refusals if own is not notes else []
        replica.finish_known(policies.PLACES)
    replicas.finish_known(policies.PLACES)
    if not found:
        notes.refused(replicas.path, None, "has neither Master nor Worker", "write one of them")
        return 1, Converted(), {}
    _name_nodes(found, nodes, replicas)
    return nodes, next(iter(found.values()))[0], restarts


def _key(replicas: Reader, kind: str) -> str | None:
    return next((key for key in replicas.fields if key.lower() == kind.lower()), None)


def _template(replica: Reader, notes: Notes) -> Reader:
    return Reader(replica.take("template"), replica.at("template"), notes)


def _count(replica: Reader, kind: str) -> int:
    value = replica.take("replicas")
    count = 1 if value is None else value
    if not isinstance(count, int) or count < 1 or (kind == MASTER and count != 1):
        rule = "must be 1" if kind == MASTER else "is no whole number of at least 1"
        replica.notes.refused(replica.at("replicas"), value, rule, "correct it")
        return 1
    return count


def _name_nodes(found: Mapping[str, tuple[Converted, str]], nodes: int, replicas: Reader) -> None:
    notes, path = replicas.notes, replicas.path
    if len(found) == 2:
        (first, _), (second, place) = found.values()
        for field in _differences(dataclasses.asdict(first), dataclasses.asdict(second), ""):
            notes.refused(
                place, field, "differs between Master and Worker",
                "make them equal: all pods of a job have one template",
            )  # fmt: skip
        notes.renamed(
            f"{path}.Master, Worker", f"spec.numNodes: {nodes}, 1 master and {nodes - 1} workers"
        )
    elif MASTER in found:
        notes.renamed(f"{path}.Master", "spec.numNodes: 1")
    else:
        notes.changed(
            f"{path}.Worker",
            f"→ spec.numNodes: {nodes}; worker-0 is master-0, worker-i is worker-(i-1)",
        )


def _differences(first: Any, second: Any, path: str) -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict):
        keys = list(dict.fromkeys([*first, *second]))
        inner = [
            _differences(first.get(key), second.get(key), f"{path}.{key}" if path else str(key))
            for key in keys
        ]
        return [field for fields in inner for field in fields]
    return [] if first == second else [path]


def _checkpoint(template: Converted, name: str, wanted: str, notes: Notes) -> dict[str, Any]:
    """The run directory: what was asked for, else a folder on the first claim that can be written."""
    if wanted:
        notes.added("spec.checkpoint.uri", f"{wanted}, as asked")
        return {"uri": wanted}
    claims = {
        str(v["name"]) for v in template.pod.get("volumes", ()) if "persistentVolumeClaim" in v
    }
    for mount in template.trainer.get("volumeMounts", ()):
        if str(mount["name"]) in claims and not mount.get("readOnly"):
            uri = f"{str(mount['mountPath']).rstrip('/')}/{name}"
            notes.added(
                "spec.checkpoint.uri",
                f"{uri}: logs and findings go there, and SPEECHTRAIN_RUN_DIR tells your script; "
                "--checkpoint chooses another",
            )
            return {"uri": uri}
    notes.added(
        "spec.checkpoint.ephemeral",
        "there is no claim to write to: the run directory dies with its pod; mount one and give --checkpoint",
    )
    return {"uri": f"/tmp/{name}", "ephemeral": True}  # noqa: S108 - an emptyDir in the pod


def _refusal(problems: list[ContractError]) -> UserError:
    return UserError("\n".join(map(str, problems)))
