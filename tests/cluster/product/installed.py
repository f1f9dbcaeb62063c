"""The product as a user has it: the chart installed by Helm on a real node, and a namespace to train in.

For the tests in `tests/e2e` and for `make accept-cluster`.
"""

import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bed import rootfs
from bed.api import ApiError, wait_for
from bed.cluster import Bed, log_to_stderr
from bed.commands import CommandFailed
from bed.dockerfile import Builder
from bed.layout import cache_dir
from product import images
from product.chart import CHART

from speech_contract import names
from speech_contract.reasons import State

Object = dict[str, Any]
T = TypeVar("T")
RELEASE, HOME = "speechtrain", "speechtrain-system"
ACCELERATOR = "NVIDIA-H200"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
FINISHED = (State.COMPLETE.value, State.FAILED.value)
_JOBS = f"/apis/{names.API_VERSION}/namespaces"
_OPERATOR = f"/api/v1/namespaces/{HOME}/pods"


@contextmanager
def product(name: str, values: Object | None = None) -> Iterator[Bed]:
    """A cluster of one node with eight GPUs on paper, our images on it and the chart installed.

    Images are built from our Dockerfiles at the first call with these sources. Raises RuntimeError,
    CommandFailed, TimeoutError.
    """
    with Bed(name, node=True) as bed:
        bed.advertise("nvidia.com/gpu", 8, {"nvidia.com/gpu.product": ACCELERATOR})
        load_images(bed)
        install(bed, values)
        yield bed


def load_images(bed: Bed) -> None:
    """Give the node operator, trainer and a foreign image: Python, and nothing of ours. Raises as `product`."""
    cache = cache_dir()
    python = rootfs.python_image(cache, log_to_stderr)
    builder = Builder(cache / "buildah")
    builder.load(python)
    bed.load_image(python)
    bed.load_image(images.operator_image(builder, cache, log_to_stderr))
    images.load_trainer(bed, builder, cache, log_to_stderr)


def install(bed: Bed, values: Object | None = None) -> None:
    """`helm install`, into a namespace that lets in restricted pods alone; returns when it is ready."""
    bed.api.post("/api/v1/namespaces", {"metadata": {"name": HOME, "labels": RESTRICTED}})
    repository, _, tag = images.OPERATOR_IMAGE.rpartition(":")
    own: Object = {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "trainer": {"image": images.TRAINER_IMAGE},
    }
    try:
        bed.helm(
            "install", RELEASE, str(CHART), "--namespace", HOME, "--values", "-",
            "--wait", "--timeout", "4m", stdin=json.dumps({**own, **(values or {})}),
        )  # fmt: skip
    except CommandFailed as error:
        error.add_note(bed.kubectl("-n", HOME, "describe", "pods"))
        raise


def operator_pods(bed: Bed) -> list[Object]:
    """Pods of the operator, those that are on their way out as well."""
    found: list[Object] = bed.api.get(_OPERATOR)["items"]
    return found


def kill_operator(bed: Bed) -> str:
    """Delete the operator's pod without any grace and return when its successor leads; its name."""
    (old,) = operator_pods(bed)
    bed.kubectl("-n", HOME, "delete", "pod", old["metadata"]["name"], "--grace-period=0", "--force")

    def successor() -> str:
        pods = [p for p in operator_pods(bed) if p["metadata"]["uid"] != old["metadata"]["uid"]]
        name = str(pods[0]["metadata"]["name"]) if len(pods) == 1 else ""
        return name if name and "leadership_gained" in operator_log(bed, name) else ""

    return wait_for("the successor of the operator", successor, 180.0, every=0.5)


def operator_log(bed: Bed, pod: str) -> str:
    """What an operator's pod said so far; nothing while it has not started."""
    try:
        return bed.kubectl("-n", HOME, "logs", pod)
    except CommandFailed:
        return ""


class Namespace:
    """A namespace that lets in restricted pods alone. `claims` are folders of this machine, by claim."""

    def __init__(self, bed: Bed, name: str, **claims: Path) -> None:
        self.bed, self.name = bed, name
        bed.api.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
        for claim, folder in claims.items():
            self._claim(claim, folder)

    def _claim(self, claim: str, folder: Path) -> None:
        """A static volume of the node. Who may write it is the kubelet's to see to, as with any fresh claim."""
        size, modes = "1Gi", ["ReadWriteMany"]
        volume = f"{self.name}-{claim}"
        bound = {"storageClassName": "", "accessModes": modes}
        self.bed.local_volume(volume, folder, size, modes)
        wanted = {"volumeName": volume, "resources": {"requests": {"storage": size}}}
        self.bed.api.post(
            f"/api/v1/namespaces/{self.name}/persistentvolumeclaims",
            {"metadata": {"name": claim}, "spec": {**bound, **wanted}},
        )

    # ------------------------------------------------------------------ jobs

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.bed.kubectl("-n", self.name, *arguments, stdin=stdin)

    def apply(self, job: Object) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(job))

    def patch(self, job: str, spec: Object) -> None:
        patch = json.dumps({"spec": spec})
        self.kubectl("patch", names.SHORT_NAME, job, "--type=merge", "-p", patch)

    def job(self, name: str) -> Object | None:
        return self.bed.api.find(f"{_JOBS}/{self.name}/{names.PLURAL}/{name}")

    def status(self, name: str) -> Object:
        status: Object = (self.job(name) or {}).get("status", {})
        return status

    def until(
        self, what: str, name: str, look: Callable[[Object], T | None], seconds: float = 300.0
    ) -> T:
        """The first true value of `look(status)`. A job that ends without it fails at once, in words."""

        def see() -> tuple[T] | None:
            status = self.status(name)
            if found := look(status):
                return (found,)
            if status.get("state") in FINISHED:
                raise AssertionError(f"job {name} ended before {what}:\n{self.words(name)}")
            return None

        try:
            return wait_for(f"{what} of job {name}", see, seconds, every=0.25)[0]
        except TimeoutError as error:
            error.add_note(self.words(name))
            raise

    def until_state(self, name: str, state: State, seconds: float = 300.0) -> Object:
        """The status once the job is in this state."""

        def there(status: Object) -> Object | None:
            return status if status.get("state") == state.value else None

        return self.until(state.value, name, there, seconds)

    def until_step(self, name: str, step: int, seconds: float = 300.0) -> Object:
        """The status once it names this step, or a later one."""

        def there(status: Object) -> Object | None:
            return status if reached(status) >= step else None

        return self.until(f"step {step}", name, there, seconds)

    def pods(self, job: str) -> dict[str, Object]:
        """The pods of one job by name."""
        selector = urllib.parse.quote(f"{names.LABEL_JOB_NAME}={job}")
        path = f"/api/v1/namespaces/{self.name}/pods?labelSelector={selector}"
        return {item["metadata"]["name"]: item for item in self.bed.api.get(path)["items"]}

    def evict(self, pod: str) -> None:
        """What `kubectl drain` does with each pod."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        }
        self.bed.api.post(f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction", body)

    def delete(self, job: str) -> None:
        """`kubectl delete`, in the background as users do."""
        self.kubectl("delete", names.SHORT_NAME, job, "--wait=false")

    def until_gone(self, job: str, seconds: float = 180.0) -> None:
        """Return when nothing is left of a deleted job."""

        def gone() -> bool:
            return not self.left(job)

        wait_for(f"the end of all of {job}", gone, seconds, every=0.5)

    def left(self, job: str) -> list[str]:
        """Pods, services and config maps of a job, as `kind/name`."""
        label = f"{names.LABEL_JOB_NAME}={job}"
        kinds = "pods,services,configmaps"
        return self.kubectl("get", kinds, "--selector", label, "--output", "name").split()

    def words(self, job: str) -> str:
        """All there is to know of a job, for the message of a test that fails."""
        parts = [json.dumps(self.status(job), indent=1)]
        for pod in self.pods(job):
            parts.append(f"== {pod}\n{_said(partial(self.kubectl, 'logs', pod, '--tail=40'))}")
        parts.append(_said(partial(self.kubectl, "get", "pods,events")))
        for pod_ in operator_pods(self.bed):
            name = pod_["metadata"]["name"]
            parts.append(f"== {name}\n{operator_log(self.bed, name)[-3000:]}")
        return "\n".join(parts)


def _said(call: Callable[[], str]) -> str:
    try:
        return call()
    except (CommandFailed, ApiError) as error:
        return str(error)


def reached(status: Mapping[str, Any]) -> int:
    """The step that a status names."""
    return int(status.get("progress", {}).get("step") or 0)


def rules_of(status: Mapping[str, Any]) -> set[str]:
    """Health rules that a status names."""
    return {finding["rule"] for finding in status.get("health", {}).get("findings", [])}
