"""`runPolicy`, `elasticPolicy` and the restart policies of the replicas → `spec.runPolicy`. Called by `job`."""

from __future__ import annotations

from typing import Any, Final

from speech_cli.conversion.notes import Notes, Reader
from speech_contract.names import LABEL_QUEUE

SAME: Final = ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "cleanPodPolicy")
MEMBERSHIP: Final = (
    "the operator owns membership: the gang has the fixed size numNodes and restarts whole"
)
ELASTIC: Final = {
    "minReplicas": MEMBERSHIP,
    "maxReplicas": MEMBERSHIP,
    "metrics": "no autoscaler changes a gang of a fixed size",
    "maxRestarts": "runPolicy.restarts is the budget of the whole gang",
    "standalone": MEMBERSHIP,
    "nProcPerNode": "spec.nprocPerNode is there too",
} | {f"rdzv{name}": MEMBERSHIP for name in ("Backend", "Port", "Host", "Id", "Conf")}
SCHEDULING: Final = {
    name: "all pods of a gang start together or none" for name in ("minAvailable", "minResources")
} | {"queue": "it names a queue of another scheduler than Kueue"}
NEVER: Final = "Never"
# The operators before the Training Operator had these in `spec` itself, under the same apiVersion.
ONCE_IN_SPEC: Final = (*SAME, "backoffLimit")
# Every field that a person may have written at the wrong depth → the object that it belongs to.
PLACES: Final = {
    name: "spec" for name in ("nprocPerNode", "pytorchReplicaSpecs", "runPolicy", "elasticPolicy")
} | {
    name: "spec.runPolicy"
    for name in (*SAME, "backoffLimit", "schedulingPolicy", "managedBy")
} | {
    name: "spec.pytorchReplicaSpecs.Master and Worker"
    for name in ("replicas", "template", "restartPolicy")
} | {name: "spec.pytorchReplicaSpecs" for name in ("Master", "Worker")}  # fmt: skip


def moved_down(spec: Reader, policy: Reader) -> None:
    """Policies of the older API, in `spec`, go where they are today; two values for one policy are refused."""
    for name in ONCE_IN_SPEC:
        value = spec.take(name)
        if value is None:
            continue
        today = policy.look(name)
        if today is not None and today != value:
            spec.notes.refused(
                spec.at(name),
                value,
                f"differs from {policy.at(name)}: {today!r}",
                "remove one of them",
            )
            continue
        policy.put(name, value)
        spec.notes.renamed(spec.at(name), policy.at(name))


def queued(metadata: dict[str, Any], policy: Reader) -> dict[str, Any]:
    """`schedulingPolicy` of a job that Kueue admits: `suspend` was Kueue's own way to keep it waiting."""
    queue = (metadata.get("labels") or {}).get(LABEL_QUEUE)
    if not queue:
        return {}
    policy.notes.renamed(
        f"metadata.labels[{LABEL_QUEUE}]", "and spec.runPolicy.schedulingPolicy.gang: Kueue"
    )
    if policy.look("suspend"):
        policy.take("suspend")
        policy.notes.changed(policy.at("suspend"), f"unset: queue {queue} lets the job start")
    return {"gang": "Kueue"}


def run_policy(policy: Reader) -> dict[str, Any]:
    """`spec.runPolicy` of the converted job."""
    made: dict[str, Any] = {}
    clean = policy.take("cleanPodPolicy")
    if clean is None:
        policy.notes.changed(
            policy.at("cleanPodPolicy"),
            "unset meant None; here pods that still run are deleted at the end",
        )
    else:
        made["cleanPodPolicy"] = clean
        policy.notes.kept(policy.at("cleanPodPolicy"))
    policy.keep(made, *SAME)
    if (limit := policy.take("backoffLimit")) is not None:
        made["restarts"] = {"max": limit}
        policy.notes.renamed(policy.at("backoffLimit"), f"spec.runPolicy.restarts.max: {limit}")
    return made


def finish_policy(policy: Reader, made: dict[str, Any]) -> str:
    """Account for the rest, the time for scheduling into `made`; the priority class that it names."""
    scheduling = policy.inner("schedulingPolicy")
    scheduling.keep(made, "scheduleTimeoutSeconds")
    priority = scheduling.take("priorityClass")
    scheduling.finish(SCHEDULING)
    policy.finish_known(
        PLACES,
        {"managedBy": "the operator that runs the job is another one; its default is right"},
    )
    if priority:
        new = f"spec.pod.priorityClassName: {priority}"
        policy.notes.renamed(scheduling.at("priorityClass"), new)
    return str(priority or "")


def restart_policies(given: dict[str, Any], policy: dict[str, Any], notes: Notes) -> None:
    """`given`: path of a replica's restartPolicy → its value. Never stays never; the rest has one answer here."""
    never = bool(given) and all(value == NEVER for value in given.values())
    if never and "restarts" not in policy:
        policy["restarts"] = {"max": 0}
    for path, value in given.items():
        if never:
            notes.renamed(path, "spec.runPolicy.restarts.max: 0")
        else:
            notes.dropped(
                path,
                f"{value}: a failed pod restarts the whole gang within runPolicy.restarts; "
                "the exit code decides whether at all",
            )


def drop_elastic(elastic: Reader) -> None:
    """Nothing of it has a counterpart."""
    elastic.finish(ELASTIC)
