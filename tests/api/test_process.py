"""The whole operator process with the rights of the installed chart: kopf, Lease, probes, metrics, stop.

It runs as `python -m speech_operator` under a ServiceAccount that holds what the rendered chart grants, and the
API server's audit log tells what it called.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from apibed.admin import Admin
from apibed.process import Process, called, granted, install_rights, rendered
from apibed.scene import Body, Scene, reason_of
from bed.cluster import Bed

from speech_contract.metrics import OPERATOR_METRICS

HOME = "speechtrain"  # the release and its namespace
# Granted and not called for the sake of this test: see the chart's comments. Events are listed of a kubelet that is
# silent for a minute (tests/api/test_starting.py), which here may be the one of another test's namespace. A node is
# asked for where a pod lies on one that the watch does not know (tests/api/test_node_loss.py).
UNCALLED = {("update", "speechtrainingjobs/finalizers"), ("list", "events"), ("get", "nodes")}


@pytest.fixture(scope="session")
def chart(bed: Bed) -> list[Body]:
    return rendered(bed, HOME)


@pytest.fixture(scope="session")
def kubeconfig(bed: Bed, chart: list[Body], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token of the chart's account instead of the administrator's certificate."""
    return install_rights(bed, HOME, chart, tmp_path_factory.mktemp("operator"))


@pytest.fixture
async def operator(kubeconfig: Path) -> AsyncIterator[Process]:
    async with Process(kubeconfig, "one", HOME) as process:
        await process.said("leadership_gained")
        yield process


async def lease(admin: Admin) -> Body:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/speechtrain"
    spec: Body = (await admin.get(path))["spec"]
    return spec


async def test_the_process_runs_jobs_and_calls_exactly_what_the_chart_grants(
    operator: Process, scene: Scene, chart: list[Body], bed: Bed, kubeconfig: Path
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
    await take_over(bed, scene, kubeconfig, HOME)
    assert set(called(bed, HOME)) - UNCALLED == granted(chart) - UNCALLED


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


async def take_over(bed: Bed, scene: Scene, kubeconfig: Path, home: str, **settings: str) -> None:
    """What is asked by the operator alone that finds an attempt of the one before: which run configs there are."""
    async with Process(kubeconfig, "next", home, **settings) as process:
        await process.said("leadership_gained")

        async def asked() -> bool:
            return ("list", "configmaps") in called(bed, home)

        await scene.until("a look at the run configs", asked)
        assert await process.stop() == 0


async def test_probes_tell_and_a_signal_lets_the_lease_go(operator: Process, admin: Admin) -> None:
    assert (await lease(admin))["holderIdentity"] == "one"
    assert (await operator.fetch("probes_port", "/healthz"))[0] == 200
    assert (await operator.fetch("probes_port", "/readyz"))[1] == "ok: at work"
    assert (await operator.fetch("probes_port", "/elsewhere"))[0] == 404
    assert await operator.stop() == 0
    assert (await lease(admin))["holderIdentity"] == ""
    assert operator.events("operator_stopped")


async def test_a_standby_waits_its_turn_and_takes_over(operator: Process, kubeconfig: Path) -> None:
    async with Process(kubeconfig, "two", HOME) as standby:
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
    with pytest.raises(RuntimeError, match=r"the operator ended with 1: .*leadership_lost"):
        await operator.during(asyncio.sleep(30.0))
    assert (await lease(admin))["holderIdentity"] == "usurper"
    await admin.patch(path, {"spec": {"holderIdentity": ""}})


async def test_every_metric_of_the_catalogue_is_served(operator: Process) -> None:
    _, text = await operator.fetch("metrics_port", "/metrics")
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert families >= {metric.name for metric in OPERATOR_METRICS}


async def test_rights_in_some_namespaces_are_enough_for_these_and_for_no_other(
    bed: Bed, admin: Admin, tmp_path: Path
) -> None:
    """The chart's other form: a Role in each watched namespace, no ClusterRole for the operator."""
    home = "speechtrain-some"
    *watched, taken = [await Scene.make(admin, f"watched-{n}") for n in range(3)]
    other = await Scene.make(admin, "not-watched")
    spaces = [scene.namespace for scene in (*watched, taken)]
    documents = rendered(bed, home, *spaces)
    kubeconfig = install_rights(bed, home, documents, tmp_path)
    async with Process(kubeconfig, "some", home, watch_namespaces=",".join(spaces)) as process:
        await process.said("leadership_gained")
        await other.create()
        for scene in watched:
            await scene.create(runPolicy={"ttlSecondsAfterFinished": 1})
        for scene in watched:
            await whole_life(scene)
        assert not process.events("watch_interrupted")
        assert not process.events("cluster_call_failed")
        await foreign_name(taken)
        assert await process.stop() == 0
    await take_over(bed, taken, kubeconfig, home, watch_namespaces=",".join(spaces))
    assert await other.list("pods") == []
    assert "status" not in (await other.job() or {})
    assert set(called(bed, home)) - UNCALLED == granted(documents) - UNCALLED


async def whole_life(scene: Scene) -> None:
    """Start, gang restart, success, and deletion by its time."""
    await scene.gang(1)
    await scene.ends("asr-worker-0", 139)
    await scene.gang(2)
    await scene.ends("asr-worker-0", 0)
    await scene.ends("asr-master-0", 0)

    async def gone() -> bool:
        return await scene.job() is None

    await scene.until("ttl", gone)
