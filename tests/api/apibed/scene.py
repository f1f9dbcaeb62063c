"""A namespace, the jobs and pods in it, and what a kubelet or a person would do to them."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import yaml
from apibed.admin import Admin
from bed.api import ApiError, wait_for
from bed.cluster import Bed

from speech_contract import codec, names
from speech_contract.api import crd, runtime_crd
from speech_contract.outcome import Outcome
from speech_operator.cluster.base import ClusterError, JobKey

T = TypeVar("T")
Body = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
LOOK_SECONDS = 0.06  # with some jobs side by side, looks are what an API server is busy with
LONG_AGO = "2026-01-01T00:00:00Z"  # nobody waits for the word of a peer any more
JOB = """
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: asr}
spec:
  recipe: {vits: {preset: Debug}}
  data: {train: {manifest: /data/train.jsonl}}
  training: {maxSteps: 60}
  checkpoint: {uri: /runs/asr}
  numNodes: 2
  nprocPerNode: 8
  accelerator: NVIDIA-H200
  trainer:
    image: trainer:test
    resourcesPerNode: {limits: {nvidia.com/gpu: "8"}}
    volumeMounts: [{name: runs, mountPath: /runs}, {name: data, mountPath: /data}]
  pod:
    volumes:
      - {name: runs, persistentVolumeClaim: {claimName: runs}}
      - {name: data, persistentVolumeClaim: {claimName: data, readOnly: true}}
  runPolicy: {restarts: {sameCause: 2}}
"""


def install(bed: Bed, document: Body | None = None) -> None:
    """The CRDs of this build, or that of another one, and wait until they are served."""
    made = [document] if document else [crd.definition(), *runtime_crd.definitions()]
    for one in made:
        bed.api.post(CRDS, one)
    for one in made:
        served = f"/apis/{names.API_VERSION}/{one['spec']['names']['plural']}"
        wait_for("the CRD", lambda at=served: bed.api.find(at))


class Scene:
    """Acts as the cluster's administrator, in the event loop that the operator under test lives in."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self.admin = admin
        self.namespace = namespace
        self.key = JobKey(namespace, "asr")

    @classmethod
    async def make(cls, admin: Admin, name: str, labels: dict[str, str] | None = None) -> Scene:
        """A new namespace, once its default service account is there."""
        await admin.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels or {}}})
        scene = cls(admin, name)
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        await scene.until("the service account", lambda: admin.find(account))
        return scene

    # ------------------------------------------------------------------ the job

    @property
    def jobs_path(self) -> str:
        return f"/apis/{names.API_VERSION}/namespaces/{self.namespace}/{names.PLURAL}"

    @property
    def job_path(self) -> str:
        return f"{self.jobs_path}/asr"

    @staticmethod
    def manifest(**spec: Any) -> Body:
        """The job above with other fields; one that is None is not written."""
        document: Body = copy.deepcopy(yaml.safe_load(JOB))
        written = {**document["spec"], **spec}
        document["spec"] = {name: value for name, value in written.items() if value is not None}
        return document

    async def create(self, **spec: Any) -> Body:
        manifest = self.manifest(**spec)
        return await self.admin.post(self.jobs_path, manifest)

    async def job(self) -> Body | None:
        return await self.admin.find(self.job_path)

    async def patch(self, body: Body) -> Body:
        return await self.admin.patch(self.job_path, body)

    async def delete(self) -> None:
        await self.admin.delete(self.job_path)

    # ------------------------------------------------------------------ runtimes

    async def create_runtime(
        self, name: str, spec: Body, kind: str = names.RUNTIME_KIND, query: str = ""
    ) -> str:
        """A runtime of this namespace, or one of the cluster; its path."""
        where = f"namespaces/{self.namespace}/" if kind == names.RUNTIME_KIND else ""
        path = f"/apis/{names.API_VERSION}/{where}{kind.lower()}s"
        head = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}}
        await self.admin.post(path + query, {**head, "spec": spec})
        return f"{path}/{name}"

    # ------------------------------------------------------------------ its children

    async def list(self, plural: str) -> list[Body]:
        path = f"/api/v1/namespaces/{self.namespace}/{plural}"
        if plural not in ("events",):
            path += f"?labelSelector={names.LABEL_JOB_NAME}"
        items: list[Body] = (await self.admin.get(path))["items"]
        return items

    async def pods(self, attempt: int) -> list[Body]:
        found = await self.list("pods")
        return [p for p in found if p["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt)]

    async def set_pod(self, name: str, status: Body) -> None:
        """What a kubelet would report."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}/status"
        await self.admin.patch(path, {"status": status})

    async def runs(self, name: str) -> None:
        await self.set_pod(name, {"phase": "Running"})

    async def ends(self, name: str, code: int, outcome: Outcome | None = None, **more: Any) -> None:
        """The container that trains ended with this code."""
        terminated = {"exitCode": code, "reason": "Error" if code else "Completed"}
        terminated |= {"startedAt": LONG_AGO, "finishedAt": LONG_AGO}
        if outcome is not None:
            terminated["message"] = codec.dumps(outcome)
        container = {
            "name": names.CONTAINER, "ready": False, "restartCount": 0, "image": "trainer:test",
            "imageID": "", "state": {"terminated": terminated},
        }  # fmt: skip
        phase = "Failed" if code else "Succeeded"
        await self.set_pod(name, {"phase": phase, "containerStatuses": [container], **more})

    # ------------------------------------------------------------------ waiting

    async def until(self, what: str, look: Callable[[], Any], seconds: float = 30.0) -> Any:
        """The first true value of an async `look`."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                if found := await look():
                    return found
            except (ClusterError, ApiError) as error:
                last = error
            await asyncio.sleep(LOOK_SECONDS)
        job = json.dumps((await self.job() or {}).get("status"), indent=1)
        raise TimeoutError(f"waited {seconds:.0f} s for {what}; {last!r}; status: {job}")

    async def events(self, reason: str, least: int = 1) -> list[Body]:
        """Those of a reason, once `least` are there: an operator writes them beside the status, not before it."""

        async def look() -> tuple[list[Body]] | None:
            found = [e for e in await self.list("events") if e["reason"] == reason]
            return (found,) if len(found) >= least else None

        (found,) = await self.until(f"{least} events {reason}", look)
        return list(found)

    async def state(self, wanted: str) -> Body:
        async def look() -> Body | None:
            job = await self.job()
            return job if job and (job.get("status") or {}).get("state") == wanted else None

        found: Body = await self.until(f"state {wanted}", look)
        return found

    async def gang(self, attempt: int, size: int = 2, seconds: float = 30.0) -> list[Body]:
        """The pods of an attempt, once all are there and status says so."""

        async def look() -> list[Body] | None:
            job = await self.job()
            whole = reason_of(job, "Running") not in ("", "AttemptStarted", "PodRefused")
            current = ((job or {}).get("status") or {}).get("attempt") == attempt
            pods = await self.pods(attempt) if whole and current else []
            return pods if len(pods) == size else None

        found: list[Body] = await self.until(f"{size} pods of attempt {attempt}", look, seconds)
        return found


def condition(job: Body | None, kind: str) -> Body:
    conditions = ((job or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def reason_of(job: Body | None, kind: str) -> str:
    return str(condition(job, kind).get("reason", ""))
