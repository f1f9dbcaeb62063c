"""The whole operator process with the rights of the installed chart: kopf, Lease, probes, metrics, stop.

It runs as `python -m speech_operator` under a ServiceAccount that holds what the rendered chart grants, and the
API server's audit log tells what it called.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from apibed.admin import Admin
from apibed.scene import Body, Scene, reason_of
from bed.cluster import Bed

from speech_contract.metrics import OPERATOR_METRICS
from speech_operator.settings import variable

CHART = Path(__file__).resolve().parents[2] / "charts" / "speechtrain"
HOME = "speechtrain"  # the release's namespace
# Granted and never called: see the chart's comment.
UNCALLED = {("update", "speechtrainingjobs/finalizers")}
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def rendered(bed: Bed) -> list[Body]:
    """RBAC and account of the chart."""
    parts = [f"--show-only=templates/{name}.yaml" for name in ("rbac", "serviceaccount")]
    text = bed.helm("template", "speechtrain", str(CHART), "--namespace", HOME, *parts)
    return [document for document in yaml.safe_load_all(text) if document]


def granted(documents: list[Body]) -> set[tuple[str, str]]:
    """Verb and resource of what the operator's own roles allow."""
    return {
        (verb, resource)
        for document in documents
        if document["kind"] in ("Role", "ClusterRole")
        and not any("aggregate" in label for label in document["metadata"]["labels"])
        for rule in document["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.fixture(scope="session")
def chart(bed: Bed) -> list[Body]:
    documents = rendered(bed)
    bed.api.post("/api/v1/namespaces", {"metadata": {"name": HOME}})
    bed.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))
    return documents


@pytest.fixture(scope="session")
def kubeconfig(bed: Bed, chart: list[Body], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token of the chart's account instead of the administrator's certificate."""
    token = bed.kubectl("create", "token", "speechtrain", "--namespace", HOME).strip()
    document = yaml.safe_load(bed.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": token}
    path = tmp_path_factory.mktemp("operator") / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


class Process:
    """One operator as a process of its own."""

    def __init__(self, kubeconfig: Path, name: str, **settings: str) -> None:
        given = {
            "kubeconfig": str(kubeconfig), "leader_election": "true", "lease_name": "speechtrain",
            "metrics_port": "0", "probes_port": "0", "pod_name": name, "pod_namespace": HOME,
            **settings,
        }  # fmt: skip
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "HOME")}
        self._environ = kept | {variable(field): value for field, value in given.items()}
        self.lines: list[Body] = []

    async def __aenter__(self) -> Process:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "speech_operator",
            env=self._environ, stdout=asyncio.subprocess.PIPE, limit=2**20,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            print(line.decode(), end="")  # pytest shows it when the test fails
            self.lines.append(json.loads(line))

    def events(self, name: str) -> list[Body]:
        return [line for line in self.lines if line["event"] == name]

    async def said(self, name: str, seconds: float = 40.0) -> Body:
        async with asyncio.timeout(seconds):
            while not self.events(name):
                await asyncio.sleep(0.05)
                assert self.process.returncode is None, self.lines
        return self.events(name)[-1]

    async def fetch(self, port: str, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.events('operator_started')[-1][port]}{path}"

        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(get)

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15.0):
            return await self.process.wait()


@pytest.fixture
async def operator(kubeconfig: Path) -> AsyncIterator[Process]:
    async with Process(kubeconfig, "one") as process:
        await process.said("leadership_gained")
        yield process


async def lease(admin: Admin) -> Body:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/speechtrain"
    spec: Body = (await admin.get(path))["spec"]
    return spec


async def test_the_process_runs_jobs_and_calls_exactly_what_the_chart_grants(
    operator: Process, scene: Scene, chart: list[Body], bed: Bed
) -> None:
    await scene.create(runPolicy={"ttlSecondsAfterFinished": 1})
    await scene.gang(1)
    await scene.ends("asr-worker-0", 139)
    await scene.gang(2)
    status, text = await operator.fetch("metrics_port", "/metrics")
    assert status == 200
    job = f'job_name="asr",namespace="{scene.namespace}"'
    assert f"speech_operator_job_state{{{job},state=" in text.replace(" ", "")
    assert 'speech_operator_job_restarts_total{reason="SegmentationFault"} 1.0' in text
    assert "speech_operator_leader 1.0" in text
    await scene.ends("asr-worker-0", 0)
    await scene.ends("asr-master-0", 0)

    async def gone() -> bool:
        return await scene.job() is None

    await scene.until("ttl", gone)
    await scene.until("the series gone", lambda: series_gone(operator, scene.namespace))
    await foreign_name(await Scene.make(scene.admin, f"{scene.namespace}-taken"))
    assert await operator.stop() == 0
    assert called(bed) == granted(chart) - UNCALLED


async def series_gone(operator: Process, namespace: str) -> bool:
    _, text = await operator.fetch("metrics_port", "/metrics")
    return namespace not in text


async def foreign_name(scene: Scene) -> None:
    """The one call that only a taken name provokes: looking at that pod."""
    pods = f"/api/v1/namespaces/{scene.namespace}/pods"
    container = {"name": "main", "image": "none"}
    pod = {"metadata": {"name": "asr-master-0"}, "spec": {"containers": [container]}}
    await scene.admin.post(pods, pod)
    await scene.create()

    async def told() -> bool:
        return reason_of(await scene.job(), "Running") == "NameTaken"

    await scene.until("NameTaken", told)


def called(bed: Bed) -> set[tuple[str, str]]:
    """Verb and resource of every call of the account; a refused one is no use of a right."""
    user = f"system:serviceaccount:{HOME}:speechtrain"
    found = set()
    for event in bed.audit(user):
        reference: dict[str, Any] = event.get("objectRef") or {}
        if "resource" not in reference:
            continue  # discovery, which everybody may
        assert event["responseStatus"]["code"] != 403, event
        kind, sub = reference["resource"], reference.get("subresource")
        found.add((event["verb"], f"{kind}/{sub}" if sub else kind))
    return found


async def test_probes_tell_and_a_signal_lets_the_lease_go(operator: Process, admin: Admin) -> None:
    assert (await lease(admin))["holderIdentity"] == "one"
    assert (await operator.fetch("probes_port", "/healthz"))[0] == 200
    assert (await operator.fetch("probes_port", "/readyz"))[1] == "ok: at work"
    assert (await operator.fetch("probes_port", "/elsewhere"))[0] == 404
    assert await operator.stop() == 0
    assert (await lease(admin))["holderIdentity"] == ""
    assert operator.events("operator_stopped")


async def test_a_standby_waits_its_turn_and_takes_over(operator: Process, kubeconfig: Path) -> None:
    async with Process(kubeconfig, "two") as standby:
        started = await standby.said("operator_started")
        assert started["probes_port"]
        async with asyncio.timeout(30.0):
            while (await standby.fetch("probes_port", "/readyz"))[1] != "ok: standing by":
                await asyncio.sleep(0.1)
        assert "speech_operator_leader 0.0" in (await standby.fetch("metrics_port", "/metrics"))[1]
        assert not standby.events("leadership_gained")
        assert await operator.stop() == 0
        await standby.said("leadership_gained")
        assert await standby.stop() == 0


async def test_a_lost_lease_ends_the_process(operator: Process, admin: Admin) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/speechtrain"
    await admin.patch(path, {"spec": {"holderIdentity": "usurper"}})
    async with asyncio.timeout(30.0):
        assert await operator.process.wait() == 1
    assert (await lease(admin))["holderIdentity"] == "usurper"
    await admin.patch(path, {"spec": {"holderIdentity": ""}})


async def test_every_metric_of_the_catalogue_is_served(operator: Process) -> None:
    _, text = await operator.fetch("metrics_port", "/metrics")
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert families >= {metric.name for metric in OPERATOR_METRICS}
