"""Builders of snapshots, and a cluster in memory that can die after any write."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from speech_contract import codec, names
from speech_contract.api import JobSpec, JobStatus, parse
from speech_contract.findings import Finding, FindingStatus, Verdict
from speech_contract.outcome import Outcome
from speech_contract.progress import Progress, Rule, Severity
from speech_contract.reasons import Condition, Reason
from speech_contract.run_config import RunConfig
from speech_contract.status import Attempt
from speech_operator import status as st
from speech_operator.child_kind import ChildRecord
from speech_operator.children import CONFIG_MAP, POD, SERVICE
from speech_operator.cluster.base import AlreadyExists, Conflict, JobKey
from speech_operator.plan import JobEvent, Mark
from speech_operator.resources.config_map import ACCEPTED, RUN
from speech_operator.snapshot import (
    Endpoints,
    Job,
    NodeRecord,
    Observed,
    Platform,
    PodPhase,
    PodRecord,
    RuntimeRecord,
)
from speech_operator.timestamps import to_text

NOW = 1_800_000_000.0
UID = "uid-1"
KEY = JobKey("speech", "asr")


class Build:
    """What tests say in one line."""

    now = NOW
    uid = UID
    key = KEY

    def document(self, nodes: int = 2, health: Any = None, policy: Any = None) -> dict[str, Any]:
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": "asr",
                "namespace": "speech",
                "uid": UID,
                "generation": 1,
                "resourceVersion": "1",
            },
            "spec": {
                "recipe": {"custom": {}},
                "checkpoint": {"uri": "runs/asr"},
                "numNodes": nodes,
                "trainer": {"command": ["python3", "train.py"]},
                "health": health or {},
                "runPolicy": policy or {},
            },
        }

    def spec(self, nodes: int = 2, health: Any = None, **policy: Any) -> JobSpec:
        return parse(self.document(nodes, health, policy), local=True).spec

    def pod(self, rank: int = 0, attempt: int = 1, **fields: Any) -> PodRecord:
        name = names.pod_name("asr", rank)
        fields.setdefault("phase", PodPhase.RUNNING)
        fields.setdefault("owner_uid", UID)
        fields.setdefault("uid", f"{name}-{attempt}")
        fields.setdefault("node", f"node-{rank}")
        return PodRecord(name=name, node_rank=rank, attempt=attempt, **fields)

    def failed(
        self, rank: int = 0, code: int | None = 1, attempt: int = 1, **fields: Any
    ) -> PodRecord:
        fields.setdefault("finished_at", NOW)
        return self.pod(rank, attempt, phase=PodPhase.FAILED, exit_code=code, **fields)

    def done(self, rank: int = 0, attempt: int = 1, **fields: Any) -> PodRecord:
        return self.pod(rank, attempt, phase=PodPhase.SUCCEEDED, exit_code=0, **fields)

    def outcome(self, code: int | None = 1, rank: int = 0, **fields: Any) -> Outcome:
        return Outcome(attempt=1, node_rank=rank, phase="Training", exit_code=code, **fields)

    def progress(self, attempt: int = 1, **fields: Any) -> Progress:
        fields.setdefault("verdict", Verdict.HEALTHY)
        fields.setdefault("updated_at", NOW)
        return Progress(version=f"{attempt}.1", attempt=attempt, **fields)

    def finding(self, rule: Rule = Rule.ZERO_LOSS, **fields: Any) -> Finding:
        fields.setdefault("status", FindingStatus.ACTIVE)
        fields.setdefault("severity", Severity.CRITICAL)
        fields.setdefault("evidence", "20 reports of exactly 0")
        return Finding(rule=rule, **fields)

    def status(self, attempt: int = 1, whole: bool = True, **fields: Any) -> JobStatus:
        """Of a job whose attempt is open since 100 s, and whose gang was once whole."""
        start = to_text(NOW - 100)
        attempts = tuple(
            Attempt(n, start, None if n == attempt else start) for n in range(1, attempt + 1)
        )
        fields.setdefault("attempts", attempts)
        fields.setdefault("start_time", start if attempt else None)
        status = JobStatus(attempt=attempt, observed_generation=1, **fields)
        reason = Reason.POD_CREATED if whole else Reason.ATTEMPT_STARTED
        return st.with_condition(status, Condition.RUNNING, False, reason, "", NOW - 90)

    def job(self, spec: JobSpec | None, status: JobStatus, **fields: Any) -> Job:
        values: dict[str, Any] = {
            "namespace": "speech",
            "name": "asr",
            "uid": UID,
            "generation": 1,
            "resource_version": "1",
            "deleting": False,
            "managed_by": names.MANAGED_BY,
            "spec": spec,
            "problems": (),
            "status": status,
        }
        return Job(**{**values, **fields})

    def seen(
        self,
        *pods: PodRecord,
        spec: JobSpec | None = None,
        status: JobStatus | None = None,
        job: Job | None = None,
        **fields: Any,
    ) -> Observed:
        spec = spec or self.spec()
        job = job or self.job(spec, self.status() if status is None else status)
        ports = tuple(f"127.0.0.1:{9000 + rank}" for rank in range(spec.num_nodes))
        fields.setdefault("endpoints", Endpoints("127.0.0.1", 8999, ports))
        fields.setdefault("platform", Platform(local=True, cores=8))
        return Observed(job=job, pods=pods, **fields)

    def created(self, plan: Any, kind: Any) -> list[dict[str, Any]]:
        """Manifests of a kind that the plan creates."""
        return [create.manifest for create in plan.creates if create.kind is kind]

    def config_of(self, plan: Any) -> RunConfig:
        """The run config that the plan writes."""
        (manifest,) = self.created(plan, CONFIG_MAP)
        return codec.loads(RunConfig, manifest["data"][RUN])

    def solo(self, *pods: PodRecord, policy: Any = None, **fields: Any) -> Observed:
        """A job of one node."""
        return self.seen(*pods, spec=self.spec(nodes=1, **(policy or {})), **fields)


class Crash(BaseException):
    """The operator dies here: no handler of ours may see it."""


@dataclasses.dataclass(frozen=True)
class FakeConfig:
    """A run config that was read long ago."""

    name: str
    attempt: int
    run: RunConfig
    accepted: JobSpec
    uid: str = "config-uid"
    owner_uid: str = UID
    runtime: RuntimeRecord | None = None


@dataclasses.dataclass
class FakeCluster:
    """The port over dictionaries. `crash_after`: numbers of the writes after which the operator dies."""

    document: dict[str, Any]
    clock: Callable[[], float]
    crash_after: frozenset[int] = frozenset()
    platform: Platform = dataclasses.field(default_factory=lambda: Platform(local=True, cores=4))
    pods: dict[str, PodRecord] = dataclasses.field(default_factory=dict)
    configs: dict[int, FakeConfig] = dataclasses.field(default_factory=dict)
    events: list[JobEvent] = dataclasses.field(default_factory=list)
    created: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    writes: int = 0
    gone: bool = False
    progress: bytes = b""
    calls: list[str] = dataclasses.field(default_factory=list)
    uids: Any = dataclasses.field(default_factory=itertools.count)
    owner: str = UID
    graces: list[tuple[str, int | None]] = dataclasses.field(default_factory=list)
    nodes_known: dict[str, NodeRecord] = dataclasses.field(default_factory=dict)
    dead: bool = False  # the operator, after a crash: none of its other writes arrives

    def check_alive(self) -> None:
        if self.dead:
            raise Crash("dead already")

    def _wrote(self, what: str) -> None:
        self.writes += 1
        self.calls.append(what)
        if self.writes in self.crash_after:
            self.dead = True
            raise Crash(what)

    async def get_job(self, key: JobKey) -> Mapping[str, Any] | None:
        return None if self.gone else self.document

    async def list_jobs(self) -> list[Mapping[str, Any]]:
        return []

    async def list_children(self, key: JobKey, kind: Any, uid: str) -> Sequence[Any]:
        if kind is POD:
            return list(self.pods.values())
        if kind is CONFIG_MAP:
            return [self.configs[attempt] for attempt in sorted(self.configs)]
        return [ChildRecord("asr-master-0", "", uid)] if kind is SERVICE else []

    async def nodes(self, wanted: Any) -> Mapping[str, NodeRecord]:
        return {name: self.nodes_known[name] for name in wanted if name in self.nodes_known}

    async def endpoints(self, key: JobKey, nodes: int, config: RunConfig | None) -> Endpoints:
        return Endpoints("127.0.0.1", 1, tuple(f"127.0.0.1:{n + 2}" for n in range(nodes)))

    async def put_status(self, key: JobKey, document: dict[str, Any], version: str) -> None:
        self.check_alive()
        metadata = self.document["metadata"]
        if metadata["resourceVersion"] != version:
            raise Conflict(version)
        metadata = {**metadata, "resourceVersion": str(int(version) + 1)}
        self.document = {**self.document, "metadata": metadata, "status": document}
        self._wrote("status")

    async def create(self, key: JobKey, kind: Any, manifest: Mapping[str, Any]) -> None:
        self.check_alive()
        metadata = manifest["metadata"]
        name, attempt = metadata["name"], int(metadata["labels"].get(names.LABEL_ATTEMPT, 0))
        if kind is CONFIG_MAP:
            self.configs.setdefault(attempt, self._config(name, attempt, manifest["data"]))
            self._wrote(f"config {attempt}")
            return
        assert kind is POD
        if name in self.pods:
            raise AlreadyExists(name, ours=self.pods[name].attempt == attempt)
        job = self.document["metadata"]["name"]
        rank = {names.pod_name(job, n): n for n in range(16)}[name]
        self.pods[name] = PodRecord(
            name, f"u{next(self.uids)}", rank, attempt, self.owner, created_at=self.clock()
        )
        self.created.append((name, attempt))
        self._wrote(f"create {name}")

    def _config(self, name: str, attempt: int, data: Mapping[str, str]) -> FakeConfig:
        spec = parse({**self.document, "spec": json.loads(data[ACCEPTED])}, local=True).spec
        return FakeConfig(name, attempt, codec.loads(RunConfig, data[RUN]), spec)

    async def delete(
        self, key: JobKey, kind: Any, name: str, uid: str, grace_seconds: int | None = None
    ) -> None:
        self.check_alive()
        if kind is CONFIG_MAP:
            attempt = int(name.rpartition("-")[2])
            self.configs.pop(attempt, None)
            self._wrote(f"delete config {attempt}")
            return
        pod = self.pods.get(name)
        if pod is None:
            return
        if pod.uid != uid:
            raise Conflict(name)
        self.graces.append((name, grace_seconds))
        if grace_seconds == 0:
            del self.pods[name]
        else:
            self.pods[name] = dataclasses.replace(pod, deleting=True)
        self._wrote(f"delete {name} {grace_seconds}")

    async def mark(self, key: JobKey, mark: Mark) -> None:
        raise AssertionError("nothing here is another controller's")

    async def delete_job(self, key: JobKey, uid: str) -> None:
        self.check_alive()
        self.gone = True
        self._wrote("delete job")

    async def post_event(self, key: JobKey, uid: str, event: JobEvent) -> None:
        self.events.append(event)

    async def get_progress(
        self, key: JobKey, config: RunConfig, since: str, wait_seconds: float
    ) -> bytes:
        return self.progress

    def status(self) -> dict[str, Any]:
        return self.document.get("status", {})

    def set_pod(self, rank: int, **fields: Any) -> None:
        name = names.pod_name("asr", rank)
        self.pods[name] = dataclasses.replace(self.pods[name], **fields)

    def finish_deletes(self) -> None:
        """What the kubelet does: pods under deletion end and vanish."""
        self.pods = {name: pod for name, pod in self.pods.items() if not pod.deleting}

    def say(self, progress: Progress) -> None:
        self.progress = codec.dumps(progress).encode()


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()


@pytest.fixture(scope="session")
def make_cluster(build: Build) -> Callable[..., FakeCluster]:
    def make(nodes: int = 2, policy: Any = None, **fields: Any) -> FakeCluster:
        document = build.document(nodes, policy=policy)
        return FakeCluster(document, fields.pop("clock", lambda: NOW), **fields)

    return make


@pytest.fixture(scope="session")
def crash() -> type[Crash]:
    return Crash
