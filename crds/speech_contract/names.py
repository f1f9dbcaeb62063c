"""Names of the API, its children and its labels. The operator writes them; CLI, chart, dashboards read them.

They follow PyTorchJob v1 so that scripts, selectors and habits carry over.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "speechtrain.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "SpeechTrainingJob"
PLURAL: Final = "speechtrainingjobs"
SINGULAR: Final = "speechtrainingjob"
SHORT_NAME: Final = "stj"
CATEGORY: Final = "training"
CRD_NAME: Final = f"{PLURAL}.{GROUP}"
# Defaults that a job names: of a namespace, and of the whole cluster (as Kubeflow Trainer v2 has its runtimes).
RUNTIME_KIND: Final = "SpeechTrainingRuntime"
RUNTIME_PLURAL: Final = "speechtrainingruntimes"
CLUSTER_RUNTIME_KIND: Final = f"Cluster{RUNTIME_KIND}"
CLUSTER_RUNTIME_PLURAL: Final = f"cluster{RUNTIME_PLURAL}"
MANAGED_BY: Final = f"{GROUP}/operator"  # spec.runPolicy.managedBy: another value means "not ours"

# Labels on every child of a job. Written by resources/, read by selectors, the informer and dashboards.
LABEL_JOB_NAME: Final = f"{GROUP}/job-name"
LABEL_REPLICA_TYPE: Final = f"{GROUP}/replica-type"  # master | worker
LABEL_REPLICA_INDEX: Final = f"{GROUP}/replica-index"
LABEL_JOB_ROLE: Final = f"{GROUP}/job-role"  # "master" on node rank 0: what the PodMonitor selects
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
# On a job, by its owner: whom alerts go to. The operator puts it on the pods; both monitors make it a label.
LABEL_TEAM: Final = f"{GROUP}/team"
# On a finished job, by whoever looked into it, with any text: its alerts end.
ANNOTATION_SEEN: Final = f"{GROUP}/seen"

# Kueue's own: the kinds that we make and read, and labels of a job by which its jobs are queued everywhere.
KUEUE_GROUP: Final = "kueue.x-k8s.io"
KUEUE_API_VERSION: Final = f"{KUEUE_GROUP}/v1beta2"
LABEL_QUEUE: Final = f"{KUEUE_GROUP}/queue-name"
LABEL_QUEUE_PRIORITY: Final = f"{KUEUE_GROUP}/priority-class"  # names a WorkloadPriorityClass
ANNOTATION_DIGEST: Final = f"{GROUP}/digest"  # of what a Workload asks for, on the Workload

# Of nodes, by NVIDIA's GPU feature discovery: what spec.accelerator means.
LABEL_GPU_PRODUCT: Final = "nvidia.com/gpu.product"

# Of the operator's own objects, by the chart: what finds them whatever the release is called.
LABEL_APP: Final = "app.kubernetes.io/name"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_APP_VERSION: Final = "app.kubernetes.io/version"
APP: Final = "speechtrain"
OPERATOR: Final = "operator"

REPLICA_MASTER: Final = "master"
REPLICA_WORKER: Final = "worker"
CONTAINER: Final = "pytorch"
MASTER_PORT_NAME: Final = "pytorchjob-port"
MASTER_PORT: Final = 23456
SUPERVISOR_PORT_NAME: Final = "metrics"
SUPERVISOR_PORT: Final = 9464

IMAGE_GROUP: Final = 10001  # our images run as 10001:10001; the group that volumes are given to

MAX_NAME_LENGTH: Final = 63  # a pod's name is also its hostname: one DNS label


def replica(node_rank: int) -> tuple[str, int]:
    """Node rank → (replica type, replica index): 0 → master 0, i → worker i-1."""
    return (REPLICA_MASTER, 0) if node_rank == 0 else (REPLICA_WORKER, node_rank - 1)


def pod_name(job: str, node_rank: int) -> str:
    """`asr`, 2 → `asr-worker-1`. Fixed names are half of the fence against double pods."""
    kind, index = replica(node_rank)
    return f"{job}-{kind}-{index}"


def service_name(job: str) -> str:
    """The job's one headless Service; MASTER_ADDR puts the master's name before it. Its own may stand for every pod."""
    return pod_name(job, 0)


def config_name(job: str, attempt: int) -> str:
    """The ConfigMap that holds the run config of one attempt."""
    return f"{job}-attempt-{attempt}"


def workload_name(job: str) -> str:
    """The job's one Workload in Kueue; its kind goes first, as with those that Kueue makes itself."""
    return f"{SINGULAR}-{job}"


def longest_child_name(job: str, num_nodes: int) -> str:
    """The child whose name must still fit a DNS label."""
    return max(pod_name(job, num_nodes - 1), pod_name(job, 0), key=len)
