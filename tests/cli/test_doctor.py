"""`speechtrain doctor`: every check on a sound cluster, and each fault as its row."""

from __future__ import annotations

import copy
import functools
import json
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from api_double import CORE, JOBS, ApiDouble, status
from click.testing import Result

from speech_cli.cluster_client import Access, connect
from speech_cli.doctor import installation, machine, monitors
from speech_cli.doctor.row import Mark, Row
from speech_contract import names
from speech_contract.api import crd

Call = Callable[..., Result]
Make = dict[str, Callable[..., Any]]
Object = dict[str, Any]

CRD = f"{installation.CRDS}/{names.CRD_NAME}"
MONITORING = monitors.API
REVIEWS = "/apis/authorization.k8s.io/v1"
NODES = "/api/v1/nodes"
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
OPENAPI = f"/openapi/v3/apis/{names.API_VERSION}"
DEPLOYMENT: Object = {
    "metadata": {"namespace": "system", "name": "st", "labels": {
        names.LABEL_APP_VERSION: machine.version()}},
    "spec": {"replicas": 1, "template": {"spec": {"serviceAccountName": "st", "containers": [
        {"name": "operator", "env": [
            {"name": "SPEECHTRAIN_OPERATOR_WATCH_NAMESPACES", "value": "speech,asr"},
            {"name": "SPEECHTRAIN_OPERATOR_NODE_WATCH", "value": "true"},
            {"name": "SPEECHTRAIN_OPERATOR_KUEUE", "value": "true"}]}]}}},
    "status": {"readyReplicas": 1},
}  # fmt: skip
MONITOR: Object = {
    "metadata": {"namespace": "system", "name": "st-jobs", "labels": {"release": "kps"}}
}
PROMETHEUS: Object = {
    "metadata": {"namespace": "monitoring", "name": "k8s"},
    "spec": {
        f"{field}{part}": selector
        for field in ("podMonitor", "serviceMonitor", "rule")
        for part, selector in (
            ("Selector", {"matchLabels": {"release": "kps"}}),
            ("NamespaceSelector", {}),
        )
    },
}


def items(*objects: Object) -> Object:
    return {"items": list(objects)}


@pytest.fixture
def sound(cluster: ApiDouble, make: Make) -> ApiDouble:
    """A cluster where every check can be made, and is well."""
    running = make["job"](progress={"step": 3, "heardAt": time.time()})
    running["spec"] |= {"accelerator": "NVIDIA-H200"}
    running["spec"]["trainer"] = {"resourcesPerNode": {"limits": {"nvidia.com/gpu": 8}}}
    cluster.jobs(running)
    node = {"metadata": {"labels": {names.LABEL_GPU_PRODUCT: "NVIDIA-H200"}},
            "status": {"allocatable": {"nvidia.com/gpu": "8"}}}  # fmt: skip
    default = {"metadata": {"name": "fast", "annotations": {
        "storageclass.kubernetes.io/is-default-class": "true"}}}  # fmt: skip
    cluster.answers |= {
        "/version": {"gitVersion": "v1.36.1"},
        CRD: crd.definition(),
        installation.DEPLOYMENTS: items(copy.deepcopy(DEPLOYMENT)),
        NODES: items(node),
        CLASSES: items(default),
        f"{MONITORING}/prometheuses": items(copy.deepcopy(PROMETHEUS)),
        **{f"{MONITORING}/{kind.kind.lower()}s": items(copy.deepcopy(MONITOR)) for kind in monitors.KINDS},
        **{f"{REVIEWS}/{kind}subjectaccessreviews": {"status": {"allowed": True}} for kind in ("", "self")},
    }  # fmt: skip
    return cluster


@pytest.fixture
def rows(call: Call) -> Callable[..., dict[str, Any]]:
    """Run the checks of the cluster: name → row, and under "" the exit code."""

    def ask(*options: str) -> dict[str, Any]:
        answer = call("doctor", "--cluster", "-o", "json", *options)
        assert answer.stdout, answer.exception
        document = json.loads(answer.stdout)
        assert document["exitCode"] == answer.exit_code
        return {"": answer.exit_code, **{row["name"]: row for row in document["checks"]}}

    return ask


Rows = Callable[..., dict[str, Any]]


def client() -> Any:
    return connect(Access())


def test_a_sound_cluster_is_ok_in_every_row(sound: ApiDouble, rows: Rows) -> None:
    found = rows()
    assert found.pop("") == 0
    assert {row["mark"] for row in found.values()} == {"OK"}
    assert list(found)[:4] == ["API server", "clock", "CRD", "operator system/st"]
    assert len(found) == 14
    assert all(set(row) == {"name", "mark", "reason", "remedy"} for row in found.values())
    assert "in context 'here'" in found["API server"]["reason"]
    assert all(method == "GET" or "review" in path for method, path, *_ in sound.asked)


def test_a_cluster_that_does_not_answer_names_every_check_that_was_not_made(
    cluster: ApiDouble, rows: Rows
) -> None:
    cluster.answers["/version"] = status(401, "Unauthorized")
    found = rows()
    assert found.pop("") == 1
    assert found["API server"]["mark"] == "FAIL"
    assert "log in again" in found.pop("API server")["remedy"]
    assert {row["mark"] for row in found.values()} == {"SKIPPED"}
    assert len(found) == 10


def test_what_may_not_be_asked_is_said(sound: ApiDouble, rows: Rows) -> None:
    for path in (installation.DEPLOYMENTS, NODES, CLASSES, f"{CORE}/pods"):
        sound.answers[path] = status(403, f"{path} is forbidden")
    found = rows()
    assert found[""] == 0
    for name in ("operator", "operator's rights", "GPUs", "storage", "images"):
        assert found[name]["mark"] == "SKIPPED"
        assert "is forbidden (403)" in found[name]["reason"]
        assert "ask for the right" in found[name]["remedy"]


def test_the_table_names_check_result_and_remedy(
    call: Call, sound: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound.answers[installation.DEPLOYMENTS] = items()
    answer = call("doctor", "--cluster")
    assert answer.exit_code == 1
    assert answer.output.split()[:4] == ["CHECK", "RESULT", "FOUND", "REMEDY"]
    assert "no Deployment has the labels" in answer.output
    assert "helm install" in answer.output


# ---------------------------------------------------------------------- what the chart installs


def test_a_missing_or_older_or_newer_crd(sound: ApiDouble, rows: Rows) -> None:
    sound.answers[CRD] = status(404, "not found", name=names.CRD_NAME)
    assert rows()["CRD"]["mark"] == "FAIL"
    older = copy.deepcopy(crd.definition())
    properties = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del properties["spec"]["properties"]["strategicLogging"]
    sound.answers[CRD] = older
    found = rows()
    assert found[""] == 1
    assert (
        "older than this command line: spec.strategicLogging are unknown" in found["CRD"]["reason"]
    )
    newer = copy.deepcopy(crd.definition())
    properties = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"]["properties"]["later"] = {"type": "string"}
    sound.answers[CRD] = newer
    assert rows()["CRD"]["mark"] == "WARN"
    assert "spec.later" in rows()["CRD"]["reason"]


def test_who_may_not_read_crds_reads_the_published_schema(sound: ApiDouble, rows: Rows) -> None:
    sound.answers[CRD] = status(403, "forbidden")
    assert rows()["CRD"]["mark"] == "FAIL"  # nobody serves it
    kinds = {f"dev.speechtrain.v1alpha1.{names.KIND}": crd.schema()}
    sound.answers[OPENAPI] = {"components": {"schemas": kinds}}
    assert rows()["CRD"]["mark"] == "OK"


@pytest.mark.parametrize(
    ("ready", "version", "mark", "told"),
    [
        (0, machine.version(), "FAIL", "0 of 1 replicas ready"),
        (1, "0.0.9", "WARN", "0.0.9, 1 of 1 replicas ready; this command line is"),
    ],
)
def test_an_operator_that_is_down_or_of_another_version(
    sound: ApiDouble, rows: Rows, ready: int, version: str, mark: str, told: str
) -> None:
    changed = copy.deepcopy(DEPLOYMENT)
    changed["status"] = {"readyReplicas": ready}
    changed["metadata"]["labels"][names.LABEL_APP_VERSION] = version
    sound.answers[installation.DEPLOYMENTS] = items(changed)
    row = rows()["operator system/st"]
    assert row["mark"] == mark
    assert told in row["reason"]
    assert row["remedy"]


@pytest.mark.parametrize(
    ("ahead", "mark", "told"),
    [
        (0.0, Mark.OK, "the same"),
        (-20.0, Mark.WARN, "20 s behind"),
        (21.0, Mark.WARN, "20 s ahead of"),
        (1000.0, Mark.FAIL, "ahead of the API server"),
    ],
)
def test_clock_skew(cluster: ApiDouble, ahead: float, mark: Mark, told: str) -> None:
    cluster.answers["/version"] = {}
    second = int(time.time())
    ask = client()
    ask.date = lambda: time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
    (row,) = installation.clock(ask, lambda: second + ahead)
    assert row.mark is mark
    assert told in row.reason


def test_the_date_is_the_api_servers_own(cluster: ApiDouble) -> None:
    cluster.answers["/version"] = {}
    assert client().date().endswith("GMT")


# ---------------------------------------------------------------------- rights


def allowed_but(sound: ApiDouble, kind: str, resource: str, verb: str) -> None:
    """Refuse one right."""

    def review(_: Any) -> Object:
        asked = sound.asked[-1][3]["spec"]["resourceAttributes"]
        return {"status": {"allowed": (asked["resource"], asked["verb"]) != (resource, verb)}}

    sound.answers[f"{REVIEWS}/{kind}subjectaccessreviews"] = review


def test_a_right_that_the_operator_lacks(sound: ApiDouble, rows: Rows) -> None:
    allowed_but(sound, "", "workloads", "watch")
    found = rows()
    assert found[""] == 1
    row = found["operator's rights system/st"]
    assert row["reason"] == (
        "its account may not watch workloads in speech, watch workloads in asr"
    )
    spec = next(
        body["spec"]
        for _, path, _, body, _ in sound.asked
        if path.endswith("/subjectaccessreviews")
    )
    assert spec["user"] == "system:serviceaccount:system:st"
    assert "system:serviceaccounts:system" in spec["groups"]


def test_an_operator_that_sees_no_nodes_says_what_it_does_not_know(
    sound: ApiDouble, rows: Rows
) -> None:
    allowed_but(sound, "", "nodes", "watch")
    found = rows()
    row = found["operator's view of nodes system/st"]
    assert (found[""], row["mark"]) == (0, "WARN")
    assert "may not watch nodes: a lost node is noticed when Kubernetes" in row["reason"]
    deployment = copy.deepcopy(DEPLOYMENT)
    settings = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    settings[1] |= {"value": "false"}
    sound.answers[installation.DEPLOYMENTS] = items(deployment)
    row = rows()["operator's view of nodes system/st"]
    assert (row["mark"], "nodeWatch.enabled" in row["reason"]) == ("SKIPPED", True)


def test_a_right_that_the_person_lacks_names_the_commands(sound: ApiDouble, rows: Rows) -> None:
    allowed_but(sound, "self", "speechtrainingjobs", "patch")
    found = rows()
    assert found[""] == 0
    assert found["your rights"]["mark"] == "WARN"
    assert (
        "you may not: suspend and resume (patch speechtrainingjobs)"
        in found["your rights"]["reason"]
    )


# ---------------------------------------------------------------------- monitors

obstacle = functools.partial(monitors.obstacle, monitors.KINDS[0])


def server(**spec: Any) -> Object:
    return {"metadata": {"namespace": "monitoring", "name": "k8s"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "podMonitorSelector is not set, which selects none"),
        ({"podMonitorSelector": {}}, "podMonitorNamespaceSelector is not set: it reads namespace monitoring alone"),
        ({"podMonitorSelector": {}, "podMonitorNamespaceSelector": {}}, ""),
        ({"podMonitorSelector": {"matchLabels": {"release": "other"}}}, "podMonitorSelector asks for release=other"),
        ({"podMonitorSelector": {}, "podMonitorNamespaceSelector": {"matchLabels": {"scrape": "yes"}}},
         "podMonitorNamespaceSelector asks of namespace system for scrape=yes"),
        ({"podMonitorSelector": {}, "podMonitorNamespaceSelector": {"matchLabels": {"scrape": "no"}}}, ""),
    ],
)  # fmt: skip
def test_what_keeps_a_prometheus_from_a_monitor(spec: Object, told: str) -> None:
    assert obstacle(server(**spec), MONITOR, lambda: {"scrape": "no"}) == told


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ({"key": "release", "operator": "In", "values": ["kps", "x"]}, ""),
        ({"key": "release", "operator": "In", "values": ["x"]}, "release In x"),
        ({"key": "release", "operator": "NotIn", "values": ["kps"]}, "release NotIn kps"),
        ({"key": "team", "operator": "NotIn", "values": ["kps"]}, ""),
        ({"key": "team", "operator": "Exists"}, "team Exists"),
        ({"key": "release", "operator": "DoesNotExist"}, "release DoesNotExist"),
        ({"key": "release", "operator": "Later"}, "release Later"),
    ],
)
def test_expressions_of_a_selector(expression: Object, told: str) -> None:
    assert monitors.mismatch({"matchExpressions": [expression]}, {"release": "kps"}) == told


def test_a_monitor_that_nobody_selects_is_told_with_the_label_that_is_missing(
    sound: ApiDouble, rows: Rows
) -> None:
    unlabelled = copy.deepcopy(MONITOR)
    unlabelled["metadata"]["labels"] = {}
    sound.answers[f"{MONITORING}/podmonitors"] = items(unlabelled)
    row = rows()["PodMonitor system/st-jobs"]
    assert row["mark"] == "WARN"
    assert row["reason"] == "Prometheus monitoring/k8s: podMonitorSelector asks for release=kps"
    assert "podMonitor.additionalLabels" in row["remedy"]


def test_a_cluster_without_the_kinds_of_prometheus_or_without_ours(
    sound: ApiDouble, rows: Rows
) -> None:
    sound.answers[f"{MONITORING}/prometheusrules"] = items()
    sound.answers[f"{MONITORING}/podmonitors"] = 404
    found = rows()
    assert found["PodMonitor"]["mark"] == "SKIPPED"
    assert "prometheusRule.enabled=true" in found["PrometheusRule"]["remedy"]
    assert found[""] == 0


# ---------------------------------------------------------------------- what jobs need


def test_a_running_job_that_the_operator_does_not_hear(
    sound: ApiDouble, rows: Rows, make: Make
) -> None:
    sound.jobs(make["job"](progress={"step": 3, "heardAt": "2026-01-01T00:00:00Z"}))
    found = rows()
    assert found[""] == 1
    assert found["/progress"]["reason"].startswith("speech/voice: nobody has heard of this attempt")
    assert "port 9464" in found["/progress"]["remedy"]


def test_gpus_that_no_node_has(sound: ApiDouble, rows: Rows) -> None:
    sound.answers[NODES] = items({"metadata": {"labels": {names.LABEL_GPU_PRODUCT: "NVIDIA-L4"}}})
    answer = rows()
    assert answer[""] == 1
    assert answer["GPUs"]["mark"] == "FAIL"  # of the two rows the second: labels, then devices
    assert "asks for nvidia.com/gpu; no node offers it" in answer["GPUs"]["reason"]


def test_no_default_storage(sound: ApiDouble, rows: Rows) -> None:
    sound.answers[CLASSES] = items({"metadata": {"name": "slow"}})
    row = rows()["storage"]
    assert row["mark"] == "WARN"
    assert "(there: slow)" in row["reason"]


def test_pods_that_get_no_image(sound: ApiDouble, rows: Rows) -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off\npulling"}}
    pod = {
        "metadata": {"namespace": "speech", "name": "voice-master-0"},
        "status": {"containerStatuses": [{"name": "pytorch", "image": "x:1", "state": waiting}]},
    }
    sound.answers[f"{CORE}/pods"] = items(pod)
    found = rows()
    assert found[""] == 1
    assert found["images"]["reason"] == (
        "pod speech/voice-master-0: ImagePullBackOff of x:1: Back-off pulling"
    )


def test_all_namespaces(sound: ApiDouble, rows: Rows, make: Make) -> None:
    sound.answers[JOBS.replace("namespaces/speech/", "")] = items(make["job"]())
    sound.answers["/api/v1/pods"] = items()
    assert rows("-A")["images"]["reason"] == "no pull fails among 0 pods of jobs"


# ---------------------------------------------------------------------- this machine


def fake_torch(available: bool) -> Callable[[str], Any]:
    cuda = SimpleNamespace(
        is_available=lambda: available, device_count=lambda: 2, get_device_name=lambda i: f"H{i}"
    )
    version = SimpleNamespace(cuda="13.0")
    return lambda name: SimpleNamespace(__version__="2.11.0", version=version, cuda=cuda)


def refusing(error: Exception) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        raise error

    return load


@pytest.mark.parametrize(
    ("load", "mark", "told"),
    [
        (fake_torch(True), Mark.OK, "sees H0, H1"),
        (fake_torch(False), Mark.WARN, "sees no GPU"),
        (refusing(ModuleNotFoundError("no", name="torch")), Mark.WARN, "torch is not installed"),
        (refusing(OSError("libcudart.so: not found")), Mark.FAIL, "cannot be loaded: libcudart"),
    ],
)
def test_torch(load: Callable[[str], Any], mark: Mark, told: str) -> None:
    row = machine.torch(load)
    assert row.mark is mark
    assert told in row.reason


@pytest.mark.parametrize(
    ("free", "mark"), [(machine.LITTLE, Mark.OK), (machine.LITTLE - 1, Mark.WARN),
                       (machine.NOTHING_LEFT - 1, Mark.FAIL)],
)  # fmt: skip
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, mark: Mark) -> None:
    usage = namedtuple("usage", "free")(free)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    row: Row = machine.disk(tmp_path / "not" / "yet")
    assert row.mark is mark
    assert "GiB free" in row.reason


def test_a_state_directory_that_is_a_file(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.write_text("")
    assert machine.disk(place).mark is Mark.FAIL


def test_here_alone_and_without_a_cluster(
    call: Call, runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "torch", lambda load: Row("torch", Mark.OK, "fake"))
    checks = json.loads(call("doctor", "-o", "json").stdout)["checks"]
    assert [row["name"] for row in checks] == ["speechtrain", "torch", "state directory", "cluster"]
    assert checks[-1]["mark"] == "SKIPPED"
    checks = json.loads(call("doctor", "--local", "-o", "json").stdout)["checks"]
    assert [row["name"] for row in checks] == ["speechtrain", "torch", "state directory"]
