"""The command line against a real API server: a job whose status and pods are scripted, and real refusals."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from apibed.scene import Scene
from bed.cluster import Bed
from click.testing import CliRunner, Result

from speech_cli import cluster_client
from speech_cli.client import CannotCome, Client, TimedOut, UserError
from speech_cli.main import cli
from speech_contract import names
from speech_contract.outcome import Outcome
from speech_contract.report import BadStep

Call = Callable[..., Result]
STATUS = {
    "observedGeneration": 1,
    "state": "Failed",
    "nodes": "0/2",
    "attempt": 2,
    "restarts": {"counted": 1, "total": 1},
    "attempts": [
        {"number": 1, "reason": "AttemptFailed", "cause": "Error", "exitCode": 1, "lastStep": 30},
        {"number": 2, "reason": "AttemptFailed", "cause": "NonFiniteBudgetSpent", "exitCode": 40,
         "rank": 9, "lastStep": 41, "resumedFromStep": 20},
    ],
    "replicas": {"desired": 2, "ready": 0},
    "progress": {"step": 41, "totalSteps": 60, "loss": "nan", "gradientNorm": "nan"},
    "health": {"verdict": "Critical", "findings": [
        {"rule": "NonFinite", "status": "Active", "severity": "critical", "step": 38, "rank": 9,
         "evidence": "loss nan for 4 steps", "action": "Gated",
         "remedy": "lower the learning rate"}]},
    "failure": {"reason": "NonFiniteBudgetSpent", "message": "loss is nan", "exitCode": 40,
                "pod": "asr-worker-0", "rank": 9, "remedy": "lower the learning rate"},
    "conditions": [
        {"type": "Failed", "status": "True", "reason": "NonFiniteBudgetSpent",
         "message": "loss is nan", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
}  # fmt: skip


@pytest.fixture
def call(bed: Bed, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Type a command line where there is no local run and the bed's kubeconfig is the current one."""
    monkeypatch.setenv("KUBECONFIG", str(bed.kubeconfig))
    monkeypatch.setenv("SPEECHTRAIN_STATE", str(tmp_path / "state"))

    def invoke(*arguments: str, namespace: str = scene.namespace) -> Result:
        return CliRunner().invoke(cli, [*arguments, "-n", namespace])

    return invoke


@pytest.fixture
async def failed(bed: Bed, scene: Scene) -> Scene:
    """A job that went NaN on its worker in the second attempt."""
    job = await scene.create()
    bed.api.patch(f"{scene.job_path}/status", {"status": STATUS})
    for name in ("asr-master-0", "asr-worker-0"):
        metadata = {"name": name, "labels": {names.LABEL_JOB_NAME: "asr"}}
        container = {"name": names.CONTAINER, "image": "trainer:test"}
        pod = {"metadata": metadata, "spec": {"containers": [container]}}
        bed.api.post(f"/api/v1/namespaces/{scene.namespace}/pods", pod)
    told = Outcome(2, 0, "Training", 40, "loss is nan", "NonFinite", 9, step=41,
                   first_bad=BadStep(38, "generator/mel", "decoder", 9))  # fmt: skip
    await scene.ends("asr-master-0", 40, told)
    event = {
        "metadata": {"name": "asr.1"}, "type": "Warning", "reason": "AttemptFailed",
        "message": "attempt 2 ended with 40",
        "involvedObject": {"kind": names.KIND, "name": "asr", "namespace": scene.namespace,
                           "uid": job["metadata"]["uid"]},
    }  # fmt: skip
    bed.api.post(f"/api/v1/namespaces/{scene.namespace}/events", event)
    return scene


def test_status_shows_the_columns_of_kubectl(call: Call, bed: Bed, failed: Scene) -> None:
    header, row = call("status").stdout.splitlines()
    printed = bed.kubectl("get", "stj", "-n", failed.namespace).splitlines()
    assert header.split() == printed[0].split()
    ours, theirs = row.split(), printed[1].split()
    # `status.reason` is the operator's to write, and none is at work here.
    theirs.insert(2, ours[2])
    told = (0, 1, 3, 6, 7)  # how we write steps, losses and ages is another matter
    assert [ours[at] for at in told] == [theirs[at] for at in told]
    assert ours[4:6] == ["41/60", "NaN"]


def test_status_of_one_job(call: Call, failed: Scene) -> None:
    output = call("status", "asr").output
    assert "attempt 2: Failed, health Critical" in output
    assert "remedy: lower the learning rate" in output
    assert "run directory    /runs/asr" in output
    document = json.loads(call("status", "asr", "-o", "json").stdout)
    assert document["status"]["failure"]["exitCode"] == 40
    assert document["metadata"]["namespace"] == failed.namespace


def test_why_joins_status_outcome_and_events(call: Call, failed: Scene) -> None:
    lines = call("why", "asr").output.splitlines()
    assert lines[0].startswith("asr: Failed, health Critical, NonFiniteBudgetSpent (exit code 40")
    assert "1: AttemptFailed Error, exit code 1" in lines[1]
    assert "resumed from step 20" in lines[2]
    assert lines[3] == "first bad step 38, rank 9, loss component generator/mel, module decoder"
    told = (
        "Warning AttemptFailed: attempt 2 ended with 40"  # beside what a scheduler says of the pods
    )
    assert [line for line in lines if line.endswith(told)]
    assert lines[-1].startswith("next      lower the learning rate")


def test_logs_of_a_pod_without_a_node_say_so(call: Call, bed: Bed, failed: Scene) -> None:
    answer = call("logs", "asr", "--node-rank", "1")
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "nothing is printed yet; see: speechtrain why asr --cluster" in answer.stderr
    bed.api.delete(f"/api/v1/namespaces/{failed.namespace}/pods/asr-worker-0?gracePeriodSeconds=0")
    answer = call("logs", "asr", "--node-rank", "1")
    assert answer.exit_code == 1
    assert "asr-worker-0" in answer.output
    assert "kept in /runs/asr/logs/attempt-2/rank-8.log" in answer.output


async def test_suspend_and_resume(call: Call, scene: Scene) -> None:
    await scene.create()
    assert call("suspend", "asr").exit_code == 0
    assert await _suspend(scene) is True
    answer = call("resume", "asr", "-o", "json")
    assert json.loads(answer.stdout)["spec"]["runPolicy"]["suspend"] is False
    assert await _suspend(scene) is False


async def _suspend(scene: Scene) -> Any:
    job = await scene.job()
    assert job is not None
    return job["spec"]["runPolicy"]["suspend"]


def test_a_job_that_is_not_there_gets_the_nearest_name(call: Call, failed: Scene) -> None:
    answer = call("why", "ars")
    assert answer.exit_code == 64
    assert "did you mean asr?" in answer.output


def test_a_user_without_rights_is_told_which(
    call: Call, bed: Bed, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts/default/token"
    token = bed.api.post(path, {"spec": {}})["status"]["token"]
    for given, sentence in ((token, "cannot list resource"), ("x", "does not know you (401")):
        document = yaml.safe_load(bed.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": given}
        config = tmp_path / "kubeconfig"
        config.write_text(yaml.safe_dump(document))
        monkeypatch.setenv("KUBECONFIG", str(config))
        answer = call("status")
        assert answer.exit_code == 1
        assert sentence in answer.output


def checks(call: Call) -> dict[str, Any]:
    """The rows of `doctor`, by name."""
    document = json.loads(call("doctor", "--cluster", "-o", "json").stdout)
    return {row["name"]: row for row in document["checks"]}


def test_doctor_asks_an_api_server_without_an_operator(call: Call, failed: Scene) -> None:
    found = checks(call)
    marks = {name: row["mark"] for name, row in found.items()}
    assert {name: marks[name] for name in ("API server", "clock", "CRD", "your rights", "images")} == {
        "API server": "OK", "clock": "OK", "CRD": "OK", "your rights": "OK", "images": "OK",
    }  # fmt: skip
    assert (marks["operator"], marks["operator's rights"]) == ("FAIL", "SKIPPED")
    assert (marks["PodMonitor"], marks["/progress"]) == ("SKIPPED", "SKIPPED")
    assert found["storage"]["reason"].startswith("no StorageClass is the default (there: none)")


async def test_doctor_finds_what_an_operators_account_may_not(
    call: Call, bed: Bed, scene: Scene
) -> None:
    labels = {names.LABEL_APP: names.APP, names.LABEL_COMPONENT: names.OPERATOR}
    container = {"name": "operator", "image": "operator:test"}
    deployment = {
        "metadata": {"name": "op", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "replicas": 0, "template": {
            "metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    }  # fmt: skip
    path = f"/apis/apps/v1/namespaces/{scene.namespace}/deployments"
    bed.api.post(path, deployment)
    try:
        await scene.create()
        found = checks(call)
    finally:
        bed.api.delete(f"{path}/op")
    row = found[f"operator's rights {scene.namespace}/op"]
    assert row["mark"] == "FAIL"
    assert "its account may not delete speechtrainingjobs, get speechtrainingjobs" in row["reason"]
    assert found["GPUs"]["mark"] == "FAIL"


def test_doctor_of_an_account_without_rights_says_what_it_may_not_ask(
    call: Call, bed: Bed, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/v1/namespaces/{scene.namespace}/serviceaccounts/default/token"
    document = yaml.safe_load(bed.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": bed.api.post(path, {"spec": {}})["status"]["token"]}
    config = tmp_path / "kubeconfig"
    config.write_text(yaml.safe_dump(document))
    monkeypatch.setenv("KUBECONFIG", str(config))
    found = checks(call)
    assert found["CRD"]["mark"] == "OK"  # by the published schema
    assert found["your rights"]["mark"] == "WARN"
    for name in ("operator", "/progress", "GPUs", "storage", "images"):
        assert found[name]["mark"] == "SKIPPED", found[name]
        assert "forbidden" in found[name]["reason"]


def test_the_python_client(
    call: Call, bed: Bed, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(Scene.manifest()), encoding="utf-8")
    client = Client.cluster(namespace=scene.namespace)
    assert client.submit(path).name == "asr"
    with pytest.raises(UserError, match="already exists"):
        client.submit(path)
    with pytest.raises(TimedOut):
        client.wait("asr", timeout=0)
    bed.api.patch(f"{scene.job_path}/status", {"status": STATUS})
    with pytest.raises(CannotCome, match="it is attempt 2: Failed at step 41/60"):
        client.wait("asr")
    assert client.why("asr").exit_code == 40


def test_a_cluster_without_the_chart(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = f"/apis/{names.GROUP}/v9/namespaces/default/{names.PLURAL}"
    monkeypatch.setattr(cluster_client, "jobs_path", lambda namespace: wrong)
    answer = call("status")
    assert answer.exit_code == 1
    assert "install the chart" in answer.output


def test_kubectl_stj_is_the_same_command(
    bed: Bed, failed: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "bin" / "kubectl-stj"
    plugin.parent.mkdir()
    plugin.write_text(f"#!{sys.executable}\nfrom speech_cli.main import main\n\nmain()\n")
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", f"{plugin.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SPEECHTRAIN_STATE", str(tmp_path / "state"))
    printed = bed.kubectl("stj", "status", "asr", "-n", failed.namespace)
    assert "attempt 2: Failed, health Critical" in printed
    assert bed.kubectl("stj", "status", "--help").startswith("Usage: kubectl stj status")
