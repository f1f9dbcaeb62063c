"""Checks of what jobs need of a cluster: nodes, storage, images, and an operator that hears them.

Called by `doctor.cluster` with the jobs that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from speech_cli.cluster_client import Body, ClusterClient
from speech_cli.doctor.row import Row, fail, ok, skipped, warn
from speech_cli.rendering import words
from speech_cli.rendering.view import Document, FindingView, mapping, objects, view_of
from speech_contract import names
from speech_contract.progress import Rule
from speech_contract.reasons import State

DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
# Waiting reasons of a container whose image does not come: pkg/kubelet/images/types.go, and the errors of the CRI.
IMAGE_TROUBLE: Final = frozenset({
    "ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff",
    "InvalidImageName", "RegistryUnavailable", "SignatureValidationFailed",
})  # fmt: skip
GPU_SUFFIX: Final = ".com/gpu"
SHOWN: Final = 4


def progress(jobs: Sequence[Document]) -> Iterator[Row]:
    """Whether running jobs are heard: the operator asks masters for `/progress`, and writes how that went."""
    name = "/progress"
    running = [view for view in map(view_of, jobs) if view.state == State.RUNNING.value]
    if not running:
        yield skipped(name, "no job is running that the operator could ask")
        return
    silent = [(view, f) for view in running for f in view.findings if _unheard(f)]
    for view, finding in silent:
        told = f"{view.namespace}/{view.name}: {finding.evidence}"
        allow = f"let the operator's pods reach port {names.SUPERVISOR_PORT} of the job's (NetworkPolicy)"
        yield fail(name, told, f"{finding.remedy}; {allow}" if finding.remedy else allow)
    if not silent:
        yield ok(name, f"the operator hears {words.plural(len(running), 'running job')}")


def _unheard(finding: FindingView) -> bool:
    return finding.active and finding.rule == Rule.TELEMETRY_UNREACHABLE.value


def nodes(client: ClusterClient, jobs: Sequence[Document]) -> Iterator[Row]:
    """Whether a node has the GPU labels and devices that jobs ask for. Raises Forbidden."""
    name = "GPUs"
    asking = [job for job in jobs if not view_of(job).finished and (_product(job) or _devices(job))]
    if not asking:
        yield skipped(name, "no unfinished job asks for a GPU")
        return
    there = client.every("/api/v1/nodes")
    faults = [row for job in asking for row in _of_job(name, job, there)]
    yield from faults
    if not faults:
        yield ok(
            name, f"nodes have what {words.plural(len(asking), 'unfinished job')} of GPUs ask for"
        )


def _of_job(name: str, job: Document, there: Sequence[Body]) -> Iterator[Row]:
    view, product = view_of(job), _product(job)
    labels = [str(mapping(n, "metadata", "labels").get(names.LABEL_GPU_PRODUCT, "")) for n in there]
    if product and product not in labels:
        known = ", ".join(sorted({label for label in labels if label})) or "none"
        yield fail(
            name,
            f"{view.namespace}/{view.name} asks for accelerator {product}; "
            f"labels {names.LABEL_GPU_PRODUCT} of nodes: {known}",
            "correct spec.accelerator, or run NVIDIA's GPU feature discovery, which labels the nodes",
        )
    for device in _devices(job):
        if not any(_has(node, device) for node in there):
            told = f"{view.namespace}/{view.name} asks for {device}; no node offers it"
            yield fail(name, told, "install the device plugin of that vendor on the GPU nodes")


def _product(job: Document) -> str:
    spec = mapping(job, "spec")
    chosen = mapping(spec, "pod", "nodeSelector").get(names.LABEL_GPU_PRODUCT)
    return str(chosen or spec.get("accelerator") or "")


def _devices(job: Document) -> list[str]:
    limits = mapping(job, "spec", "trainer", "resourcesPerNode", "limits")
    return [str(name) for name in limits if str(name).endswith(GPU_SUFFIX)]


def _has(node: Mapping[str, Any], device: str) -> bool:
    return str(mapping(node, "status", "allocatable").get(device, "0")) != "0"


def storage(client: ClusterClient) -> Iterator[Row]:
    """Whether a claim that names no class finds one. Raises Forbidden."""
    name = "storage"
    classes = client.every("/apis/storage.k8s.io/v1/storageclasses")
    default = [
        str(mapping(one, "metadata").get("name"))
        for one in classes
        if mapping(one, "metadata", "annotations").get(DEFAULT_CLASS) == "true"
    ]
    if default:
        yield ok(name, f"default StorageClass {', '.join(default)}")
        return
    known = ", ".join(str(mapping(one, "metadata").get("name")) for one in classes) or "none"
    yield warn(
        name,
        f"no StorageClass is the default (there: {known}): a claim that names none stays Pending",
        f"name one in the claim's storageClassName, or annotate one with {DEFAULT_CLASS}=true",
    )


def images(client: ClusterClient, namespace: str) -> Iterator[Row]:
    """Whether pods of jobs get their images. Raises Forbidden. `namespace` "": all of them."""
    inside = f"namespaces/{namespace}/" if namespace else ""
    pods = client.every(f"/api/v1/{inside}pods", {"labelSelector": names.LABEL_JOB_NAME})
    name = "images"
    faults = [row for pod in pods for row in _of_pod(name, pod)]
    yield from faults[:SHOWN]
    if len(faults) > SHOWN:
        yield fail(name, f"and {len(faults) - SHOWN} more containers", faults[-1].remedy)
    if not faults:
        yield ok(name, f"no pull fails among {words.plural(len(pods), 'pod')} of jobs")


def _of_pod(name: str, pod: Mapping[str, Any]) -> Iterator[Row]:
    metadata = mapping(pod, "metadata")
    for field in ("initContainerStatuses", "containerStatuses"):
        for status in objects(pod, "status", field):
            waiting = mapping(status, "state", "waiting")
            if waiting.get("reason") in IMAGE_TROUBLE:
                told = " ".join(str(waiting.get("message") or "").split())
                yield fail(
                    name,
                    f"pod {metadata.get('namespace')}/{metadata.get('name')}: {waiting['reason']} of "
                    f"{status.get('image')}{f': {told}' if told else ''}",
                    "correct trainer.image, push it, or name a pull secret in pod.imagePullSecrets",
                )
