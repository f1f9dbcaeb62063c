"""`runPolicy`, `elasticPolicy` and the restart policies of the replicas → `spec.runPolicy`. Called by `job`."""

from __future__ import annotations

from typing import Any, Final

from speech_cli.conversion.notes import Notes, Reader

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
    name: "there is no gang scheduler or queue here yet; all pods are created together"
    for name in ("minAvailable", "queue", "minResources", "scheduleTimeoutSeconds")
}
NEVER: Final = "Never"


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


def finish_policy(policy: Reader) -> str:
    """Account for the rest; the priority class that the scheduling policy names."""
    scheduling = policy.inner("schedulingPolicy")
    priority = scheduling.take("priorityClass")
    scheduling.finish(SCHEDULING)
    policy.finish(
        {"managedBy": "the operator that runs the job is another one; its default is right"}
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
